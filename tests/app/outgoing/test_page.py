"""docs/outgoing.md says what the code does."""

import re
from pathlib import Path

from app.adapters import oauth_http, pwned, s3
from app.adapters.breaker import CALLS_MIN, OPEN_S, WINDOW
from app.adapters.retrying import AGAIN, PER_CALL, TOKENS_MAX, Policy

PAGE = " ".join((Path(__file__).parents[3] / "docs" / "outgoing.md").read_text().split())
POLICIES = {"oauth.<name>": oauth_http.POLICY, pwned.NAME: pwned.POLICY, s3.NAME: s3.POLICY}


def _row(name: str, policy: Policy) -> str:
    return rf"\| `{name}` \| [^|]+ \| {policy.within_s:g} s \| {policy.try_within_s:g} s \| {policy.tries} \|"


def test_the_table_has_the_policies_of_the_code() -> None:
    for name, policy in POLICIES.items():
        assert re.search(_row(name, policy), PAGE), name
    assert len(re.findall(r"\| `[^`]+` \| ", PAGE)) == len(POLICIES)


def test_the_numbers_are_those_of_the_code() -> None:
    *most, last = sorted(AGAIN)
    assert f"{', '.join(map(str, most))} and {last}" in PAGE
    assert f"Of the newest {WINDOW} tries" in PAGE
    assert f"there are at least {CALLS_MIN} and half of them failed" in PAGE
    assert f"For {OPEN_S:g} s nobody tries; then three" in PAGE
    assert f"{1 + PER_CALL:g} times the calls" in PAGE
    assert TOKENS_MAX == 10, "ten saved up at most"
