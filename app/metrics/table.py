"""Every metric there is: its name, its labels, what it says. `maycole_` stands in front of each.

Counters and times are moved by domain/measures.py, under these names; gauges by app/metrics/gauges.py. Labels
are words of ours (a route's template, a code), never what somebody sent, so there is an end to them.
"""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

# When a series began is one more series for each; Prometheus notices by itself that a counter began anew.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client

REGISTRY: Final = CollectorRegistry()
PREFIX: Final = "maycole_"

FAST_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SLOW_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# How many times: name -> (labels, help).
COUNTED: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "problems": (("code",), "Requests that were refused or failed, by the code of the problem."),
    "auth_failures": (("kind",), "Credentials that were not good, by what was wrong; also of websockets."),
    "rate_limited": (("policy",), "Requests, and what is said on live connections, refused by a limit."),
    "hang_ups": (("via",), "Requests and rpc that were stopped because their client was gone."),
    "audit_rows": (("action", "outcome"), "Audit rows written by this process."),
    "jobs": (("job", "outcome"), "Runs of jobs: done, failed (and tried again), parked (given up)."),
    "outgoing_calls": (("dependency", "outcome"), "Calls to a dependency, by what became of them."),
    "outgoing_retries": (("dependency", "outcome"), "Tries after the first, by what became of them."),
    "sweeper_finds": ((), "Channels on which this process had missed news until a sweeper said so."),
    "announcements_dropped": ((), "News not announced because Redis did not take it; found in the log."),
    "log_lines": (("level",), "Log lines."),
    "log_lines_dropped": ((), "Log lines that nobody read fast enough."),
    "process_cpu_seconds": ((), "CPU time."),
    "gc_collections": (("generation",), "Runs of the garbage collector."),
    "gc_pause_seconds": ((), "Time in which the garbage collector ran and nothing else."),
}
# How long it took: name -> (labels, buckets, help). `_seconds` follows the name.
TIMED: Final[dict[str, tuple[tuple[str, ...], tuple[float, ...], str]]] = {
    "http_request": (
        ("method", "route", "status"),
        SLOW_S,
        "Requests, by route template and class of status; what streams is not among them.",
    ),
    "db_statement": (("kind",), FAST_S, "Statements to Postgres, as this side waits for them."),
    "db_pool_wait": ((), FAST_S, "How long a connection to Postgres was waited for."),
    "outgoing_try": (("dependency",), SLOW_S, "Tries of calls to a dependency, however they ended."),
    "event_loop_lag": ((), FAST_S, "How late the event loop is, asked ten times a second."),
    "delivery_lag": ((), SLOW_S, "From what happened to its delivery in this process; a sample."),
}
# What is, as of now: name -> (labels, over several processes, help).
GAUGES: Final[dict[str, tuple[tuple[str, ...], str, str]]] = {
    "processes": ((), "livesum", "Processes that serve behind this address."),
    "info": (("version",), "livemax", "Which version runs; always 1."),
    "connections": ((), "livesum", "Open live connections."),
    "connected_users": ((), "livesum", "Users with an open connection, counted once in each process."),
    "active_users": ((), "livemostrecent", "Users of the last five minutes, over REST or live, anywhere."),
    "channels": ((), "livesum", "Channels that somebody follows, counted once in each process."),
    "db_connections": (("state",), "livesum", "Connections to Postgres: used, idle."),
    "redis_up": (("direction",), "livemin", "Whether Redis takes what is announced and brings it: 1 or 0."),
    "breaker_state": (
        ("dependency", "state"),
        "livesum",
        "Processes whose breaker of a dependency is closed, half_open, open: of one process, 1 or 0.",
    ),
    "jobs_kept": (("state",), "livemostrecent", "Jobs in the database, by state, when last scraped."),
    "jobs_oldest_age_seconds": ((), "livemostrecent", "Age of the oldest job that is due."),
    "process_resident_bytes": ((), "livesum", "Memory that is in use."),
}

COUNTERS: Final = {
    name: Counter(PREFIX + name, said, labels, registry=REGISTRY) for name, (labels, said) in COUNTED.items()
}
TIMES: Final = {
    name: Histogram(f"{PREFIX}{name}_seconds", said, labels, buckets=buckets, registry=REGISTRY)
    for name, (labels, buckets, said) in TIMED.items()
}
GAUGE: Final = {
    name: Gauge(PREFIX + name, said, labels, registry=REGISTRY, multiprocess_mode=mode)  # type: ignore[arg-type]  # one of its words
    for name, (labels, mode, said) in GAUGES.items()
}


def names() -> set[str]:
    """As Prometheus has them, without the `_bucket`, `_sum` and `_count` of a histogram."""
    return {
        *(f"{PREFIX}{name}_total" for name in COUNTED),
        *(f"{PREFIX}{name}_seconds" for name in TIMED),
        *(f"{PREFIX}{name}" for name in GAUGES),
    }
