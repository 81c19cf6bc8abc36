"""Memory of roles: never older than it may be, and never from before a change that this process heard of."""

from collections.abc import AsyncIterator

import pytest

from domain import db
from domain.errors import NotFound
from domain.streams import Entry
from domain.teams import members, memory, policy, roles
from domain.teams.memory import LASTS_S, Memory, concerned
from domain.teams.model import RoleChange
from domain.teams.roles_model import NewRole, RoleBody
from tests.domain.people import somebody, team_of
from tests.factories import Api
from tests.statements import Statements


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> Memory[str]:
    return Memory[str](clock=clock)


@pytest.fixture
async def lasting() -> AsyncIterator[Memory[policy.Role]]:
    """The memory of this process, in which time does nothing: only news makes it forget."""
    before, policy.memory.lasts_s = policy.memory.lasts_s, 3600.0
    try:
        yield policy.memory
    finally:
        policy.memory.lasts_s = before


def said(channel: str, kind: str) -> Entry:
    return Entry(channel, "e", 1, "evt", kind, "{}")


def test_what_is_remembered_is_never_older_than_it_may_be(known: Memory[str], clock: Clock) -> None:
    assert LASTS_S < 0.25, "the promise, with some time for the answer"
    asked = known.asking()
    clock.now += LASTS_S / 2  # the database takes its time
    known.keep("user_a", "team_a", "owner", asked)
    assert known.get("user_a", "team_a") == "owner"
    assert known.get("user_a", "team_b") is None
    assert known.get("user_b", "team_a") is None
    clock.now += LASTS_S / 2 + 0.001
    assert known.get("user_a", "team_a") is None, "it counts from the question"


def test_what_was_asked_before_a_change_is_not_kept_after_it(known: Memory[str]) -> None:
    asked = known.asking()
    known.forget("user_a")
    known.keep("user_a", "team_a", "owner", asked)
    assert known.get("user_a", "team_a") is None
    known.keep("user_a", "team_a", "viewer", known.asking())
    assert known.get("user_a", "team_a") == "viewer"


def test_a_user_is_forgotten_by_news_of_their_teams_and_by_no_other(known: Memory[str]) -> None:
    for user in ("user_a", "user_b"):
        known.keep(user, "team_a", "owner", known.asking())
    known.listen([said("user:user_a", "users.changed"), said("team:team_a", "teams.role_changed")])
    assert known.get("user_a", "team_a") == "owner"
    news = [said("team:team_a", "teams.role_changed"), said("user:user_a", "teams.role_changed")]
    assert concerned(news) == {"user_a"}
    known.listen(news)
    assert known.get("user_a", "team_a") is None
    assert known.get("user_b", "team_a") == "owner"


def test_it_is_bounded(known: Memory[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "USERS_MAX", 2)
    for user in ("user_a", "user_b", "user_c"):
        known.keep(user, "team_a", "owner", known.asking())
    assert [known.get(user, "team_a") for user in ("user_a", "user_b", "user_c")] == [None, "owner", "owner"]


@pytest.mark.usefixtures("url", "lasting")
async def test_every_change_of_rights_in_this_process_is_felt_at_once() -> None:
    ann, bob = await somebody("Ann"), await somebody("Bob")
    team = await team_of(ann, {"admin": bob})
    assert (await policy.require(bob, team, "audit:read")).name == "admin"
    await members.change_role(ann, team, bob.user, RoleChange(role="viewer"))
    assert (await policy.require(bob, team, "team:read")).name == "viewer"
    await roles.define(ann, team, NewRole(name="auditor", permissions=["audit:read"]))
    await members.change_role(ann, team, bob.user, RoleChange(role="auditor"))
    assert "audit:read" in (await policy.require(bob, team, "audit:read")).permissions
    await roles.redefine(ann, team, "auditor", RoleBody(permissions=[]))
    assert (await policy.require(bob, team, "team:read")).permissions == {"team:read"}
    await members.remove(ann, team, bob.user)
    with pytest.raises(NotFound):
        await policy.require(bob, team, "team:read")


@pytest.mark.usefixtures("url", "lasting")
async def test_a_no_is_never_remembered_and_a_change_never_relies_on_a_yes() -> None:
    ann, bob = await somebody("Ann"), await somebody("Bob")
    team = await team_of(ann)
    with pytest.raises(NotFound):
        await policy.require(bob, team, "team:read")
    # By a path that says nothing to anybody.
    into = "INSERT INTO team_members (id, team_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4, now())"
    await db.execute(into, f"mem_{bob.user}", team, bob.user, "admin")
    assert (await policy.require(bob, team, "team:read")).name == "admin"
    await db.execute("DELETE FROM team_members WHERE team_id = $1 AND user_id = $2", team, bob.user)
    assert (await policy.require(bob, team, "team:read")).name == "admin", "it was not told"
    async with db.transaction():
        with pytest.raises(NotFound):
            await policy.require(bob, team, "team:read")


@pytest.mark.usefixtures("lasting")
async def test_of_many_requests_one_asks_for_the_role(api: Api) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    async with Statements() as asked:
        for _ in range(3):
            assert (await ann.get(f"/teams/{team}")).status_code == 200
    assert sum("team_members" in statement for statement in asked.of_requests) == 1
    assert len(asked.of_requests) == 7, "the session and the team itself are read each time"
