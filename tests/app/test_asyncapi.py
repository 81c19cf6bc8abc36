"""The AsyncAPI document: it says what the code says, and what is really said fits it."""

import ast
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, FormatChecker

from app.api.asyncapi import COMMANDS
from app.api.samples import sample
from channels import protocol
from domain import channels, db, health
from domain.actor import Actor
from domain.auth import oauth
from domain.auth.oauth_model import Flow, Profile
from domain.health import DependencyChanged
from tests.app.handing_over import a_team_changes_hands, a_team_goes_and_comes_back
from tests.app.inviting import everything_of_invites
from tests.app.mailing import post, token_of
from tests.app.making_roles import roles_happen
from tests.app.second_factors import everything_of_factors
from tests.app.test_docs import inside
from tests.architecture import sources
from tests.factories import PASSWORD, Api, Person, item
from tests.listener import Listeners
from tests.mailbox import Mailbox
from tests.raw import raw

Json = dict[str, Any]


@pytest.fixture(scope="module")
async def document(api: Api) -> Json:
    answer = await api.call("GET", "/docs/asyncapi.json")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: Json = answer.json()
    return body


def fits(document: Json, message: str) -> Draft7Validator:
    """A validator of one message. It is stricter than the document: no field may be there unsaid."""
    components = copy.deepcopy(document["components"])
    for schema in components["schemas"].values():
        schema["additionalProperties"] = False
    payload = components["messages"][message]["payload"]
    return Draft7Validator({**payload, "components": components}, format_checker=FormatChecker())


def events() -> dict[str, str]:
    """The types of the domain's events and the classes that have them, read from the source."""
    found: dict[str, str] = {}
    for source in sources("domain"):
        for node in ast.walk(source.tree()):
            for line in node.body if isinstance(node, ast.ClassDef) else ():
                match line:
                    case ast.Assign([ast.Name("type")], ast.Constant(str(value))):
                        found[value] = node.name  # type: ignore[union-attr]
    return found


async def test_the_document_hangs_together(document: Json) -> None:
    assert document["asyncapi"] == "3.0.0"
    references = [part["$ref"] for part in inside(document) if "$ref" in part]
    assert len(references) > 100
    for reference in references:
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    for name, operation in document["operations"].items():
        place = operation["channel"]["$ref"].removeprefix("#/channels/")
        for message in [*operation["messages"], *operation.get("reply", {}).get("messages", ())]:
            assert message["$ref"].startswith(f"#/channels/{place}/messages/"), name
    for channel in document["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel.get("parameters", {}))


async def test_the_official_schema_accepts_the_document(document: Json, node: Path) -> None:
    schema = json.loads((node / "node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json").read_text())
    validator = Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(document)] == []
    broken = copy.deepcopy(document)
    broken["operations"]["subscribe"]["action"] = "listen"
    assert not validator.is_valid(broken)


async def test_every_kind_of_channel_is_there_and_no_other(document: Json) -> None:
    assert set(document["channels"]) == {"connection", *channels.KINDS}


SEALED_WITHIN_S = 30
NEWS_ONLY = {"audit_logs.sealed", "system.dependency_changed"}
IN_THE_TRAIL_ONLY = {
    "audit_logs.held", "audit_logs.released", "audit_logs.read", "audit_logs.reported",
    "audit_logs.export_started", "audit_logs.exported", "audit_logs.export_broken",
    "audit_logs.retention_changed", "auth.factor_started", "auth.login_failed", "auth.passkey_refused",
    "auth.second_factor_asked", "auth.api_key_refused", "auth.oauth_refused", "teams.purged",
    "teams.refusal_explained", "teams.access_denied", "users.deleted", "users.disabled",
    "users.enabled", "users.exported", "auth.account_made", "auth.registration_refused",
    "auth.login_unverified", "auth.password_reset_requested", "auth.password_reset",
    "auth.password_changed", "auth.password_refused", "auth.magic_link_requested",
    "auth.session_disowned", "auth.way_in_undone", "users.email_change_requested",
    "users.email_change_confirmed", "users.email_reverted",
}  # fmt: skip


async def test_every_event_of_the_domain_is_there_and_every_type_there_is_one_of_the_domain(
    document: Json,
) -> None:
    declared = events()
    assert len(declared) >= 15, "the source is read right"
    connection = document["channels"]["connection"]["messages"]
    told = set(document["components"]["messages"]) - set(connection) - {"audit_logs.recorded"}
    row = document["components"]["messages"]["audit_logs.recorded"]["payload"]["allOf"][1]
    actions = row["properties"]["data"]["allOf"][1]["properties"]["action"]["enum"]
    assert set(actions) == set(declared) - NEWS_ONLY, "all others are kept in the trail"
    assert set(declared) - told == IN_THE_TRAIL_ONLY
    assert told <= set(declared)


async def test_every_message_says_what_it_is_and_its_example_fits_it(document: Json) -> None:
    for name, message in document["components"]["messages"].items():
        assert re.fullmatch(r"[A-Z].+\.|Are you there\?.*", message["summary"]), name
        for example in message.get("examples", ()):
            fits(document, name).validate(example["payload"])
    for kind, channel in document["channels"].items():
        for name in set(channel["messages"]) - {"push.join", "push.leave"} if kind != "connection" else ():
            assert document["components"]["messages"][name]["examples"], name
    for schema in document["components"]["schemas"].values():
        assert "text" not in schema.get("enum", ())


async def keys_happen(ann: Person) -> None:
    """All that can be done to an API key, once."""
    answer = await ann.post("/auth/api-keys", {"name": "Robot", "scopes": ["team:read"]})
    path = f"/auth/api-keys/{answer.json()['data']['id']}"
    statuses = [
        answer,
        await ann.patch(path, {"scopes": []}),
        await ann.post(f"{path}/rotate", {"overlapSeconds": 60}),
        await ann.delete(path),
    ]
    assert [answer.status_code for answer in statuses] == [201, 200, 200, 204]


async def an_address_is_confirmed_and_changed(api: Api, mailbox: Mailbox, ann: Person) -> None:
    token = await token_of(mailbox, ann.email, "verify")
    new = f"new-{ann.email}"
    statuses = [
        await post(api, "/auth/verify-email", token=token),
        await ann.post("/users/me/email", {"email": new, "password": PASSWORD}),
    ]
    for who, kind in ((ann.email, "change-old"), (new, "change-new")):
        token = await token_of(mailbox, who, kind)
        statuses.append(await post(api, "/auth/email/confirm", token=token))
    assert [answer.status_code for answer in statuses] == [204, 202, 200, 200]


async def everything_happens(api: Api, ann: Person, bob: Person, team: str) -> None:
    """All that can be done over REST, once."""
    members = f"/teams/{team}/members"
    statuses = [
        await ann.post(members, {"userId": bob.id, "role": "viewer"}),
        await ann.put(f"{members}/{bob.id}", {"role": "member"}),
        await bob.patch("/users/me", {"name": "Robert"}),
        await bob.put("/users/me/profile", {"bio": "Counts beans"}),
        await api.call("POST", "/auth/login", json={"email": bob.email, "password": PASSWORD}),
        await api.call("POST", "/auth/login", json={"email": bob.email, "password": "something else"}),
        *await roles_happen(ann, bob, team),
        await ann.delete(f"{members}/{bob.id}"),
    ]
    other = statuses[4].json()["data"]["accessToken"]
    statuses.append(await api.call("POST", "/auth/logout", token=other))
    beans = await item(ann, team, sku="B-1", lowStockThreshold=3, attributes={"roast": ["dark"]})
    place = f"/inventory/{beans['id']}"
    statuses += [
        await ann.patch(place, {"category": "coffee"}),
        await ann.post(f"{place}/adjust", {"delta": -3, "reason": "sold", "reference": "order 7"}),
        await ann.delete(place),
    ]
    wanted = [201, *[200] * 4, 401, *(201, 200, 200, 200, 204), 204, 204, 200, 200, 204]
    assert [answer.status_code for answer in statuses] == wanted


async def a_provider_is_linked_and_unlinked(person: Person) -> None:
    """As when the browser has come back; what lies between is of no interest here (tests/app/oauth)."""
    await db.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", person.id)
    flow = Flow(verifier="", nonce="", return_to=None, user_id=person.id, session_id=person.session_id)
    subject = Profile(
        provider="google", subject=person.id, email=None, email_verified=False, name=None, tokens={}
    )
    linked = await oauth.link(Actor(), flow, subject)
    assert (await person.delete(f"/auth/identities/{linked.id}")).status_code == 204


async def test_what_is_heard_fits_what_the_document_says(
    api: Api, url: str, listeners: Listeners, document: Json, mailbox: Mailbox
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", ann.id)
    anns, bobs = await listeners(url, ann.token), await listeners(url, bob.token)
    for one in channels.STAFFS:
        await anns.follow(one)
    await health.say(sample(DependencyChanged).now)
    cid = await api.person("Cid")
    team = await api.team(cid)
    await cid.post(f"/teams/{team}/members", {"userId": ann.id, "role": "owner"})
    for kind in ("inventory", "audit", "checkpoints"):
        await anns.follow(f"{kind}:{team}")
    await anns.until(lambda: ("joined", channels.team(team), False) in anns.said)
    await everything_happens(api, ann, bob, team)
    await keys_happen(bob)
    await everything_of_factors(bob)
    await an_address_is_confirmed_and_changed(api, mailbox, bob)
    await a_provider_is_linked_and_unlinked(bob)
    await everything_of_invites(mailbox, ann, team)
    await a_team_changes_hands(ann, cid, team)
    for last in ("teams.changed", "teams.invite_asked_again"):
        await anns.until(lambda last=last: last in anns.types(channels.team(team)))
    await anns.until(lambda: bool(anns.seen[channels.HEALTH]))
    await anns.until(lambda: "inventory.deleted" in anns.types(channels.inventory(team)))
    await anns.until(lambda: len(anns.seen[channels.audit(team)]) >= 8)
    await anns.until(lambda: bool(anns.seen[channels.checkpoints(team)]), within_s=SEALED_WITHIN_S)
    await bobs.until(lambda: "auth.api_key_revoked" in bobs.types(channels.user(bob.id)))
    await bobs.until(lambda: "auth.session_revoked" in bobs.types(channels.user(bob.id)))
    await bobs.until(lambda: "auth.identity_unlinked" in bobs.types(channels.user(bob.id)))
    await bobs.until(lambda: "users.email_changed" in bobs.types(channels.user(bob.id)))
    await a_team_goes_and_comes_back(cid, team)

    live = [
        (channel, entry)
        for one in (anns, bobs)
        for channel, entries in one.seen.items()
        for _, entry in entries
    ]
    # What came before they listened, and what is kept of a failure: from the channels' history.
    kept = [
        *await history(url, ann, channels.user(ann.id), channels.team(team)),
        *await history(url, bob, channels.audit(bob.personal_team_id)),
    ]
    heard = set()
    for channel, entry in live + kept:
        kind = channels.kind_name(channel)
        assert entry["type"] in document["channels"][kind]["messages"], f"{entry['type']} on {kind}"
        fits(document, entry["type"]).validate(entry)
        heard.add((kind, entry["type"]))
    actions = {entry["data"]["action"] for _, entry in live + kept if entry["type"] == "audit_logs.recorded"}
    assert actions >= {"auth.login_failed", "inventory.adjusted", "teams.role_changed"}
    documented = {
        (kind, name)
        for kind, channel in document["channels"].items()
        for name in channel["messages"]
        if kind != "connection" and not name.startswith("push.")
    }
    assert documented == heard, "what the document says can be heard"

    adjusted = next(entry for _, entry in live if entry["type"] == "inventory.adjusted")
    validator = fits(document, "inventory.adjusted")
    less = {"item": adjusted["data"]["item"]}
    for wrong in ({"type": "inventory.changed"}, {"data": less}, {"more": 1}):
        assert not validator.is_valid({**adjusted, **wrong}), "it could fail"


async def history(url: str, person: Person, *names: str) -> list[tuple[str, Json]]:
    """All entries of these channels."""
    async with raw(url, token=person.token) as client:
        answers = [(name, await client.ask(history={"channel": name, "limit": -1})) for name in names]
    return [(name, pub["data"]) for name, answer in answers for pub in answer["history"]["publications"]]


async def test_what_is_asked_and_answered_fits_what_the_document_says(
    api: Api, url: str, document: Json
) -> None:
    ann = await api.person("Ann")
    stock, here = channels.inventory(ann.personal_team_id), f"presence:{ann.personal_team_id}"
    asked: list[tuple[str, Json]] = [
        ("connect", {"token": ann.token}),
        ("subscribe", {"channel": stock, "recover": True}),
        ("subscribe", {"channel": here}),
        ("presence", {"channel": here}),
        ("presence_stats", {"channel": here}),
        ("history", {"channel": stock, "limit": 10, "since": {"offset": 0, "epoch": ""}, "reverse": False}),
        ("rpc", {"method": "GET /api/users/me"}),
        ("refresh", {"token": ann.token}),
        ("unsubscribe", {"channel": stock}),
    ]
    assert {name for name, _ in asked} == set(COMMANDS)
    await item(ann)
    async with raw(url) as client:
        for number, (name, body) in enumerate(asked, 1):
            fits(document, f"command.{name}").validate({"id": number, name: body})
            answer = await client.ask(**{name: body})
            fits(document, f"reply.{name}").validate(answer)
        async with raw(url, token=ann.token) as other:
            await other.ask(subscribe={"channel": here})
            await other.ask(unsubscribe={"channel": here})
        while not {"join", "leave"} <= {kind for push in client.pushes for kind in push}:
            await client.frame()
        for push in client.pushes:
            [kind] = set(push) - {"channel"}
            fits(document, f"push.{kind}").validate({"push": push})
        for name in sorted(set(protocol.Command.__struct_fields__) - {"id", "send", *COMMANDS}):
            answer = await client.ask(**{name: {"channel": stock}})
            fits(document, "reply.error").validate(answer)


def hrefs(page: str) -> Iterator[str]:
    yield from re.findall(r'(?:href|src)="([^"]*)"', page)


async def test_the_page_shows_every_message_and_needs_nothing_but_itself(api: Api, document: Json) -> None:
    answer = await api.call("GET", "/docs/live")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "<script" not in answer.text
    assert set(hrefs(answer.text)) >= {"/api/docs", "/api/docs/asyncapi.json"}
    marks = set(re.findall(r' id="([^"]+)"', answer.text))
    for link in hrefs(answer.text):
        assert link in ("/api/docs", "/api/docs/asyncapi.json", "data:,") or link.removeprefix("#") in marks
    for kind, channel in document["channels"].items():
        if kind != "connection":
            assert {f"{kind}-{name}" for name in channel["messages"]} <= marks
    for code in (*protocol.ERRORS, *protocol.CLOSES, *protocol.UNSUBSCRIBED):
        assert f"<td>{code}</td>" in answer.text
    rest = (await api.call("GET", "/docs/openapi.json")).json()
    assert "](/api/docs/live)" in rest["info"]["description"], "the page of the REST API leads here"
