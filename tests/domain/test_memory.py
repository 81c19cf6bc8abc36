"""Memory of roles: never older than it may be, and never from before a change that this process heard of."""

import asyncio

import pytest

from channels.live import Live
from domain import db, memory
from domain.auth import credentials
from domain.errors import NotFound
from domain.memory import LASTS_S, Memory, concerned
from domain.streams import Entry
from domain.teams import members, policy, roles
from domain.teams.model import RoleChange
from domain.teams.roles_model import NewRole, RoleBody
from tests.domain.people import somebody, team_of
from tests.factories import Api, Person
from tests.nodes import until
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
async def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memories of this process, in which time does nothing: only news makes them forget."""
    for each in memory.of_process:
        monkeypatch.setattr(each, "lasts_s", 3600.0)


async def remembered(person: Person) -> None:
    """Ask until the session is remembered: news of the registration may still come back by the bus."""
    while credentials.memory.get(person.id, person.session_id) is None:
        assert (await person.get("/users/me")).status_code == 200


async def all_news_is_heard(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has been said of anybody's rights so far has come back by the bus: it keeps its order."""
    heard: list[str] = []
    marks = Memory[str]()
    monkeypatch.setattr(marks, "forget", heard.append)
    monkeypatch.setattr(memory, "of_process", [*memory.of_process, marks])
    live.relay.bus.announce_rights(["a mark"])
    await until(lambda: "a mark" in heard)


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


def test_a_user_is_forgotten_by_news_of_their_teams_or_account_and_by_no_other(
    known: Memory[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "of_process", [known])
    for user in ("user_a", "user_b", "user_c"):
        known.keep(user, "team_a", "owner", known.asking())
    memory.listen([said("user:user_a", "payments.made"), said("team:team_a", "teams.role_changed")])
    assert known.get("user_a", "team_a") == "owner"
    news = [
        said("team:team_a", "teams.role_changed"),
        said("user:user_a", "teams.role_changed"),
        said("user:user_c", "auth.session_revoked"),
    ]
    assert concerned(news) == {"user_a", "user_c"}
    memory.listen(news)
    assert known.get("user_a", "team_a") is None
    assert known.get("user_b", "team_a") == "owner"
    assert known.get("user_c", "team_a") is None


async def test_for_how_long_the_first_who_asks_waits_is_known_until_it_is_answered(
    known: Memory[str], clock: Clock
) -> None:
    answered = asyncio.Event()

    async def ask() -> str:
        await answered.wait()
        return "viewer"

    assert known.waiting_s() == 0.0
    asking = []
    for _ in range(3):
        asking.append(asyncio.create_task(known.recall("usr_1", "team_1", ask)))
        await asyncio.sleep(0)
        clock.now += 1.0
    assert known.waiting_s() == 3.0
    answered.set()
    assert await asyncio.gather(*asking) == ["viewer"] * 3
    assert known.waiting_s() == 0.0


async def test_of_many_who_ask_at_once_one_asks_for_all(known: Memory[str]) -> None:
    asked, answer = 0, asyncio.Event()

    async def ask() -> str | None:
        nonlocal asked
        asked += 1
        await answer.wait()
        return "owner"

    waiting = [asyncio.create_task(known.recall("user_a", "team_a", ask)) for _ in range(5)]
    await asyncio.sleep(0)
    answer.set()
    assert await asyncio.gather(*waiting) == ["owner"] * 5
    assert asked == 1


@pytest.mark.parametrize("how", ["failed", "gone", "nothing", "outdated"])
async def test_who_waited_for_an_answer_that_is_none_asks_themselves(known: Memory[str], how: str) -> None:
    answer = asyncio.Event()

    async def first() -> str | None:
        await answer.wait()
        if how == "failed":
            raise ConnectionError
        if how == "outdated":
            known.forget("user_a")
            return "owner"
        return None

    async def second() -> str | None:
        return "viewer"

    asking = asyncio.create_task(known.recall("user_a", "team_a", first))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(known.recall("user_a", "team_a", second))
    await asyncio.sleep(0)
    if how == "gone":
        asking.cancel()
    answer.set()
    assert await waiting == "viewer"
    await asyncio.wait({asking})


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
async def test_of_many_requests_one_asks_for_the_session_and_one_for_the_role(
    api: Api, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person("Ann")
    team = await api.team(ann)
    await all_news_is_heard(live, monkeypatch)
    async with Statements() as asked:
        for _ in range(3):
            assert (await ann.get(f"/teams/{team}")).status_code == 200
    assert sum("team_members" in statement for statement in asked.of_requests) == 1
    assert sum("user_sessions" in statement for statement in asked.of_requests) == 1
    assert len(asked.of_requests) == 5, "the team itself is read each time"


@pytest.mark.usefixtures("lasting")
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/auth/logout", None),
        ("POST", "/auth/logout?scope=all", None),
        ("DELETE", "/auth/sessions/{session}", None),
        ("DELETE", "/users/me", None),
    ],
)
async def test_a_session_that_ends_in_this_process_is_over_at_once(
    api: Api, method: str, path: str, body: object
) -> None:
    ann = await api.person("Ann")
    await remembered(ann)
    done = await api.call(method, path.format(session=ann.session_id), token=ann.token, json=body)
    assert done.is_success, done.text
    assert (await ann.get("/users/me")).status_code == 401


@pytest.mark.usefixtures("lasting")
async def test_whoever_is_disabled_or_gets_a_new_password_elsewhere_is_out_at_once(api: Api) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    elsewhere = await api.call("POST", "/auth/login", json={"email": ann.email, "password": ann.password})
    for person in (ann, bob):
        await remembered(person)
    new = {"currentPassword": ann.password, "password": "another horse, another staple"}
    token = elsewhere.json()["data"]["accessToken"]
    changed = await api.call("POST", "/auth/password/change", token=token, json=new)
    assert changed.status_code == 204, changed.text
    assert (await ann.get("/users/me")).status_code == 401
    staff = await api.person("Staff")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", staff.id)
    assert (await staff.patch(f"/users/{bob.id}", {"disabled": True})).status_code == 200
    assert (await bob.get("/users/me")).status_code == 401


@pytest.mark.usefixtures("lasting")
async def test_a_change_never_relies_on_a_session_that_is_remembered(api: Api) -> None:
    ann = await api.person("Ann")
    await remembered(ann)
    # By a path that says nothing to anybody.
    await db.execute("UPDATE user_sessions SET revoked_at = now() WHERE id = $1", ann.session_id)
    assert (await ann.get("/users/me")).status_code == 200, "it was not told"
    assert (await ann.post("/teams", {"name": "Tea"})).status_code == 401
