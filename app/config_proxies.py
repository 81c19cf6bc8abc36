"""The part of the configuration that says which proxies are ours."""

from collections.abc import Mapping
from ipaddress import ip_network


def read(env: Mapping[str, str]) -> tuple[tuple[str, ...], list[str]]:
    """The networks in TRUSTED_PROXIES (an address is a network of one), and what is wrong with it."""
    said = [part.strip() for part in env.get("TRUSTED_PROXIES", "").split(",") if part.strip()]
    networks: list[str] = []
    wrong: list[str] = []
    for part in said:
        try:
            networks.append(str(ip_network(part)))
        except ValueError as error:
            wrong.append(f"TRUSTED_PROXIES has {part!r}: {error}; use addresses or networks like 10.0.0.0/8")
    return tuple(networks), wrong
