"""docs/teams.md says what the code says: routes, limits, codes."""

import re

import pytest

from domain import channels, mail
from domain.teams import deletion, members, membership, model, transfer
from tests import routes_page
from tests.architecture import ROOT

PAGE = (ROOT / "docs" / "teams.md").read_text()
SOURCES = "".join(path.read_text() for path in sorted((ROOT / "domain").rglob("*.py")))


def test_the_routes_on_the_page_are_there() -> None:
    there = {(one.method, one.path) for one in routes_page.there()}
    table = PAGE.split("| | | who |")[1].split("\n\n")[0]
    found = set()
    for line in table.splitlines()[2:]:
        first = line.split(" | ")[0]
        for part in re.findall(r"((?:`[A-Z]+`, )*`[A-Z]+) ([^`?\s]+)", first):
            for method in re.findall(r"[A-Z]+", part[0]):
                found.add((method, part[1].replace("{id}", "{teamId}")))
    assert len(found) >= 10
    assert found <= there


@pytest.mark.parametrize(
    ("says", "limit"),
    [
        (r"`too_many_members` \((\d+)\)", members.MEMBERS_MAX),
        (r"`too_many_teams` \((\d+)\)", membership.TEAMS_MAX),
        (r"For \*\*(\d+) days\*\*", deletion.RESTORABLE_FOR.days),
        (r"and (\d+) KiB as JSON", model.METADATA_BYTES_MAX / 1024),
    ],
)
def test_the_limits_on_the_page_are_those_of_the_code(says: str, limit: float) -> None:
    assert [float(found) for found in re.findall(says, PAGE)] == [limit]


def test_an_offer_lasts_as_long_as_the_page_says() -> None:
    assert "is good for seven days" in PAGE
    assert transfer.OFFERED_FOR.days == 7
    assert "team_transfer" in mail.KINDS


def test_every_code_on_the_page_is_one_that_is_raised() -> None:
    codes = set(re.findall(r"(?:409|403) `(\w+)`", PAGE))
    assert len(codes) >= 8
    assert [code for code in codes if f'code="{code}"' not in SOURCES] == []


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
    assert "(docs/teams.md)" in (ROOT / "README.md").read_text()


def test_the_while_for_which_one_may_be_back_is_the_one_on_the_page_about_the_live_channels() -> None:
    page = (ROOT / "docs" / "realtime.md").read_text()
    assert f"stays for {channels.KINDS['presence'].lingers_s:.0f} s more" in page
