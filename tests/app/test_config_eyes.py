"""Who may look is read from the environment, and what is wrong with it is said."""

import pytest

from app.config_eyes import Eyes, read


def test_nobody_reads_metrics_by_their_address_unless_it_is_listed() -> None:
    nobody, wrong = read({})
    assert (nobody, wrong) == (Eyes(), [])
    assert not any(nobody.allows(address) for address in ("127.0.0.1", "::1", None, "unix"))
    some, _ = read({"METRICS_ALLOWED": "10.1.0.0/16, 2001:db8::1"})
    assert [some.allows(address) for address in ("10.1.2.3", "2001:db8::1", "10.2.0.1", "2001:db8::2")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_where_a_worker_shows_its_metrics_and_where_traces_go() -> None:
    eyes, wrong = read({"METRICS_LISTEN": "[::1]:9100", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://there:4318"})
    assert wrong == []
    assert eyes.metrics_listen == ("::1", 9100)
    assert eyes.traces_to == "http://there:4318"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("METRICS_ALLOWED", "everybody"),
        ("METRICS_ALLOWED", "10.0.0.1/8"),
        ("METRICS_LISTEN", "9100"),
        ("METRICS_LISTEN", "here:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "there:4318"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    _, wrong = read({name: value})
    assert len(wrong) == 1
    assert name in wrong[0]
