"""Where a client comes from is what trusted proxies say, and nobody else."""

import pytest

from app.pipeline.proxies import Proxies, address_of

TRUSTED = ("10.0.0.0/8", "192.0.2.7/32", "2001:db8:1::/48")


def scope(peer: str | None, *headers: tuple[str, str], scheme: str = "http") -> dict[str, object]:
    return {
        "client": (peer, 4711) if peer is not None else None,
        "scheme": scheme,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }


def client(peer: str, *hops: str, networks: tuple[str, ...] = TRUSTED) -> str:
    headers = [("X-Forwarded-For", line) for line in hops]
    resolved = Proxies(networks).resolved(scope(peer, *headers))
    address: str = resolved["client"][0]
    return address


@pytest.mark.parametrize(
    ("peer", "hops", "seen"),
    [
        # Nobody who is not trusted says where they come from.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("203.0.113.9", ["10.0.0.1"], "203.0.113.9"),
        ("11.0.0.1", ["198.51.100.1"], "11.0.0.1"),
        # One hop, and several, from the right; what stands left of the first stranger is the stranger's word.
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.0.0.2, 192.0.2.7"], "198.51.100.1"),
        ("10.0.0.1", ["10.6.6.6, 198.51.100.1,10.0.0.2"], "198.51.100.1"),
        # Several header lines are one list.
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        # Proxies only: the farthest.
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # Nothing, and nonsense: the last that could be read.
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, "], "10.0.0.1"),
        ("10.0.0.1", [", "], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["<script>"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:port"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4.5"], "10.0.0.1"),
        ("10.0.0.1", ["\xff\xfe"], "10.0.0.1"),
        # Ports, IPv6, brackets, IPv4 in IPv6.
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["2001:db8:2::5"], "2001:db8:2::5"),
        ("10.0.0.1", ["[2001:db8:2::5]:4711"], "2001:db8:2::5"),
        ("10.0.0.1", ["[2001:db8:2::5]"], "2001:db8:2::5"),
        ("10.0.0.1", ["[2001:db8:2::5]4711"], "10.0.0.1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8:1::9", ["198.51.100.1, [2001:db8:1::7]:80"], "198.51.100.1"),
        ("2001:db8:2::9", ["198.51.100.1"], "2001:db8:2::9"),
    ],
)
def test_the_first_stranger_from_the_right_is_the_client(peer: str, hops: list[str], seen: str) -> None:
    assert client(peer, *hops) == seen


def test_where_nobody_is_trusted_nothing_is_changed() -> None:
    async def app(*_: object) -> None:
        """What would be asked."""

    assert Proxies(()).before(app) is app
    assert client("10.0.0.1", "198.51.100.1", networks=()) == "10.0.0.1"


def test_a_socket_without_an_address_is_left_as_it_is() -> None:
    nameless = scope(None, ("X-Forwarded-For", "198.51.100.1"))
    assert Proxies(TRUSTED).resolved(nameless) is nameless


@pytest.mark.parametrize(
    ("peer", "scheme", "said", "seen"),
    [
        ("10.0.0.1", "http", ["https"], "https"),
        ("10.0.0.1", "ws", ["HTTPS"], "wss"),
        ("10.0.0.1", "http", ["https, http"], "http"),
        ("10.0.0.1", "http", ["http", "https"], "https"),
        ("10.0.0.1", "http", ["gopher"], "http"),
        ("10.0.0.1", "http", [], "http"),
        ("203.0.113.9", "http", ["https"], "http"),
    ],
)
def test_that_it_came_by_tls_is_what_the_nearest_proxy_says(
    peer: str, scheme: str, said: list[str], seen: str
) -> None:
    asked = scope(peer, *(("X-Forwarded-Proto", line) for line in said), scheme=scheme)
    assert Proxies(TRUSTED).resolved(asked)["scheme"] == seen


@pytest.mark.parametrize(
    "text", ["", " ", "[", "[]", "]", ":", "::%", "[::1", "1.2.3.4:", "a:b", "fe80::1%%"]
)
def test_what_is_no_address_raises_nothing(text: str) -> None:
    found = address_of(text)
    assert found is None or str(found) in ("::", "::1", "fe80::1")
