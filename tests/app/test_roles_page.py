"""docs/roles.md says what the code says: permissions, rules, numbers."""

from typing import get_args

from domain import memory
from domain.teams import roles
from domain.teams.policy import BUILT_IN, LEAST, MEMBERSHIP
from domain.teams.refusals import Rule
from tests import routes_page
from tests.app.test_realtime_page import rows
from tests.architecture import ROOT

PAGE = (ROOT / "docs" / "roles.md").read_text()


def section(title: str) -> str:
    """What stands under a heading."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_table_of_permissions_is_that_of_the_code() -> None:
    head, _, *lines = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section("The permissions").splitlines()
        if line.startswith("|")
    )
    assert head == ["permission", *BUILT_IN]
    shown = {line[0].strip("`"): [cell == "x" for cell in line[1:]] for line in lines}
    assert shown == {each: [each in role.permissions for role in BUILT_IN.values()] for each in LEAST}
    assert list(shown) == list(LEAST), "in the same order"


def test_every_rule_is_explained() -> None:
    shown = {line[0].strip("`") for line in rows(section("Why was this refused?")) if line[0][0] == "`"}
    assert shown == set(get_args(get_args(Rule)[0]))


def test_its_routes_and_numbers_are_those_of_the_code() -> None:
    own = section("A team's own roles")
    shown = {line[0].strip("`") for line in rows(own) if line[0][0] == "`"}
    there = (f"{one.method} {one.path}".replace("{teamId}", "{id}") for one in routes_page.there())
    assert shown == {line for line in there if "/roles" in line}
    assert f"Up to {roles.ROLES_MAX} a team" in own
    assert f"`{MEMBERSHIP}` is in every role" in own
    assert f"after {1000 * memory.LASTS_S:.0f} ms in any case" in section("How fresh a decision is")
