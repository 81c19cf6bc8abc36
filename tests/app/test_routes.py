"""The routes that exist are the ones that docs/api.md names, each in its line."""

import re

import pytest

from app.api.openapi import named_as_told
from tests import routes_page
from tests.authz.test_the_matrix_is_whole import handlers

PAGE = routes_page.PAGE.read_text()


def test_every_route_is_on_the_page_and_every_one_of_the_page_is_there() -> None:
    named, there = routes_page.listed(PAGE), {named_as_told(name) for name in handlers()}
    assert len(named) == len(set(named)) > 100
    assert sorted(there - set(named)) == [], "run `make routes`"
    assert sorted(set(named) - there) == [], "run `make routes`"


def test_the_page_says_of_each_what_the_code_says() -> None:
    assert routes_page.written(PAGE) == PAGE, "run `make routes`"
    for one in routes_page.there():
        assert re.fullmatch(r"[A-Z0-9].{3,120}[.:?!a-z]", one.says), one


def test_a_route_that_is_missing_or_made_up_would_be_seen() -> None:
    line = "| `GET /api/version` | public | Which server this is. |\n"
    assert line in PAGE
    assert "GET /api/version" not in routes_page.listed(PAGE.replace(line, ""))
    assert "GET /api/made-up" in routes_page.listed(f"{PAGE}| `GET /api/made-up` | public | . |\n")


@pytest.mark.parametrize(
    ("path", "is_read"),
    [
        ("/api/teams/{teamId}", True),
        ("/api/inventory/{itemId}", True),
        ("/api/teams/{teamId}/transfer", True),
        ("/api/teams/{teamId}/members/{userId}", False),
        ("/api/teams/{teamId}/invites/{inviteId}", False),
        ("/api/teams/{teamId}/roles/{role}", False),
        ("/api/auth/api-keys/{keyId}", False),
        ("/api/auth/passkeys/{passkeyId}", False),
    ],
)
def test_what_a_location_names_is_read_there_or_in_its_list(path: str, is_read: bool) -> None:
    named = routes_page.listed(PAGE)
    assert (f"GET {path}" in named) is is_read
    assert is_read or f"GET {path.rpartition('/')[0]}" in named
