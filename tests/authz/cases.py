"""The cases of one caller on one route: everything they are refused, then what they may.

What is refused is asked on things that stay; what is allowed on things of its own, by somebody of its own
where it uses up whoever asks. Findings are lines that name the caller and the resource.
"""

from collections.abc import Iterable, Iterator

from domain import db
from tests.authz import people
from tests.authz.asking import Asked, ask
from tests.authz.matrix import ROLES, STRANGER, Cell, Resource, Route, expected
from tests.authz.scene import Ledger, Scene
from tests.authz.things import CONSTANTS, NEW, PERSONAL, ids_for
from tests.factories import Person

_QUIET = ("audit", "checkpoints")


def resources(route: Route) -> list[Resource]:
    """Whose things the route may be asked about."""
    places = {route.things.get(name, name) for name in route.places}
    if not places - {*CONSTANTS, *NEW}:
        return ["own"]
    if route.section == "staff":
        return ["own", "absent"]
    return ["own", "teammate", "foreign", "absent"] if PERSONAL & places else ["own", "foreign", "absent"]


def ledger(scene: Scene, *teams: str) -> Ledger:
    """What both tenants, the two in neither of them, and more teams have."""
    everybody = [*scene.acme.people.values(), *scene.bolt.people.values(), scene.former, scene.staff]
    return Ledger([scene.acme.team_id, scene.bolt.team_id, *teams], [person.id for person in everybody])


async def findings(scene: Scene, route: Route, caller: str) -> list[str]:
    """What is wrong with what this caller is told; nothing, if it is as the matrix says."""
    cells = {resource: expected(route, caller, resource) for resource in resources(route)}
    refused = {resource: cell for resource, cell in cells.items() if cell is not None and cell.codes}
    found = await _refused(scene, route, caller, refused) if refused else []
    for resource, cell in cells.items():
        if cell is not None and not cell.codes:
            found += [f"{resource}: {one}" for one in await _allowed(scene, route, caller, resource, cell)]
    return [f"{route.name} by {caller} on {one}" for one in found]


async def _refused(scene: Scene, route: Route, caller: str, cells: dict[Resource, Cell]) -> list[str]:
    token = await scene.token(caller, route)
    given = {resource: await ids_for(scene, route, caller, resource, anew=False) for resource in cells}
    book = ledger(scene)
    before = await book.marks()
    answers = {resource: await ask(scene, route, caller, token, given[resource]) for resource in cells}
    found = [
        f"{resource}: {what}"
        for resource, asked in answers.items()
        for what in (asked.wrong(cells[resource]), asked.leaks(scene))
        if what is not None
    ]
    if changed := _changed(before, await book.marks()):
        found.append(f"{', '.join(cells)}: refused, and yet changed: {changed}")
    return found + list(_told_apart(answers, cells))


def _told_apart(answers: dict[Resource, Asked], cells: dict[Resource, Cell]) -> Iterator[str]:
    """What is not a caller's own looks exactly like what never was; so does one's own to a stranger."""
    absent = answers.get("absent")
    for resource, asked in answers.items():
        alike = resource != "own" or cells["own"] == cells.get("absent")
        if absent is not None and alike and asked.bare != absent.bare:
            yield f"{resource}: told apart from what is absent: {asked.bare} {absent.bare}"


async def _allowed(scene: Scene, route: Route, caller: str, resource: Resource, cell: Cell) -> list[str]:
    anew = not route.is_read
    person, token = scene.person(caller), await scene.token(caller, route)
    stand_in = await _stand_in(scene, caller) if route.disposable and person is not None else None
    if stand_in is not None:
        person, token = stand_in, stand_in.token
    given = await ids_for(scene, route, caller, resource, person=person, anew=anew)
    book = ledger(scene, *(given[name] for name in given if name == "team_id"))
    before = await book.marks()
    asked = await ask(scene, route, caller, token, given)
    changed = _changed(before, await book.marks())
    found = [asked.wrong(cell)]
    if not (route.shows_all and caller == "staff"):
        found.append(asked.leaks(scene))
    # A read may leave a row in the trail that it was read.
    if route.is_read and changed not in ("", "audit_logs"):
        found.append(f"a read that changes {changed}")
    if route.section == "team":
        assert person is not None, "nobody may anything in a team"
        if anew and not changed:
            found.append("a change that leaves nothing")
        found.append(_position(asked, route, {person.id, given.get("team_id", scene.acme.team_id)}))
    if stand_in is not None:
        await db.execute("DELETE FROM team_members WHERE user_id = $1 AND team_id = ANY($2)",
                         stand_in.id, [scene.acme.team_id, scene.bolt.team_id])  # fmt: skip
    return [one for one in found if one is not None]


def _changed(before: dict[str, str], after: dict[str, str]) -> str:
    return ", ".join(sorted(name for name in after if before.get(name) != after[name]))


def _position(asked: Asked, route: Route, own: Iterable[str]) -> str | None:
    """Only a change is news, and only of the caller's own channels: how far the trail is, is nobody's."""
    said = asked.answer.headers.get("x-stream-position", "").split()
    if route.is_read:
        return "a read that tells of a position" if said else None
    channels = [one.rpartition("@")[0].partition(":") for one in said]
    foreign = [kind for kind, _, owner in channels if owner not in set(own) or kind in _QUIET]
    if foreign:
        return f"told of the position of {foreign}"
    return None if said or route.personal else "a change that is no news"


async def _stand_in(scene: Scene, caller: str) -> Person:
    """Somebody like the caller, for a route that uses up whoever asks."""
    whose = scene.bolt if caller == "elsewhere" else scene.acme
    name = f"{whose.canary} stand-in" if caller not in ("former", "staff") else "Stand-in"
    person = await people.someone(scene.api, name, verified=caller != "unverified", staff=caller == "staff")
    role = {"unverified": "owner", "elsewhere": "owner"}.get(caller, caller)
    if role in ROLES:
        await people.into(whose.team_id, person.id, role)
    return person


async def swapped(scene: Scene, route: Route) -> list[str]:
    """For an owner: one of several ids is foreign, and the others are their own."""
    found = []
    own = await ids_for(scene, route, "owner", "own", anew=False)
    foreign = await ids_for(scene, route, "owner", "foreign", anew=False)
    absent = await ids_for(scene, route, "owner", "absent", anew=False)
    token = await scene.token("owner", route)
    book = ledger(scene)
    before = await book.marks()
    for name in set(route.places) - {*route.finds, *CONSTANTS, *NEW}:
        theirs = await ask(scene, route, "owner", token, {**own, name: foreign[name]})
        nobodys = await ask(scene, route, "owner", token, {**own, name: absent[name]})
        what = theirs.wrong(STRANGER) or theirs.leaks(scene)
        if what is None and theirs.bare != nobodys.bare:
            what = f"told apart from what is absent: {theirs.bare} {nobodys.bare}"
        found += [f"{route.name} by owner with a foreign {name}: {what}"] if what else []
    if changed := _changed(before, await book.marks()):
        found.append(f"{route.name} by owner with a foreign id: refused, and yet changed: {changed}")
    return found
