"""What is refused is in the trail, too: of members, of keys, of wrong secrets; what strangers try is not.

For each route: a member without the right, and a key without the scope, leave a row with outcome
`denied` that says who, from where, with what. Strangers and nobody leave none: whoever could write into a
trail that is not theirs could fill it, and what they tried there they might not even know to exist.
"""

import secrets
from typing import Any, Final

import pytest

from domain.teams.denials import denials
from tests.app import second_factors as factors
from tests.authz import matrix, people
from tests.authz.matrix import Route
from tests.authz.performing import ANOTHER, Act, Stage, from_the_matrix
from tests.authz.scene import Scene
from tests.authz.walking import (
    AGENT,
    Asked,
    over_rest,
    over_the_socket,
    rows,
)
from tests.factories import PASSWORD, Api, Person
from tests.keys import forged, new_key

MATRIX: Final = matrix.read()
IN_A_TEAM: Final = list(MATRIX.of("team"))
NOT_FOR_VIEWERS: Final = [route for route in IN_A_TEAM if route.roles["viewer"] == 403]
CLOSED_TO_KEYS: Final = [route for route in MATRIX.of("team", "account", "staff") if not route.is_for_keys]
FOR_STAFF: Final = list(MATRIX.of("staff"))


def each(routes: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=lambda route: route.name)


async def denied(asked: Asked, code: str) -> dict[str, Any]:
    """The one row that a refusal left."""
    assert (asked.status, asked.body["code"]) == (403, code), asked
    await denials.write()
    [row] = await rows(asked.request_id)
    assert (row["action"], row["outcome"]) == ("teams.access_denied", "denied")
    assert (row["ip"], row["user_agent"]) == ("127.0.0.1", AGENT)
    return row


async def colleague(scene: Scene, act: Act, role: str) -> Person:
    """Somebody new in the team that it is about: of the same try there is one row a minute."""
    person = await people.someone(scene.api, f"{scene.acme.canary} {role} refused")
    await people.into(act.team_id, person.id, role)
    return person


@each(NOT_FOR_VIEWERS)
async def test_a_member_who_may_not_leaves_a_row(stage: Stage, url: str, route: Route) -> None:
    act = await from_the_matrix(stage, route, anew=False)
    by_turns = over_rest(stage), over_the_socket(url)
    for ask in by_turns if route in NOT_FOR_VIEWERS[::4] and not route.file else by_turns[:1]:
        viewer = await colleague(stage.scene, act, "viewer")
        row = await denied(await ask(route.method, act, viewer.token), "forbidden")
        assert (row["team_id"], row["user_id"]) == (act.team_id, viewer.id)
        assert (row["session_id"], row["key_id"]) == (viewer.session_id, None)
        assert (row["resource"], row["metadata"]["role"]) == (route.needs, "viewer")


@each([route for route in IN_A_TEAM if route.is_for_keys])
async def test_a_key_that_may_not_leaves_a_row(stage: Stage, route: Route) -> None:
    act = await from_the_matrix(stage, route, anew=False)
    admin = await colleague(stage.scene, act, "owner")
    key = await new_key(admin)
    row = await denied(await over_rest(stage)(route.method, act, key["key"]), "missing_scope")
    # Whoever shares any team is looked for in all of them: that is about none, and in the key's own trail.
    team_id = admin.personal_team_id if route.name == "GET /api/users/{user_id}" else act.team_id
    assert (row["team_id"], row["user_id"], row["key_id"]) == (team_id, admin.id, key["id"])
    assert (row["session_id"], row["resource"]) == (None, route.needs)


@each(CLOSED_TO_KEYS)
async def test_a_key_where_a_session_is_needed_leaves_a_row_in_its_own_team(
    stage: Stage, route: Route
) -> None:
    act = await from_the_matrix(stage, route, anew=False)
    ann = await people.someone(stage.api, "Robot owner")
    key = await new_key(ann)
    row = await denied(await over_rest(stage)(route.method, act, key["key"]), "session_required")
    assert (row["team_id"], row["key_id"]) == (ann.personal_team_id, key["id"])
    assert (row["resource"], row["metadata"]) == ("session", {"times": 1})


@each(FOR_STAFF)
async def test_who_tries_what_is_the_staffs_leaves_a_row_in_their_own_trail(
    stage: Stage, route: Route
) -> None:
    act = await from_the_matrix(stage, route, anew=False)
    ann = await people.someone(stage.api, "Curious")
    row = await denied(await over_rest(stage)(route.method, act, ann.token), "staff_only")
    assert (row["team_id"], row["session_id"]) == (ann.personal_team_id, ann.session_id)
    assert row["resource"] == "staff"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_who_gives_a_key_more_than_they_may_leaves_a_row(stage: Stage, method: str) -> None:
    acme = stage.scene.acme
    act = Act(
        "/api/auth/api-keys",
        {"name": "Robot", "scopes": ["team:delete"], "teamId": acme.team_id},
        team_id=acme.team_id,
    )
    admin = await colleague(stage.scene, act, "admin")
    if method == "PATCH":
        key = await new_key(admin, "team:read", teamId=acme.team_id)
        act = Act(f"{act.path}/{key['id']}", {"scopes": ["team:read", "team:delete"]})
    row = await denied(await over_rest(stage)(method, act, admin.token), "scope_above_own")
    assert (row["team_id"], row["user_id"]) == (acme.team_id, admin.id)
    assert (row["resource"], row["metadata"]) == ("team:delete", {"role": "admin", "times": 1})


@each(IN_A_TEAM)
async def test_a_stranger_and_nobody_leave_none(stage: Stage, route: Route) -> None:
    act = await from_the_matrix(stage, route, anew=False)
    for token, status in ((stage.scene.former.token, 404), (None, 401), ("never.was.one", 401)):
        asked = await over_rest(stage)(route.method, act, token)
        assert asked.status == status
        await denials.write()
        assert await rows(asked.request_id) == []


# What is shown and is wrong, by whom, and what the trail of that person says of it.
async def _wrong_password(api: Api, ann: Person) -> Act:
    return Act("/api/auth/login", {"email": ann.email, "password": ANOTHER})


async def _wrong_code(api: Api, ann: Person) -> Act:
    app = await factors.enrol(ann)
    return Act("/api/auth/mfa/verify", {"mfaToken": await factors.mfa_token(ann), "code": app.wrong()})


async def _wrong_code_for_an_app(api: Api, ann: Person) -> Act:
    secret = (await ann.post("/auth/mfa/totp")).json()["data"]["secret"]
    return Act("/api/auth/mfa/totp/confirm", {"code": factors.App(secret).wrong()}, ann)


async def _wrong_proof(api: Api, ann: Person) -> Act:
    return Act("/api/auth/mfa/step-up", {"password": ANOTHER}, ann)


async def _wrong_old_password(api: Api, ann: Person) -> Act:
    return Act("/api/auth/password/change", {"currentPassword": ANOTHER, "password": PASSWORD * 2}, ann)


async def _wrong_password_for_an_address(api: Api, ann: Person) -> Act:
    email = f"{secrets.token_hex(6)}@example.org"
    return Act("/api/users/me/email", {"email": email, "password": ANOTHER}, ann)


async def _wrong_passkey(api: Api, ann: Person) -> Act:
    one, _ = await factors.add_passkey(ann)
    return Act("/api/auth/passkeys/login/verify", {"credential": one.get({"challenge": "x" * 43})})


FAILED: Final = {
    "auth.login_failed": _wrong_password,
    "auth.second_factor_failed": _wrong_code,
    "auth.second_factor_failed # of a new app": _wrong_code_for_an_app,
    "auth.password_refused": _wrong_proof,
    "auth.password_refused # to choose another": _wrong_old_password,
    "auth.password_refused # to move": _wrong_password_for_an_address,
    "auth.passkey_refused": _wrong_passkey,
}


@pytest.mark.parametrize("name", FAILED)
async def test_a_wrong_secret_leaves_a_row(stage: Stage, name: str) -> None:
    ann = await people.someone(stage.api, "Ann")
    act = await FAILED[name](stage.api, ann)
    asked = await over_rest(stage)("POST", act, act.person.token if act.person else None)
    assert asked.status in (401, 403, 422), asked
    await _is_told(asked, name.partition(" # ")[0], ann)


async def test_a_known_key_that_does_not_open_leaves_a_row(stage: Stage) -> None:
    ann = await people.someone(stage.api, "Ann")
    key = await new_key(ann)
    asked = await over_rest(stage)("POST", Act("/api/inventory", {}), forged(key))
    assert asked.status == 401
    await _is_told(asked, "auth.api_key_refused", ann)


async def _is_told(asked: Asked, action: str, person: Person) -> None:
    [row] = await rows(asked.request_id)
    assert (row["action"], row["outcome"]) == (action, "denied")
    assert row["team_id"] == person.personal_team_id
    assert (row["ip"], row["user_agent"]) == ("127.0.0.1", AGENT)
