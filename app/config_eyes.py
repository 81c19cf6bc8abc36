"""The part of the configuration that says who may look: at metrics, and where traces go."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

import msgspec

Network = IPv4Network | IPv6Network


class Eyes(msgspec.Struct, frozen=True, kw_only=True):
    """`metrics_allowed` may read /api/metrics without a token; `metrics_listen` is where a worker shows its
    own (host, port). `shared_metrics` is the directory of several workers, which `maycole serve` makes.
    `traces_to` is an OTLP collector; what else OpenTelemetry takes from the environment, it takes itself.
    """

    metrics_allowed: tuple[Network, ...] = ()
    metrics_listen: tuple[str, int] | None = None
    shared_metrics: Path | None = None
    traces_to: str | None = None

    def __repr__(self) -> str:
        return f"Eyes(metrics_allowed={', '.join(map(str, self.metrics_allowed))})"

    def allows(self, address: str | None) -> bool:
        """Whether whoever asks from there may read metrics without saying who they are."""
        try:
            asking = ip_address(address or "")
        except ValueError:
            return False
        return any(asking in network for network in self.metrics_allowed)


def read(env: Mapping[str, str]) -> tuple[Eyes, list[str]]:
    """What these variables say, and what is wrong with them."""
    wrong = []
    allowed: list[Network] = []
    for text in (part.strip() for part in env.get("METRICS_ALLOWED", "").split(",")):
        try:
            allowed += [ip_network(text)] if text else []
        except ValueError:
            wrong.append(f"METRICS_ALLOWED has {text!r}: use addresses and networks, such as 10.0.0.0/8")
    host, _, port = env.get("METRICS_LISTEN", "").rpartition(":")
    if "METRICS_LISTEN" in env and not (host and port.isascii() and port.isdigit() and int(port) < 65536):
        wrong.append(f"METRICS_LISTEN is {env['METRICS_LISTEN']!r}: use host:port, such as 127.0.0.1:9100")
    traces_to = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", env.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    if traces_to is not None and not traces_to.startswith(("http://", "https://")):
        wrong.append("OTEL_EXPORTER_OTLP_ENDPOINT must begin with http:// or https://")
    if wrong:
        return Eyes(), wrong
    shared = env.get("PROMETHEUS_MULTIPROC_DIR")
    return Eyes(
        metrics_allowed=tuple(allowed),
        metrics_listen=(host.strip("[]"), int(port)) if port else None,
        shared_metrics=Path(shared) if shared else None,
        traces_to=traces_to,
    ), []
