"""The documentation: a document that a person can read, and a page that shows it without the internet."""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.architecture import ROOT
from tests.factories import Api
from tests.surface.test_json_corpus import exchange

# A session, or a session or an API key.
SECURED = ([{"bearer": []}], [{"bearer": []}, {"apiKey": []}])
OPEN = {
    "auth.register", "auth.login", "auth.refresh", "auth.verifySecondFactor", "auth.passkeyLoginOptions",
    "auth.passkeyLogin", "auth.oauthStart", "auth.oauthCallback", "auth.oauthExchange", "system.health",
    "system.live", "system.ready", "system.version", "system.router",
    "auth.verifyEmail", "auth.forgotPassword", "auth.resetPassword", "auth.askMagicLink",
    "auth.consumeMagicLink", "auth.confirmEmail", "auth.revertEmail", "auth.disownSession",
    "teams.declineInvite", "teams.askForAnotherInvite",
    "auth.undoWayIn",
}  # fmt: skip
# Fields whose names say it all.
OBVIOUS = {
    "id", "teamId", "userId", "itemId", "ownerId", "name", "email", "version", "createdAt", "updatedAt",
    "data", "success", "status", "title", "detail", "type", "pointer", "code",
}  # fmt: skip
Json = dict[str, Any]


@pytest.fixture(scope="module")
async def document(api: Api) -> Json:
    answer = await api.call("GET", "/docs/openapi.json")
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def inside(part: Any) -> Iterator[Json]:
    """Every object in the document, however deep."""
    if isinstance(part, dict):
        yield part
        for child in part.values():
            yield from inside(child)
    elif isinstance(part, list):
        for child in part:
            yield from inside(child)


async def test_the_document_hangs_together(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == "Maycole"
    references = {part["$ref"] for part in inside(document) if "$ref" in part}
    assert len(references) > 20
    for reference in references:
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    named = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(named) == len(set(named)) > 30
    for path, _, operation in operations(document):
        given = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert given == set(re.findall(r"{(\w+)}", path)), path
        assert all(one["required"] for one in operation["parameters"] if one["in"] == "path")


async def test_an_independent_validator_accepts_the_document(document: Json) -> None:
    validator = pytest.importorskip(
        "openapi_spec_validator", reason="openapi-spec-validator is not installed"
    )
    validator.validate(document)
    broken = {**document, "paths": {"/x": {"get": {"responses": "none"}}}}
    with pytest.raises(Exception, match="none"):
        validator.validate(broken)


async def test_every_operation_says_what_it_does(document: Json) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert re.fullmatch(r"[a-z][A-Za-z]+\.[a-z][A-Za-z]+", operation["operationId"]), where
        assert 5 < len(operation["summary"]) < 80, where
        assert len(operation["description"]) >= len(operation["summary"]), where
        for parameter in operation["parameters"]:
            assert parameter.get("description"), f"{where} {parameter['name']}"
            assert re.fullmatch(r"[a-z][A-Za-z]*|If-(None-)?Match|Idempotency-Key", parameter["name"]), where


async def test_every_schema_has_a_name_and_says_what_it_is(document: Json) -> None:
    schemas = document["components"]["schemas"]
    assert {"OneItem", "ManyTeam", "LiveItem", "Item", "NewItem", "Problem", "OneSignedIn"} <= set(schemas)
    for name, schema in schemas.items():
        assert re.fullmatch(r"[A-Z][A-Za-z]+", name), name
        assert schema["title"] == name
        assert len(schema.get("description", "")) > 8, name
        for field, kind in schema["properties"].items():
            says = kind.get("description") or "$ref" in kind or "enum" in kind
            assert says or field in OBVIOUS, f"{name}.{field} is not described"


async def test_a_body_shows_the_limits_that_it_is_held_to(document: Json) -> None:
    new = document["components"]["schemas"]["NewItem"]
    assert new["additionalProperties"] is False
    assert new["required"] == ["name", "quantity"]
    fields = new["properties"]
    assert fields["quantity"].items() >= {"type": "integer", "minimum": 0, "maximum": 10**12}.items()
    assert fields["lowStockThreshold"]["anyOf"][0]["minimum"] == 0, "also where it may be null"
    assert fields["attributes"]["maxProperties"] == 50


async def test_only_what_needs_a_token_asks_for_one(document: Json) -> None:
    for path, _, operation in operations(document):
        open_to_all = operation["operationId"] in OPEN
        assert operation["security"] in ([[]] if open_to_all else SECURED), path
        assert ("401" in operation["responses"]) == (not open_to_all), path


async def test_every_operation_says_how_it_fails(document: Json) -> None:
    problem = {"$ref": "#/components/schemas/Problem"}
    for path, method, operation in operations(document):
        answers = operation["responses"]
        for code, answer in answers.items():
            assert answer["description"]
            if code not in ("200", "201", "202", "204", "302", "304") and (
                (code, operation["tags"]) != ("503", ["system"])
            ):
                assert answer["content"]["application/problem+json"]["schema"] == problem, path
        assert "default" in answers
        # An If-None-Match that is none is not looked at.
        checked = [one["name"] for one in operation["parameters"] if one["name"] != "If-None-Match"]
        assert ("422" in answers) == bool(checked or "requestBody" in operation), path
        assert ("304" in answers) == (len(checked) < len(operation["parameters"])), path
        changes = method != "get"
        assert ("X-Stream-Position" in next(iter(answers.values()))["headers"]) == changes, path
    assert "412" in document["paths"]["/api/inventory/{itemId}"]["put"]["responses"]


async def test_whatever_changes_a_thing_with_a_version_may_be_told_which_one(document: Json) -> None:
    """What makes a new thing is told of its first version, and has none before."""
    changing = {
        f"{method.upper()} {path}": [parameter["name"] for parameter in operation["parameters"]]
        for path, method, operation in operations(document)
        if method != "get" and "ETag" in operation["responses"].get("200", {}).get("headers", {})
    }
    assert len(changing) > 5
    assert [name for name, taken in changing.items() if "If-Match" not in taken] == []


async def test_the_page_asks_no_other_host_for_anything(api: Api) -> None:
    page = await api.call("GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not any("http" in sources or "*" in sources for sources in policy.values())
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(wanted) == 4
    for address in wanted:
        if not address.startswith("data:"):
            assert address.startswith("/api/docs/files/")
            assert (await api.http.get(address)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", ["nothing", "nothing/", "openapi.yaml", "a/b", "files", "%ff"])
async def test_what_is_not_there_is_a_problem_document_as_everywhere(
    api: Api, method: str, path: str
) -> None:
    answer = await api.call(method, f"/docs/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    if method == "HEAD":
        assert not answer.content
    else:
        assert answer.json()["code"] == "no_such_route"


@pytest.mark.parametrize("path", ["/api/docs/files", "/auth/files"])
@pytest.mark.parametrize(
    "name",
    [
        "a" * 256,
        "a" * 5000,
        ".",
        "%2e",
        "..",
        "%2e%2e%2fdocs.py",
        "page.js/x",
        "start.js/x",
        "start.js%2fx",
        "",
    ],
)
async def test_a_file_that_is_not_there_is_an_unknown_address(url: str, path: str, name: str) -> None:
    """Asked byte for byte: clients take `.` out of an address."""
    head = f"GET {path}/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    said = await exchange(url, head.encode())
    assert said.startswith(b"HTTP/1.1 404 "), said[:1000]
    problem = json.loads(said.partition(b"\r\n\r\n")[2])
    assert (problem["code"], problem["detail"]) == ("no_such_route", "Not Found")


async def test_a_file_is_as_it_is_in_the_tree(api: Api) -> None:
    for folder, address, kind in (
        ("app/api/swagger", "/api/docs/files/start.js", "text/javascript; charset=utf-8"),
        ("app/api/swagger", "/api/docs/files/LICENSE", "text/plain; charset=utf-8"),
        ("app/pages/files", "/auth/files/page.css", "text/css; charset=utf-8"),
    ):
        answer = await api.http.get(address)
        assert answer.content == (ROOT / folder / address.rpartition("/")[2]).read_bytes()
        assert answer.headers["content-type"] == kind
        assert answer.headers["cache-control"] == "no-store"
        etag = answer.headers["etag"]
        same = await api.http.get(address, headers={"If-None-Match": etag})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
        assert (await api.http.get(address, headers={"If-None-Match": '"x"'})).content == answer.content


@pytest.mark.parametrize("path", ["", "/", "/openapi.json", "/asyncapi.json", "/live", "/files/start.js"])
async def test_the_pages_take_what_every_address_that_is_read_takes(api: Api, path: str) -> None:
    read, headed = await api.call("GET", f"/docs{path}"), await api.call("HEAD", f"/docs{path}")
    assert (read.status_code, headed.status_code) == (200, 200)
    assert headed.headers["content-type"] == read.headers["content-type"]
    assert not headed.content
    assert (await api.call("OPTIONS", f"/docs{path}")).headers["allow"] == "GET, HEAD, OPTIONS"
    changed = await api.call("POST", f"/docs{path}")
    assert (changed.status_code, changed.json()["code"]) == (405, "method_not_allowed")
    assert changed.headers["content-type"] == "application/problem+json"
    assert changed.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.skipif(
    not shutil.which("chromium"), reason="Chromium is not installed (apt-get install chromium)"
)
async def test_a_browser_without_the_internet_shows_every_operation(
    url: str, document: Json, tmp_path: Path
) -> None:
    browser = await asyncio.create_subprocess_exec(
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={tmp_path}/profile",
        "--enable-logging=stderr", f"--log-net-log={tmp_path}/net.json", "--window-size=1200,2400",
        "--virtual-time-budget=10000", "--dump-dom", f"{url}/api/docs",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    dom, log = (text.decode() for text in await asyncio.wait_for(browser.communicate(), 60))
    said = "\n".join(line for line in log.splitlines() if "CONSOLE" in line)
    assert "Content Security Policy" not in said, said
    assert "rror" not in said, said
    assert re.search(r'<h\d class="title">Maycole', dom), f"no page was rendered: {said}"
    shown = re.findall(r'class="opblock opblock-(\w+)', dom)
    assert sorted(shown) == sorted(method for _, method, _ in operations(document))
    asked = set(re.findall(r'"url":"(https?://[^"/]+)', (tmp_path / "net.json").read_text()))
    assert url in asked, "the page itself must be among what was asked for"
    # Chromium looks for its own updates and accounts, in vain; the page asks nobody but us.
    assert {host for host in asked if not re.search(r"\.(google|googleapis)\.com$", host)} == {url}
