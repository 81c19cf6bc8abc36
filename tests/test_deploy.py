"""What is in deploy/ fits the code: no panel and no alert is about something that nobody measures."""

import re
from pathlib import Path
from typing import Any

import msgspec

from app import log_levels
from app.log_writer import Writer
from app.logs import LEVELS, Handler
from app.metrics import table
from tests.architecture import ROOT, sources

DASHBOARD = ROOT / "deploy/grafana/maycole.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
NAME = re.compile(r"\bmaycole_\w+")
OF_HISTOGRAMS = re.compile(r"_seconds_(bucket|sum|count)$")


def named_in(expression: str) -> set[str]:
    """The metrics that a PromQL expression is about."""
    return {OF_HISTOGRAMS.sub("_seconds", name) for name in NAME.findall(expression)}


def expressions(path: Path) -> list[str]:
    """Every PromQL expression of a file."""
    if path.suffix == ".json":
        dashboard: Any = msgspec.json.decode(path.read_bytes())
        asked = [variable["query"]["query"] for variable in dashboard["templating"]["list"][1:]]
        return asked + [
            target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
        ]
    rules: Any = msgspec.yaml.decode(path.read_bytes())
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_dashboard_and_alerts_name_only_what_is_measured() -> None:
    for path in (DASHBOARD, ALERTS):
        asked = expressions(path)
        assert len(asked) > 10
        for expression in asked:
            assert named_in(expression), expression
            assert named_in(expression) <= table.names(), expression
            assert expression.count("(") == expression.count(")"), expression


def test_whatever_is_logged_as_critical_wakes_somebody() -> None:
    """It is how a damaged audit trail is told of. Growth is seen from a nought that was there before."""
    rules: Any = msgspec.yaml.decode(ALERTS.read_bytes())
    woken = [
        rule
        for group in rules["groups"]
        for rule in group["rules"]
        if 'maycole_log_lines_total{level="critical"}' in rule["expr"]
    ]
    assert [rule["labels"]["severity"] for rule in woken] == ["page"]
    assert f"`{woken[0]['alert']}`" in (ROOT / "docs" / "audit.md").read_text()
    assert Handler(Writer(0)).lines == dict.fromkeys(LEVELS, 0)
    assert {name.lower() for name in log_levels.NAMES} == set(LEVELS)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set().union(*map(named_in, expressions(DASHBOARD)))
    assert table.names() - shown == set()


def test_labels_that_are_asked_for_are_there() -> None:
    labels = {f"{table.PREFIX}{name}": set(given[0]) for name, given in table.GAUGES.items()}
    labels |= {f"{table.PREFIX}{name}_total": set(given[0]) for name, given in table.COUNTED.items()}
    labels |= {f"{table.PREFIX}{name}_seconds": set(given[0]) for name, given in table.TIMED.items()}
    always = {"le", "job"}
    for expression in expressions(DASHBOARD) + expressions(ALERTS):
        there = always.union(*(labels[name] for name in named_in(expression)))
        by = {
            word.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for word in group.split(",")
        }
        chosen = set(re.findall(r"[{,]\s*(\w+)\s*=", expression))
        assert by | chosen <= there, expression


def test_nobody_pays_for_traces_who_does_not_trace() -> None:
    """OpenTelemetry is imported by one file, and that one where somebody asks for it."""
    files = sources("app", "channels", "domain")
    importing = {
        source.path for source in files for _, name in source.imports() if name.startswith("opentelemetry")
    }
    assert importing == {"app/tracing.py"}
    at_the_top = {
        source.path
        for source in files
        if re.search(
            r"^(from app\.tracing|from app import .*\btracing|import app\.tracing)", source.text, re.MULTILINE
        )
    }
    assert at_the_top == set()
