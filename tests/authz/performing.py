"""How each changing route is done with success, by somebody who may: what the walk of the audit trail does.

Most rows of the matrix say it already (`from_the_matrix`). PERFORMED has the routes whose row is refused or
finds nothing: those that follow a link, a code or a passkey. An `Act` is made, with all that has to be there
before, and not yet done.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.app import inviting, mailing
from tests.app import second_factors as factors
from tests.app.authenticator import Authenticator
from tests.authz import people
from tests.authz.matrix import Route
from tests.authz.scene import Scene, another
from tests.authz.things import filled, ids_for
from tests.factories import PASSWORD, Api, Person
from tests.mailbox import Mailbox

ANOTHER: Final = "another horse, other staples"


@dataclass
class Act:
    """A request that will be let in: by `person`, if anybody is signed in; its row is in `team_id`'s trail.

    `by_answer` is for what begins a session or an account: its row names those of the answer.
    """

    path: str
    body: dict[str, Any] | None = None
    person: Person | None = None
    team_id: str = ""
    by_answer: bool = False


@dataclass
class Stage:
    """Where it is done."""

    scene: Scene
    mailbox: Mailbox

    @property
    def api(self) -> Api:
        return self.scene.api


Prepare = Callable[[Stage], Awaitable[Act]]


async def from_the_matrix(stage: Stage, route: Route, *, anew: bool = True) -> Act:
    """The row's own case: an owner, on a thing of their own; with `anew` on one that may be used up."""
    scene = stage.scene
    if route.section == "team":
        person = scene.acme.owner
    else:
        person = scene.staff if route.section == "staff" else await _ann(stage)
    given = await ids_for(scene, route, "owner", "own", person=person, anew=anew)
    team_id = person.personal_team_id if route.section == "account" else scene.acme.team_id
    for name in ("team_id", "team_on_offer"):
        team_id = given.get(name, team_id)
    body = filled(route.body, given)
    if route.route == "PATCH /api/users/{user_id}":
        somebody = await people.someone(stage.api, "Somebody")
        given, body, team_id = {"user_id": somebody.id}, {"disabled": True}, somebody.personal_team_id
    query = str(httpx.QueryParams(filled(route.query, given)))
    return Act(f"{route.path.format(**given)}{query and '?'}{query}", body, person, team_id)


async def _ann(stage: Stage) -> Person:
    """Somebody new, so that nothing another case needs is used up."""
    return await people.someone(stage.api, "Ann")


async def _registers(stage: Stage) -> Act:
    email = f"{secrets.token_hex(6)}@example.org"
    return Act("/api/auth/register", {"email": email, "password": PASSWORD, "name": "New"}, by_answer=True)


async def _logs_in(stage: Stage) -> Act:
    ann = await _ann(stage)
    return Act("/api/auth/login", {"email": ann.email, "password": PASSWORD}, by_answer=True)


async def _mailed(stage: Stage, kind: str, asks: str) -> tuple[Person, str]:
    """Somebody, and the token in the link that came when they asked."""
    ann = await _ann(stage)
    assert (await mailing.post(stage.api, asks, email=ann.email)).status_code == 202
    return ann, await mailing.token_of(stage.mailbox, ann.email, kind)


async def _verifies(stage: Stage) -> Act:
    ann = await stage.api.person()
    token = await mailing.token_of(stage.mailbox, ann.email, "verify")
    return Act("/api/auth/verify-email", {"token": token}, team_id=ann.personal_team_id)


async def _asks_for_a_password(stage: Stage) -> Act:
    ann = await _ann(stage)
    return Act("/api/auth/password/forgot", {"email": ann.email}, team_id=ann.personal_team_id)


async def _resets(stage: Stage) -> Act:
    ann, token = await _mailed(stage, "reset", "/auth/password/forgot")
    body = {"token": token, "password": ANOTHER}
    return Act("/api/auth/password/reset", body, team_id=ann.personal_team_id)


async def _asks_for_a_link(stage: Stage) -> Act:
    ann = await _ann(stage)
    return Act("/api/auth/magic-link", {"email": ann.email}, team_id=ann.personal_team_id)


async def _follows_a_link(stage: Stage) -> Act:
    _, token = await _mailed(stage, "magic", "/auth/magic-link")
    return Act("/api/auth/magic-link/consume", {"token": token}, by_answer=True)


async def _moving(stage: Stage) -> tuple[Person, str, list[str]]:
    """Somebody who asked for another address, that address, and the tokens of both links."""
    ann, new = await _ann(stage), f"{secrets.token_hex(6)}@example.org"
    asked = await ann.post("/users/me/email", {"email": new, "password": PASSWORD})
    assert asked.status_code == 202, asked.text
    old = await mailing.token_of(stage.mailbox, ann.email, "change-old")
    return ann, new, [old, await mailing.token_of(stage.mailbox, new, "change-new")]


async def _confirms_an_address(stage: Stage) -> Act:
    ann, _, [old, new] = await _moving(stage)
    assert (await mailing.post(stage.api, "/auth/email/confirm", token=old)).status_code == 200
    return Act("/api/auth/email/confirm", {"token": new}, team_id=ann.personal_team_id)


async def _takes_the_address_back(stage: Stage) -> Act:
    ann, _, tokens = await _moving(stage)
    for token in tokens:
        assert (await mailing.post(stage.api, "/auth/email/confirm", token=token)).status_code == 200
    back = await mailing.token_of(stage.mailbox, ann.email, "changed")
    return Act("/api/auth/email/revert", {"token": back}, team_id=ann.personal_team_id)


async def _disowns_a_session(stage: Stage) -> Act:
    ann = await _ann(stage)
    agent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
    body = {"email": ann.email, "password": PASSWORD}
    assert (await stage.api.call("POST", "/auth/login", json=body, headers=agent)).status_code == 200
    token = await mailing.token_of(stage.mailbox, ann.email, "device")
    return Act("/api/auth/sessions/disown", {"token": token}, team_id=ann.personal_team_id)


async def _undoes_a_way_in(stage: Stage) -> Act:
    ann = await _ann(stage)
    await factors.enrol(ann)
    token = await mailing.token_of(stage.mailbox, ann.email, "added")
    return Act("/api/auth/ways-in/undo", {"token": token}, team_id=ann.personal_team_id)


async def _confirms_an_app(stage: Stage) -> Act:
    ann = await _ann(stage)
    secret = (await ann.post("/auth/mfa/totp")).json()["data"]["secret"]
    return Act("/api/auth/mfa/totp/confirm", {"code": factors.App(secret).code()}, ann, ann.personal_team_id)


async def _removes_an_app(stage: Stage) -> Act:
    ann = await _ann(stage)
    await factors.enrol(ann)
    return Act("/api/auth/mfa/totp", None, ann, ann.personal_team_id)


async def _renews_recovery_codes(stage: Stage) -> Act:
    ann = await _ann(stage)
    await factors.enrol(ann)
    return Act("/api/auth/mfa/recovery-codes", None, ann, ann.personal_team_id)


async def _shows_a_second_factor(stage: Stage) -> Act:
    ann = await _ann(stage)
    app = await factors.enrol(ann)
    body = {"mfaToken": await factors.mfa_token(ann), "code": app.code()}
    return Act("/api/auth/mfa/verify", body, by_answer=True)


async def _adds_a_passkey(stage: Stage) -> Act:
    ann = await _ann(stage)
    credential = Authenticator().create(await factors.creation_options(ann))
    return Act("/api/auth/passkeys/register/verify", {"credential": credential}, ann, ann.personal_team_id)


async def _comes_with_a_passkey(stage: Stage) -> Act:
    one, _ = await factors.add_passkey(await _ann(stage))
    credential = one.get(await factors.request_options(stage.api))
    return Act("/api/auth/passkeys/login/verify", {"credential": credential}, by_answer=True)


async def _invited(stage: Stage, email: str) -> tuple[str, dict[str, Any]]:
    team = await another(stage.scene.acme)
    return team.team_id, await inviting.invited(team.owner, team.team_id, email)


async def _accepts(stage: Stage) -> Act:
    guest = await _ann(stage)
    team_id, _ = await _invited(stage, guest.email)
    token = await inviting.token_for(stage.mailbox, guest.email)
    return Act("/api/invites/accept", {"token": token}, guest, team_id)


async def _declines(stage: Stage) -> Act:
    email = inviting.address()
    team_id, _ = await _invited(stage, email)
    token = await inviting.token_for(stage.mailbox, email)
    return Act("/api/invites/decline", {"token": token}, team_id=team_id)


async def _asks_again(stage: Stage) -> Act:
    email = inviting.address()
    team_id, invite = await _invited(stage, email)
    token = await inviting.token_for(stage.mailbox, email)
    await inviting.too_late(invite["id"])
    return Act("/api/invites/ask-again", {"token": token}, team_id=team_id)


PERFORMED: Final[dict[str, Prepare]] = {
    "POST /api/auth/register": _registers,
    "POST /api/auth/login": _logs_in,
    "POST /api/auth/verify-email": _verifies,
    "POST /api/auth/password/forgot": _asks_for_a_password,
    "POST /api/auth/password/reset": _resets,
    "POST /api/auth/magic-link": _asks_for_a_link,
    "POST /api/auth/magic-link/consume": _follows_a_link,
    "POST /api/auth/email/confirm": _confirms_an_address,
    "POST /api/auth/email/revert": _takes_the_address_back,
    "POST /api/auth/sessions/disown": _disowns_a_session,
    "POST /api/auth/ways-in/undo": _undoes_a_way_in,
    "POST /api/auth/mfa/totp/confirm": _confirms_an_app,
    "DELETE /api/auth/mfa/totp": _removes_an_app,
    "POST /api/auth/mfa/recovery-codes": _renews_recovery_codes,
    "POST /api/auth/mfa/verify": _shows_a_second_factor,
    "POST /api/auth/passkeys/register/verify": _adds_a_passkey,
    "POST /api/auth/passkeys/login/verify": _comes_with_a_passkey,
    "POST /api/invites/accept": _accepts,
    "POST /api/invites/decline": _declines,
    "POST /api/invites/ask-again": _asks_again,
}
