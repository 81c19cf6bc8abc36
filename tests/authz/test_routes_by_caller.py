"""Every route, for everybody who may come, on their own things, foreign ones and such that never were.

The cases are those of tests/authz_matrix.toml; each test is one of its rows, and says all that is wrong with
it. While they run, people of both tenants listen: the last tests look at all that they heard, at all mail and
at all that was logged.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from domain import ids
from tests.authz import matrix
from tests.authz.asking import Asked, ask, cursor_of
from tests.authz.cases import findings, ledger, swapped
from tests.authz.ears import Ear, listening, logging_into
from tests.authz.matrix import Cell, Resource, Route, Section
from tests.authz.scene import Scene, Tenant, callers
from tests.authz.things import CONSTANTS, NEW, PLACES, filled, ids_for, one
from tests.factories import item
from tests.mailbox import Mailbox
from tests.nodes import until

MATRIX = matrix.read()
KINDS = ("inventory", "audit", "presence")


def rows(*sections: Section) -> list[Route]:
    return MATRIX.of(*sections)


def each(found: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", found, ids=lambda route: route.name)


@dataclass
class Heard:
    """What came to the owners of the two tenants, and what the server logged."""

    acme: list[Ear]
    bolt: list[Ear]
    log: list[str]


@pytest.fixture(scope="module", autouse=True)
async def heard(scene: Scene, url: str) -> AsyncIterator[Heard]:
    """The owners of both tenants, on a connection of each encoding, from before the first case on."""
    acme, bolt = (
        (tenant.owner.token, [f"{kind}:{tenant.team_id}" for kind in KINDS])
        for tenant in (scene.acme, scene.bolt)
    )
    log: list[str] = []
    async with (
        listening(url, *acme, use_protobuf=False) as a,
        listening(url, *acme, use_protobuf=True) as b,
        listening(url, *bolt, use_protobuf=False) as c,
        listening(url, *bolt, use_protobuf=True) as d,
    ):
        with logging_into(log):
            yield Heard([a, b], [c, d], log)


@each(rows("team", "account", "staff"))
async def test_everybody_is_told_what_the_matrix_says(scene: Scene, route: Route) -> None:
    wrong = [line for caller in callers(route) for line in await findings(scene, route, caller)]
    assert not wrong, "\n".join(wrong)


@each([route for route in rows("team") if len(set(route.places) - {*CONSTANTS, *NEW}) > 1])
async def test_each_id_by_itself_is_looked_at(scene: Scene, route: Route) -> None:
    wrong = await swapped(scene, route)
    assert not wrong, "\n".join(wrong)


@each(rows("public"))
@pytest.mark.parametrize("caller", ["nobody", "owner", "key"])
async def test_what_is_for_everybody_tells_nobody_of_a_tenant(
    scene: Scene, route: Route, caller: str
) -> None:
    token = None if caller == "nobody" else await scene.token(caller, route)
    before = await ledger(scene).marks()
    asked = await ask(scene, route, caller, token, await ids_for(scene, route, caller, "absent", anew=True))
    assert asked.wrong(Cell(route.answers)) is None, asked.wrong(Cell(route.answers))
    assert asked.leaks(scene) is None
    assert await ledger(scene).marks() == before


@each([route for route in rows("team") if route.filters])
async def test_a_filter_finds_nothing_foreign(scene: Scene, route: Route) -> None:
    token, own = await scene.token("owner", route), await ids_for(scene, route, "owner", "own", anew=False)
    for name, value in route.filters.items():
        answers: dict[str, Asked] = {}
        for resource, canary in (
            ("own", scene.acme.canary),
            ("foreign", scene.bolt.canary),
            ("absent", f"nope{ids.new('item')[-len(scene.bolt.canary) + 4 :]}"),
        ):
            place = value.strip("{}")
            given = (
                {"canary": canary}
                if "canary" in value
                else {place: await one(scene, place, "owner", resource, anew=False)}  # type: ignore[arg-type]
            )
            # An own person who did something: the one who asks.
            if place == "user_id" and resource == "own":
                given = {place: scene.acme.owner.id}
            answers[resource] = await ask(scene, route, "owner", token, own, **{name: filled(value, given)})
            answers[resource].given = {**own, **given}
        assert answers["own"].answer.json()["data"], f"{name} finds what is there"
        # Where reading is in the trail itself, the position is another one after each.
        foreign, absent = (
            {**answers[resource].answer.json(), "position": None} for resource in ("foreign", "absent")
        )
        assert foreign["data"] == [], name
        assert foreign == absent, name


@each([route for route in rows("team", "account") if route.lists])
async def test_a_cursor_opens_no_other_list(scene: Scene, route: Route) -> None:
    pages: dict[str, tuple[dict[str, str], Asked]] = {}
    tenants: list[tuple[Resource, Tenant]] = [("own", scene.acme), ("foreign", scene.bolt)]
    for resource, tenant in tenants:
        given = await ids_for(scene, route, "owner", resource, anew=False)
        for _ in range(2):
            await PLACES[route.lists or ""](scene, tenant, tenant.owner)
        first = await ask(scene, route, "owner", tenant.owner.token, given, limit="1")
        pages[resource] = given, first
    own, cursor = pages["own"][0], cursor_of(pages["foreign"][1])
    assert cursor, "the other tenant's list has a second page"
    refused = await ask(scene, route, "owner", scene.acme.owner.token, own, cursor=cursor)
    garbage = await ask(scene, route, "owner", scene.acme.owner.token, own, cursor=cursor[:-1] + "_")
    assert refused.wrong(Cell(422, ("invalid_cursor",))) is None, refused.answer.text
    assert refused.bare == garbage.bare
    # Of a colleague with the same rights: what they may see is the same, and still it is their cursor.
    colleague = await ask(
        scene, route, "owner", scene.acme.people["admin"].token, own, cursor=cursor_of(pages["own"][1])
    )
    assert colleague.wrong(Cell(422, ("invalid_cursor",))) is None, colleague.answer.text
    if "team_id" in route.places:
        theirs = pages["foreign"][0]
        foreign = await ask(scene, route, "owner", scene.acme.owner.token, theirs, cursor=cursor)
        absent = await ids_for(scene, route, "owner", "absent", anew=False)
        nobodys = await ask(scene, route, "owner", scene.acme.owner.token, absent, cursor=cursor)
        assert foreign.answer.status_code in (404, 422)
        assert foreign.bare == nobodys.bare
        assert foreign.leaks(scene) is None


async def test_nobody_heard_or_was_mailed_what_is_foreign(
    scene: Scene, heard: Heard, mailbox: Mailbox
) -> None:
    tenants = ((scene.acme, scene.bolt, heard.acme), (scene.bolt, scene.acme, heard.bolt))
    for own, foreign, ears in tenants:
        name = f"{own.canary} last of all"
        await item(own.owner, own.team_id, name=name)
        for ear in ears:
            await until(lambda ear=ear, name=name: ear.has(name))
            assert ear.leaked(foreign.canary) == []
        asked = await scene.api.call("POST", "/auth/magic-link", json={"email": own.owner.email})
        assert asked.status_code == 202
        await mailbox.until(own.owner.email)
        mails = [mail for person in own.people.values() for mail in mailbox.of(person.email)]
        assert not [mail for mail in mails if foreign.canary in mail.as_string()]
    everything = [mail.as_string() for mail in mailbox.all()]
    assert not [mail for mail in everything if scene.acme.canary in mail and scene.bolt.canary in mail]


async def test_the_log_names_no_tenants_things(scene: Scene, heard: Heard) -> None:
    logging.getLogger("maycole.matrix").warning("the last line")
    assert any("the last line" in line for line in heard.log), "it is listened to"
    for tenant in (scene.acme, scene.bolt):
        assert not [line for line in heard.log if tenant.canary in line]
