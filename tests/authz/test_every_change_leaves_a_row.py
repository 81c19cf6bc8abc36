"""Every changing route leaves a row in the right trail: over REST, over the socket, and with an API key.

The walk is over the routes of the application, not over a list: one that is added without a way to do it
fails, and so does one that leaves no row and has no reason for it in WITHOUT_A_ROW. So does a reason for what
leaves one after all.
"""

from pathlib import Path
from typing import Final

import pytest

from domain.auth import key_text
from tests.app.mailing import settled
from tests.authz import matrix
from tests.authz.matrix import Route
from tests.authz.performing import PERFORMED, Act, Stage, from_the_matrix
from tests.authz.test_the_matrix_is_whole import handlers
from tests.authz.walking import AGENT, Asked, over_rest, over_the_socket, rows
from tests.nodes import until

MATRIX: Final = matrix.read()
# Routes that change something by their method, and leave no row when they are answered with success.
WITHOUT_A_ROW: Final = {
    "POST /api/auth/refresh": "the session goes on as it was; a token that is used twice leaves one",
    "POST /api/auth/mfa/step-up/options": "hands out a challenge; what is done with it leaves one",
    "POST /api/auth/passkeys/register/options": "hands out a challenge; what is done with it leaves one",
    "POST /api/auth/passkeys/login/options": "hands out a challenge, to anybody; signing in leaves one",
    "POST /api/auth/verify-email/resend": "mails the same proof once more; following it leaves one",
    "POST /connection/http_stream": "carries commands; each route that they call leaves its own",
    "POST /emulation": "carries commands; each route that they call leaves its own",
}
# Done where the providers are, in tests/app/oauth/test_the_trail.py; the second only says where to go.
WITH_A_PROVIDER: Final = ("POST /api/auth/oauth/exchange", "POST /api/auth/oauth/{provider}/link")


def changing() -> list[str]:
    """`PUT /api/teams/{team_id}`: whatever the application has that does not only read."""
    return sorted(name for name in handlers() if name.split(" ")[0] not in ("GET", "HEAD", "OPTIONS"))


def row_of(name: str) -> Route:
    return next(route for route in MATRIX.routes if route.name == name)


WALKED: Final = [name for name in changing() if name not in WITHOUT_A_ROW and name not in WITH_A_PROVIDER]
# What nobody has to follow a link for is the same over the socket, and for keys.
BY_THE_SIGNED_IN: Final = [name for name in WALKED if name not in PERFORMED]
BY_KEY: Final = [name for name in BY_THE_SIGNED_IN if row_of(name).is_for_keys]


def test_the_walk_is_over_every_changing_route() -> None:
    there = set(changing())
    assert len(there) > 50
    assert {*WITHOUT_A_ROW, *WITH_A_PROVIDER, *PERFORMED} <= there, "a route that is no more"
    for name in BY_THE_SIGNED_IN:
        route = row_of(name)
        succeeds = route.roles.get("owner", route.answers) < 300
        assert succeeds, f"{name}: say in tests/authz/performing.py how it is done with success"
    assert len(BY_KEY) > 10
    told = Path("docs/audit.md").read_text()
    assert [name for name in {*WITHOUT_A_ROW, WITH_A_PROVIDER[1]} if f"`{name}`" not in told] == []


@pytest.mark.parametrize("name", WALKED)
async def test_a_change_leaves_a_row(stage: Stage, name: str) -> None:
    act = await (PERFORMED[name](stage) if name in PERFORMED else from_the_matrix(stage, row_of(name)))
    asked = await over_rest(stage)(name.split(" ")[0], act, act.person.token if act.person else None)
    await check(act, asked)


@pytest.mark.parametrize("name", BY_THE_SIGNED_IN)
async def test_a_change_over_the_socket_leaves_a_row_and_names_the_key(
    stage: Stage, url: str, name: str
) -> None:
    act, route = await from_the_matrix(stage, row_of(name)), row_of(name)
    assert act.person is not None
    token, key_id = act.person.token, None
    if route.is_for_keys:
        token = await stage.scene.key(act.person, route.key_scopes or [])
        key_id = key_text.id_of(token)
    await check(act, await over_the_socket(url)(route.method, act, token), key_id=key_id)


@pytest.mark.parametrize("name", BY_KEY[::4])
async def test_a_key_over_rest_is_named_as_well(stage: Stage, name: str) -> None:
    act, route = await from_the_matrix(stage, row_of(name)), row_of(name)
    assert act.person is not None
    token = await stage.scene.key(act.person, route.key_scopes or [])
    await check(act, await over_rest(stage)(route.method, act, token), key_id=key_text.id_of(token))


async def check(act: Act, asked: Asked, *, key_id: str | None = None) -> None:
    """A row of success in the right trail; whatever it left says who, from where, with what."""
    assert asked.status < 300, f"it is to be done: {asked.status} {asked.body}"

    async def there() -> bool:
        return bool(await rows(asked.request_id))

    await until(there)  # some are written by a job
    found = await rows(asked.request_id)
    data = asked.body.get("data", {}) if asked.body else {}
    team_id = (
        data["user"]["personalTeamId"] if act.by_answer else (asked.body or {}).get("teamId", act.team_id)
    )
    assert ("success", team_id) in {(row["outcome"], row["team_id"]) for row in found}, found
    for row in found:
        assert (row["ip"], row["user_agent"], row["key_id"]) == ("127.0.0.1", AGENT, key_id), row["action"]
        if act.person is not None:
            session_id = act.person.session_id if key_id is None else None
            assert (row["user_id"], row["session_id"]) == (act.person.id, session_id), row["action"]
    if act.by_answer:
        begun = [row["session_id"] for row in found] + [row["resource"] for row in found]
        assert data["sessionId"] in begun, "the session that has begun is named"


async def _refreshes(stage: Stage) -> Act:
    return Act("/api/auth/refresh", {"refreshToken": (await stage.api.person()).refresh_token})


@pytest.mark.parametrize("name", [name for name in WITHOUT_A_ROW if name.startswith("POST /api/")])
async def test_what_is_said_to_leave_no_row_leaves_none(stage: Stage, name: str) -> None:
    act = await (_refreshes(stage) if name.endswith("/refresh") else from_the_matrix(stage, row_of(name)))
    asked = await over_rest(stage)("POST", act, act.person.token if act.person else None)
    assert asked.status < 300, asked
    await settled()
    assert await rows(asked.request_id) == [], "it leaves one after all: take it out of WITHOUT_A_ROW"
