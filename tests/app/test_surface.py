"""Whatever a client sends is answered by a 2xx or by a 4xx problem document; never by a 5xx."""

import asyncio
import json
import re
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.pipeline import body
from tests.app.company import Company, problem
from tests.factories import Api, item

HOSTILE = [
    "'; DROP TABLE users; --", "' OR '1'='1", "%s%s%n", "%", "_", "{}", "{0.__class__}", "${7*7}", "{{7*7}}",
    "../../etc/passwd", "..\\..\\", "\\", '"', "\u202etxt.exe", "\u200b", "\ufeff", "\ufffe\uffff", "e\u0301",
    "😀👩\u200d🚀", "\U0001d49c\U0010ffff", "\u0130\u0131\u017f\u212a", "\x01\x1f\x7f", "\r\nSet-Cookie: a=b",
    "<script>alert(1)</script>", "=1+1", "null", "true", "0", "-1", "1e400", "NaN", "a" * 60, "&|!():*<->",
    "\t", "Ω" * 50,
]  # fmt: skip
# Bodies that are no JSON the product takes: the bytes, the status, the code.
MALFORMED = {
    "nothing": (b"", 400, "empty_body"),
    "half": (b'{"name":', 400, "malformed_json"),
    "more": (b'{"name":"a","quantity":1}x', 400, "malformed_json"),
    "two": (b"{}{}", 400, "malformed_json"),
    "comma": (b'{"name":"a","quantity":1,}', 400, "malformed_json"),
    "single quotes": (b"{'name':'a'}", 400, "malformed_json"),
    "byte order mark": (b'\xef\xbb\xbf{"name":"a","quantity":1}', 400, "malformed_json"),
    "UTF-16": ('{"name":"a","quantity":1}'.encode("utf-16"), 400, "malformed_json"),
    "bad UTF-8": (b'{"name":"\xff\xfe","quantity":1}', 400, "malformed_json"),
    "overlong UTF-8": (b'{"name":"\xc0\xaf","quantity":1}', 400, "malformed_json"),
    "surrogate as UTF-8": (b'{"name":"\xed\xa0\x80","quantity":1}', 400, "malformed_json"),
    "bad UTF-8 in a name": (b'{"n\xff":1}', 400, "malformed_json"),
    "high surrogate": (b'{"name":"\\ud800","quantity":1}', 400, "malformed_json"),
    "low surrogate": (b'{"name":"a\\udfffb","quantity":1}', 400, "malformed_json"),
    "surrogate within": (b'{"name":"a","quantity":1,"attributes":{"\\ud800":1}}', 400, "malformed_json"),
    "NUL": (b'{"name":"a\\u0000b","quantity":1}', 400, "nul_character"),
    "raw NUL": (b'{"name":"a\x00b","quantity":1}', 400, "malformed_json"),
    "NUL as a name": (b'{"name":"a","quantity":1,"attributes":{"\\u0000":1}}', 400, "nul_character"),
    "NUL deep down": (
        b'{"name":"a","quantity":1,"attributes":{"a":[{"b":"\\u0000"}]}}',
        400,
        "nul_character",
    ),
    "1e400": (b'{"name":"a","quantity":1e400}', 400, "malformed_json"),
    "-1e400 within": (b'{"name":"a","quantity":1,"attributes":{"a":-1e400}}', 400, "malformed_json"),
    "NaN": (b'{"name":"a","quantity":NaN}', 400, "malformed_json"),
    "Infinity": (b'{"name":"a","quantity":Infinity}', 400, "malformed_json"),
    "leading zero": (b'{"name":"a","quantity":01}', 400, "malformed_json"),
    "5,000 digits": (b'{"name":"a","quantity":' + b"1" * 5000 + b"}", 400, "malformed_json"),
    "10**30": (b'{"name":"a","quantity":' + b"1" + b"0" * 30 + b"}", 422, "invalid"),
    "null": (b"null", 422, "invalid"),
    "list": (b'[{"name":"a","quantity":1}]', 422, "invalid"),
    "text": (b'"name"', 422, "invalid"),
    "empty": (b"{}", 422, "invalid"),
    "60,000 values": (b"[" + b"[]," * 60_000 + b"[]]", 422, "too_many_values"),
    "33 deep": (b"[" * 33 + b"]" * 33, 400, "json_too_deep"),
    "1,000 deep": (b'{"attributes":' + b'{"a":' * 1000 + b"1" + b"}" * 1001, 400, "json_too_deep"),
    "100,000 deep": (b"[" * 100_000 + b"]" * 100_000, 400, "json_too_deep"),
    "100,000 deep, open": (b'{"a":' * 100_000, 400, "json_too_deep"),
    "a mebibyte and more": (b'{"name":"' + b"a" * 1024 * 1024 + b'"}', 413, "body_too_large"),
}
JUNK = [
    "x" * 5000, "a%2Fb", "%2e%2e%2f", "%00", "item_%00", "%F0%9F%98%80", "%ff", "%20", "%0d%0a", "%25", "'",
    "*", "item_01h455vb4pex5vsknk084sn02q%0A", "-1", "null", "undefined", "%7B%7D", "me%00", "ITEM_X",
    "%ED%A0%80",
]  # fmt: skip


async def send(team: Company, method: str, path: str, body: bytes, **headers: str) -> httpx.Response:
    given = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await team.call("owner", method, path, content=body, headers=given)


@pytest.fixture(scope="module")
async def writes(team: Company) -> list[tuple[str, str, dict[str, Any]]]:
    """Every route that takes a body, with a good one."""
    made = await item(team["owner"], team.team)
    members = f"/teams/{team.team}/members"
    return [
        ("POST", "/auth/register", {"email": "a@b.c", "password": "x" * 10, "name": "Ann"}),
        ("POST", "/auth/login", {"email": "a@b.c", "password": "x"}),
        ("POST", "/auth/mfa/totp/confirm", {"code": "123456"}),
        ("POST", "/auth/mfa/step-up", {"code": "123456"}),
        ("POST", "/auth/mfa/verify", {"mfaToken": "x", "code": "123456"}),
        ("PATCH", "/auth/passkeys/pkey_x", {"name": "Phone"}),
        ("POST", "/auth/refresh", {"refreshToken": "mrt_x"}),
        ("PATCH", "/users/me", {"name": "Ann"}),
        ("POST", "/teams", {"name": "Team", "slug": "team"}),
        ("POST", members, {"userId": team["viewer"].id, "email": "a@b.c", "role": "viewer"}),
        ("PUT", f"{members}/{team['viewer'].id}", {"role": "viewer"}),
        ("POST", f"/teams/{team.team}/invites", {"email": "a@b.c", "role": "viewer"}),
        ("POST", "/invites/accept", {"token": "mit_x"}),
        ("POST", "/invites/decline", {"token": "mit_x"}),
        ("POST", "/invites/ask-again", {"token": "mit_x"}),
        (
            "POST",
            "/inventory",
            {
                "name": "Tea", "quantity": 1, "sku": "x", "category": "x", "unit": "x",
                "lowStockThreshold": 1, "attributes": {}, "teamId": team.team,
            },
        ),
        ("PUT", f"/inventory/{made['id']}", {"name": "Tea", "quantity": 1, "sku": "x", "attributes": {}}),
        ("PATCH", f"/inventory/{made['id']}", {"name": "Tea", "unit": "x", "attributes":
        {}}), (
            "POST",
            f"/inventory/{made['id']}/adjust",
            {"delta": 1, "reason": "x", "reference": "x", "expectedQuantity": 1},
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_body_that_is_not_what_it_should_be_is_a_problem(team: Company, what: str) -> None:
    body, status, code = MALFORMED[what]
    refused = problem(await send(team, "POST", "/inventory", body), status, code)
    assert set(refused) - {"errors"} == {
        "type", "title", "status", "detail", "instance", "success", "code", "requestId",
    }  # fmt: skip
    assert refused["instance"] == "/api/inventory"
    assert refused["detail"]
    assert len(refused["detail"]) < 300


async def test_a_body_may_be_thirty_two_deep_and_a_mebibyte(team: Company) -> None:
    deep: Any = 1
    for _ in range(30):
        deep = {"a": [deep]} if _ % 2 else {"a": deep}
    for depth in (10, 31):
        nested = b'{"a":' * depth + b"1" + b"}" * depth
        body = b'{"name":"a","quantity":1,"attributes":' + nested + b"}"
        made = await send(team, "POST", "/inventory", body)
        assert made.status_code == 201, made.text
        read = await team["owner"].get(made.headers["Location"].removeprefix("/api"))
        assert read.json()["data"]["attributes"] == json.loads(nested)
    padded = b'{"name":"a","quantity":1' + b" " * (1024 * 1024 - 25) + b"}"
    assert len(padded) == 1024 * 1024
    assert (await send(team, "POST", "/inventory", padded)).status_code == 201


async def test_a_body_that_says_nothing_of_its_size_is_bounded_too(team: Company) -> None:
    async def endless() -> Any:
        for _ in range(64):
            yield b"a" * 65536

    answer = await team.call("owner", "POST", "/inventory", content=endless())
    problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
     "application/x-msgpack", "application/jsonx", "json", "", "application/json2", "a;;=", "*/*"],
)  # fmt: skip
async def test_only_json_is_taken_for_json(team: Company, kind: str) -> None:
    body = b'{"name":"a","quantity":1}'
    refused = await send(team, "POST", "/inventory", body, Content_Type=kind)
    problem(refused, 415, "unsupported_media_type")
    for good in (
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/merge-patch+json",
    ):
        taken = await send(team, "POST", "/inventory", body, Content_Type=good)
        assert taken.status_code == 201, good


async def test_of_two_fields_of_one_name_the_last_one_counts(team: Company) -> None:
    made = await send(team, "POST", "/inventory", b'{"name":"a","quantity":1,"quantity":2}')
    assert made.json()["data"]["quantity"] == 2
    refused = await send(team, "POST", "/inventory", b'{"name":"a","quantity":1,"quantity":-2}')
    problem(refused, 422, "invalid")


@pytest.mark.parametrize("wrong", [None, 1, True, 1.5, [], {}, [[]], {"a": {}}, 10**30, -1, "x" * 100_000])
async def test_every_field_of_every_body_refuses_what_does_not_fit(
    team: Company, writes: list[tuple[str, str, dict[str, Any]]], wrong: Any
) -> None:
    for method, path, good in writes:
        for field in good:
            answer = await send(team, method, path, json.dumps({**good, field: wrong}).encode())
            assert answer.status_code < 500, (method, path, field, answer.text)
            if answer.status_code == 422 and "errors" in answer.json():
                assert answer.json()["errors"][0]["pointer"] == f"/{field}"
        missing = await send(team, method, path, json.dumps({**good, "no/pe~": wrong}).encode())
        [error] = problem(missing, 422, "invalid")["errors"]
        assert (error["pointer"], error["code"]) == ("/no~1pe~0", "unknown_field")


@pytest.mark.parametrize("text", HOSTILE)
async def test_every_text_is_kept_as_it_is_or_refused(
    team: Company, writes: list[tuple[str, str, dict[str, Any]]], text: str
) -> None:
    for method, path, good in writes:
        for field, value in good.items():
            # A password takes any text, and time to hash: test_auth.py has those.
            if isinstance(value, str) and field != "password":
                answer = await send(team, method, path, json.dumps({**good, field: text}).encode())
                assert answer.status_code < 500, (method, path, field, answer.text)
    made = await item(team["owner"], team.team, name=f"x{text}", attributes={text: [text]})
    read = (await team["owner"].get(f"/inventory/{made['id']}")).json()["data"]
    assert (read["name"], read["attributes"]) == (f"x{text}", {text: [text]})
    found = await team["owner"].get(f"/inventory?limit=100&teamId={team.team}&query={quote(f'x{text}')}")
    assert made["id"] in [thing["id"] for thing in found.json()["data"]]


@pytest.mark.parametrize("text", HOSTILE)
async def test_every_parameter_takes_any_text_or_refuses_it(api: Api, team: Company, text: str) -> None:
    parameters = {
        "/inventory": ["teamId", "category", "query", "belowThreshold", "sort", "limit", "cursor", text],
        "/audit-logs": [
            "teamId",
            "actor",
            "action",
            "resource",
            "outcome",
            "ip",
            "from",
            "to",
            "query",
            "cursor",
        ],
        "/teams": ["limit", "cursor"],
        f"/teams/{team.team}/members": ["limit", "cursor"],
        f"/teams/{team.team}/invites": ["status", "limit", "cursor"],
    }
    for path, names in parameters.items():
        for name in names:
            answer = await team["owner"].get(f"{path}?{quote(name)}={quote(text)}")
            assert answer.status_code in (200, 404, 422), (path, name, answer.text)


@pytest.mark.parametrize("junk", JUNK)
async def test_any_id_in_an_address_is_found_or_not(
    team: Company, writes: list[tuple[str, str, dict[str, Any]]], junk: str
) -> None:
    shapes = ["/inventory/{}", "/inventory/{}/movements", "/users/{}", "/teams/{}", "/teams/{}/members"]
    shapes += [f"/teams/{team.team}/members/{{}}", f"/teams/{team.team}/invites/{{}}"]
    for shape in shapes:
        for method in ("GET", "DELETE"):
            answer = await team.call("owner", method, shape.format(junk))
            assert answer.status_code in (400, 404, 405), (method, shape, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
    for method, path, good in writes:
        for mine in re.findall(r"(?:item|team|user)_\w+", path):
            answer = await send(team, method, path.replace(mine, junk), json.dumps(good).encode())
            assert answer.status_code in (400, 404, 405, 422), (method, path, answer.text)


async def test_text_that_cannot_be_kept_is_refused_in_address_and_query(team: Company) -> None:
    for where in ("/inventory/%00", "/inventory?query=%00", "/inventory?x%00=1", "/teams/a%00b"):
        problem(await team["owner"].get(where), 400, "nul_character")
    for where in (
        "/inventory/%ff",
        "/inventory?query=%ff",
        "/inventory?x%c0%80=1",
        "/inventory?cursor=%ed%a0%80",
    ):
        problem(await team["owner"].get(where), 400, "malformed_address")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_no_json_whatever_is_our_fault(
    team: Company, writes: list[tuple[str, str, dict[str, Any]]], data: st.DataObject
) -> None:
    method, path, good = data.draw(st.sampled_from(writes))
    changed = data.draw(st.dictionaries(st.sampled_from([*good, "x"]), anything, max_size=3))
    body = data.draw(st.sampled_from([{**good, **changed}, changed])) if changed else data.draw(anything)
    answer = await send(team, method, path, json.dumps(body).encode())
    assert answer.status_code < 500, (method, path, body, answer.text)


async def test_a_body_that_never_ends_is_not_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_WITHIN_S", 0.2)
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n{"
    )
    answer = await reader.readuntil(b"\r\n")
    assert b" 408 " in answer
    writer.close()
