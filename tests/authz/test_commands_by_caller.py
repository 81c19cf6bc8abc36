"""Every websocket command, for everybody who may come, on their own channels, foreign and absent ones.

The cases are those of tests/authz_matrix.toml: the rows of channels and of commands.
"""

from typing import Any

import httpx
import pytest

from domain import ids
from tests.authz import matrix
from tests.authz.asking import ask
from tests.authz.cases import ledger, resources
from tests.authz.matrix import Channel, Command, Resource, Route, expected
from tests.authz.scene import PEOPLE, Scene
from tests.authz.things import filled, ids_for
from tests.raw import Raw, raw
from tests.streaming import streaming

MATRIX = matrix.read()
SIGNED_IN = [caller for caller in PEOPLE if caller != "nobody"]
KEYS = ["key", "key without", "key of viewer", "key elsewhere"]
ABOUT_CHANNELS = [command.name for command in MATRIX.commands if command.about == "channel"]
ASKED: list[Resource] = ["own", "teammate", "foreign", "absent"]


def row(name: str) -> Channel:
    return next(channel for channel in MATRIX.channels if channel.name == name)


async def token_of(scene: Scene, caller: str, channel: Channel) -> str:
    """What the caller comes with; for keys the scope is that of the channel, or all others."""
    needs = channel.needs or "team:read"
    name = f"key without {needs}" if caller == "key without" else caller
    route = Route(name="GET /", section="team", needs=needs)
    token = await scene.token(name, route)
    assert token is not None
    return token


def name_of(scene: Scene, channel: Channel, caller: str, resource: Resource) -> str:
    """The channel of this kind that is the caller's own, a team-mate's, another tenant's or nobody's."""
    if channel.owner == "staff":
        return channel.name
    if resource == "absent":
        return f"{channel.name}:{ids.new(channel.owner)}"
    home, other = (scene.bolt, scene.acme) if caller == "elsewhere" else (scene.acme, scene.bolt)
    if channel.owner == "team":
        return f"{channel.name}:{(other if resource == 'foreign' else home).team_id}"
    person = scene.person(caller)
    assert person is not None
    if resource == "teammate":
        person = home.people["admin" if caller == "member" else "member"]
    elif resource == "foreign":
        person = other.owner
    return f"{channel.name}:{person.id}"


def may_follow(channel: Channel, caller: str, resource: Resource) -> bool:
    """What the row says; `elsewhere` owns the team that is its own."""
    if channel.owner == "staff":
        return caller == "staff"
    if resource != "own":
        return channel.owner == "team" and resource == "teammate" and may_follow(channel, caller, "own")
    if channel.owner == "user":
        return not caller.startswith("key")
    if caller in ("former", "staff", "key elsewhere", "key without"):
        return False
    role = {"unverified": "owner", "elsewhere": "owner", "key": "owner", "key of viewer": "viewer"}
    return channel.roles[role.get(caller, caller)] == "ok"


def answer_of(channel: Channel, command: str, *, allowed: bool, is_joined: bool) -> Any:
    """`ok` or the code of the error."""
    if command == "unsubscribe":
        # It is about one's own connection: what is not followed is left without a word. What the server has
        # joined is not left; every connection, also a key's, hears on `user:` when rights are taken away.
        return 103 if is_joined else "ok"
    return channel.answers[command] if allowed else 103


async def said(client: Raw, command: str, channel: str) -> tuple[Any, dict[str, Any]]:
    """`ok` or the code of the error, and the whole answer."""
    body: dict[str, Any] = {"channel": channel, **({"data": {}} if command == "publish" else {})}
    answer = await client.ask(**{command: body})
    return answer["error"]["code"] if "error" in answer else "ok", {**answer, "id": 0}


@pytest.mark.parametrize("channel", MATRIX.channels, ids=lambda channel: channel.name)
@pytest.mark.parametrize("caller", [*SIGNED_IN, *KEYS])
async def test_on_channels_everybody_is_told_what_the_matrix_says(
    scene: Scene, url: str, channel: Channel, caller: str
) -> None:
    token = await token_of(scene, caller, channel)
    wrong, before = [], await ledger(scene).marks()
    async with raw(url, token=token) as client:
        for command in sorted(ABOUT_CHANNELS, key=lambda name: name == "unsubscribe"):
            answers = {}
            # What is the staff's has no owner in its name, and so no foreign ones.
            for resource in ASKED if channel.owner != "staff" else ASKED[:1]:
                asked = name_of(scene, channel, caller, resource)
                told, answers[resource] = await said(client, command, asked)
                allowed = may_follow(channel, caller, resource)
                is_joined = (allowed and channel.answers["subscribe"] == 105) or (
                    channel.name == "user" and resource == "own"
                )
                right = answer_of(channel, command, allowed=allowed, is_joined=is_joined)
                # A team-mate's channel of the team is one's own, and followed by now.
                if resource == "teammate" and channel.owner == "team" and allowed:
                    right = {"subscribe": 105, "unsubscribe": told}.get(command, right)
                if told != right:
                    wrong.append(f"{command} {channel.name} by {caller} on {resource}: {told}, not {right}")
            if answers.get("foreign") != answers.get("absent"):
                wrong.append(f"{command} {channel.name} by {caller}: foreign told apart: {answers}")
        heard = str(client.in_order)
    foreign = [canary for canary in scene.foreign_to(caller) if canary in heard]
    assert not wrong, "\n".join(wrong)
    assert not foreign, heard
    assert await ledger(scene).marks() == before, "nothing has changed"


@pytest.mark.parametrize("caller", ["nobody", *SIGNED_IN, "key", "key elsewhere"])
async def test_connect_joins_what_is_ones_own_and_nothing_else(scene: Scene, url: str, caller: str) -> None:
    async with raw(url) as client:
        if caller == "nobody":
            await client.send({"id": 1, "connect": {}})
            assert await client.closed() == 3501
            return
        answer = await client.ask(connect={"token": await token_of(scene, caller, row("team"))})
        person = scene.person(caller)
        assert person is not None
        in_team = caller not in ("former", "staff", "key elsewhere")
        home = scene.bolt if caller == "elsewhere" else scene.acme
        teams = {f"team:{home.team_id}"} if in_team else set()
        own = set() if caller.startswith("key") else {f"user:{person.id}", f"notifications:{person.id}"}
        own.add(f"team:{person.personal_team_id}")
        assert set(answer["connect"]["subs"]) == own | teams


@pytest.mark.parametrize("caller", [*SIGNED_IN, "key"])
async def test_refresh_takes_ones_own_credential_and_no_other(scene: Scene, url: str, caller: str) -> None:
    own = await token_of(scene, caller, row("team"))
    mate, stranger = scene.acme.people["admin" if caller == "member" else "member"], scene.bolt.owner
    if caller == "elsewhere":
        stranger = scene.acme.owner
    async with raw(url, token=own) as client:
        assert "refresh" in await client.ask(refresh={"token": own})
    for token in (mate.token, stranger.token, "never.was.one", await scene.key(mate, ["team:read"])):
        async with raw(url, token=own) as client:
            await client.send({"id": 9, "refresh": {"token": token}})
            assert await client.closed() == 3500, "the same for whatever is not one's own"


@pytest.mark.parametrize(
    "command", [c for c in MATRIX.commands if c.about == "nothing"], ids=lambda command: command.name
)
@pytest.mark.parametrize("caller", [*SIGNED_IN, "key"])
async def test_what_is_for_nobody_is_refused_to_everybody(
    scene: Scene, url: str, command: Command, caller: str
) -> None:
    async with raw(url, token=await token_of(scene, caller, row("team"))) as client:
        answer = await client.ask(**{command.name: {}})
        assert answer["error"]["code"] == command.answers


@pytest.mark.parametrize("command", [c.name for c in MATRIX.commands if c.name != "connect"])
async def test_before_connect_nothing_is_answered(scene: Scene, url: str, command: str) -> None:
    async with raw(url) as client:
        await client.send({"id": 1, command: {"channel": f"inventory:{scene.acme.team_id}"}})
        assert await client.closed() == 3501


@pytest.mark.parametrize("caller", ["viewer", "owner", "elsewhere", "key elsewhere"])
@pytest.mark.parametrize("route", MATRIX.of("team", "account", "staff"), ids=lambda route: route.name)
async def test_rpc_refuses_what_rest_refuses_in_the_same_words(
    scene: Scene, url: str, route: Route, caller: str
) -> None:
    cells = {resource: expected(route, caller, resource) for resource in resources(route)}
    refused = [resource for resource, cell in cells.items() if cell is not None and cell.codes]
    token = await scene.token(caller, route)
    for resource in refused:
        given = await ids_for(scene, route, caller, resource, anew=False)
        rest = (await ask(scene, route, caller, token, given)).answer
        query = str(httpx.QueryParams(filled(route.query, given)))
        method = f"{route.method} {route.path.format(**given)}" + (f"?{query}" if query else "")
        data = {"body": filled(route.body, given)} if route.body is not None else {}
        before = await ledger(scene).marks()
        async with raw(url, token=token) as client:
            answer = (await client.ask(rpc={"method": method, "data": data}))["rpc"]["data"]
        assert await ledger(scene).marks() == before, resource
        if route.file:
            assert (answer["status"], answer["body"]["code"]) == (422, "http_only"), "whoever asks"
            continue
        assert answer["status"] == rest.status_code, resource
        assert {**answer["body"], "requestId": ""} == {**rest.json(), "requestId": ""}, resource


@pytest.mark.parametrize("transport", ["http_stream", "sse"])
async def test_other_transports_tell_the_same(scene: Scene, url: str, transport: str) -> None:
    asked = {
        resource: name_of(scene, row("inventory"), "viewer", resource)
        for resource in ASKED
        if resource != "teammate"
    }
    for caller in ("viewer", "former", "staff"):
        person = scene.person(caller)
        assert person is not None
        async with streaming(url, person.token, transport=transport) as stream:
            answers = {
                resource: {**await stream.ask(subscribe={"channel": channel}), "id": 0}
                for resource, channel in asked.items()
            }
            assert answers["foreign"] == answers["absent"]
            assert answers["foreign"]["error"]["code"] == 103
            assert ("subscribe" in answers["own"]) == (caller == "viewer")
            assert stream.session, "and its commands come by POST /emulation"
            assert await stream.post({"id": 99, "ping": {}}, session="never-was") == 404


@pytest.mark.parametrize("caller", PEOPLE)
async def test_an_eventsource_follows_what_its_person_may(
    scene: Scene, http: httpx.AsyncClient, caller: str
) -> None:
    person, channel = scene.person(caller), row("inventory")
    answers = {}
    for resource in ASKED:
        query = {
            "channel": name_of(scene, channel, caller, resource),
            **({"token": person.token} if person else {}),
        }
        async with http.stream("GET", "/connection/uni_sse", params=query) as response:
            followed = response.status_code == 200
            said = b"" if followed else await response.aread()
            # To the byte, but for the request's own id.
            own_id = response.headers["x-request-id"].encode()
            answers[resource] = response.status_code, said.replace(own_id, b"")
        assert followed == (person is not None and may_follow(channel, caller, resource)), resource
    assert answers["foreign"] == answers["absent"]
    assert answers["foreign"][0] == (403 if person else 401)
