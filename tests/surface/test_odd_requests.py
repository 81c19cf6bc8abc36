"""Requests with a query or a header of any form: taken or refused, never a 5xx.

Of the headers it is every one that anything here reads, and some that proxies and servers do.
"""

from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.authz.scene import Scene
from tests.surface.test_json_corpus import exchange

# Queries as such, after the `?`.
QUERIES: Final = {
    "a parameter twice": "limit=1&limit=2",
    "a list": "limit[]=1&limit[0]=2&query[a][b]=c",
    "a huge number": f"limit={'9' * 400}",
    "a huge negative number": f"limit=-{'9' * 400}",
    "a float": "limit=1e2",
    "a float that is too large": "limit=1e400",
    "digits of elsewhere": f"limit={quote('٣')}",
    "nothing": "limit=",
    "only signs": "&&&===&=;;",
    "a thousand parameters": "&".join(f"a{number}=1" for number in range(1000)),
    "one parameter a thousand times": "&".join(["limit=1"] * 1000),
    "half an escape": "query=%",
    "no escape": "query=%zz&%=%",
    "half a character": "query=%f0%9f",
    "bad UTF-8": "query=%ff%fe",
    "a surrogate": "query=%ed%a0%80",
    "an overlong NUL": "query=%c0%80",
    "NUL": "query=%00",
    "a line break": "query=%0d%0aSet-Cookie:%20a=b",
    "32 KiB": f"query={'a' * 32 * 1024}",
    "64 KiB": f"query={'a' * 64 * 1024}",
    "a mebibyte": f"query={'a' * 1024 * 1024}",
}


@pytest.mark.parametrize("what", QUERIES)
async def test_a_query_of_any_form_is_taken_or_refused(scene: Scene, url: str, what: str) -> None:
    target = f"?{QUERIES[what]}"
    for path in ("inventory", "audit-logs", "teams", "users/me", "version", "auth/oauth/elsewhere/callback"):
        head = f"GET /api/{path}{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        said = await exchange(url, f"{head}Authorization: Bearer {scene.acme.owner.token}\r\n\r\n".encode())
        # A server may hang up on an address that is far too long.
        assert said[:10] in (b"HTTP/1.1 2", b"HTTP/1.1 4", b""), (path, said[:500])
        assert said or len(target) > 60_000


_LONG: Final = b"a" * 20_000
# What is read of a request's headers, and odd values for each.
HEADERS: Final[dict[str, list[bytes]]] = {
    "Authorization": [
        b"",
        b"Bearer",
        b"bearer  x",
        b"Basic YTpi",
        b"Bearer a b",
        b"Bearer \xff\xfe",
        b"Bearer " + _LONG,
        b"Bearer eyJhbGciOiJub25lIn0.e30.",
        b"Bearer a.b.c",
        b"Bearer ..",
        b"Bearer mk_live_x",
        b"Bearer mk_live_\xc3\xa9",
        b"Digest x",
        b"Bearer null",
        b"Bearer x, Bearer y",
        b"Negotiate",
        b"Bearer \xef\xbc\xa1",
        b"Bearer mk_test_" + b"A" * 70,
    ],
    "If-Match": [
        b"",
        b"*",
        b'"1"',
        b"1",
        b'W/"1"',
        b'"',
        b'""',
        b'"1", "2"',
        b'"-1"',
        b'"1e3"',
        b'"' + b"9" * 19 + b'"',
        b'"' + b"9" * 500 + b'"',
        '"٣"'.encode(),
        b'"\xff"',
        b"\x80",
        _LONG,
        b'"0x1"',
        b"* , *",
    ],
    "Accept": [b"", b"*/*", b"text/html;q=9", b"a/b;;;", b"\xff", b"application/xml", _LONG, b",,,", b"/"],
    "Accept-Language": [b"", b"xx", b"de-;q=x", b"\xff\xfe", b"*", _LONG, b"en;q=1e400", b"../../etc"],
    "Accept-Encoding": [b"", b"gzip;q=x", b"\xff", b"identity;q=0, *;q=0", b"br"],
    "Cookie": [
        b"",
        b"a",
        b"=",
        b"a=b=c;;;",
        b"\xff=\xfe",
        b"__Host-maycole_refresh=\xff",
        b"__Host-maycole_refresh=" + _LONG,
        b'a="b\\073',
        b"a=b; a=c",
        b"__Host-maycole_csrf=x; __Host-maycole_oauth=y",
    ],
    "Origin": [b"", b"null", b"\xff", b"https://[::1", b"https://app.example.evil.example", b"//", _LONG],
    "Host": [b"", b"a b", b"\xff", b"evil.example", b"[::1", b"a:99999", _LONG],
    "X-Request-Id": [b"", b"\xff" * 9, b"a" * 65, _LONG, b"../../a/b", b"<script>8"],
    "X-Forwarded-For": [
        b"",
        b"x",
        b"1.2.3.4, 5.6.7.8",
        b"::1",
        b"\xff",
        b"999.1.1.1",
        _LONG,
        b"1.2.3.4:80, [::1]:9",
    ],
    "Forwarded": [b"for=x;;;", b'for="[::1', b"\xff"],
    "User-Agent": [b"", b"\xff\xfe\x80", b"a\tb", b"%s%n", _LONG, "👩‍🚀".encode(), b"<script>"],
    "Content-Type": [
        b"",
        b"\xff",
        b"application/json; charset=\xff",
        b"application/json; charset=utf-16",
        b"a/b/c",
        b";",
        _LONG,
    ],
    "Content-Encoding": [b"", b"gzip", b"\xff", b"identity"],
    "Expect": [b"100-continue", b"\xff", b"200-ok"],
    "Range": [b"bytes=0-", b"bytes=9-1", b"bytes=" + b"0-1," * 3000, b"x"],
    "If-None-Match": [b"*", b'"1"', b"\xff"],
    "Upgrade": [b"websocket", b"h2c", b"\xff"],
    "Idempotency-Key": [b"", b"a" * 256, b"\xff", b"a b", _LONG],
    "X-Csrf-Token": [b"", b"\xff", _LONG],
    "TE": [b"trailers", b"\xff"],
    "Sec-Fetch-Site": [b"cross-site", b"\xff"],
    "API-Version": [b"", b"1999-01-01", b"x", b"\xff", _LONG],
    "Traceparent": [b"", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00", b"\xff", _LONG],
}


@pytest.mark.parametrize("name", HEADERS)
async def test_a_header_of_any_form_is_taken_or_refused(scene: Scene, name: str) -> None:
    made = scene.acme.item
    reached = set()
    for value in HEADERS[name]:
        for method, path, body in (
            ("GET", "/api/inventory", None),
            ("PATCH", f"/api/inventory/{made['id']}", b'{"unit":"box"}'),
            ("POST", "/api/auth/refresh", b'{"mode":"cookie"}'),
            ("GET", "/api/health", None),
            ("GET", "/api/docs", None),
        ):
            given: dict[str, Any] = {"Authorization": f"Bearer {scene.acme.owner.token}"}
            if body is not None:
                given["Content-Type"] = "application/json"
            given = {kept: text for kept, text in given.items() if kept != name} | {name: value}
            answer = await scene.api.http.request(method, path, content=body, headers=given)
            scene.api.http.cookies.clear()
            assert answer.status_code < 500, (path, value[:60], answer.text)
            reached.add(answer.status_code)
    assert reached
