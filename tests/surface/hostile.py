"""Texts that somebody may send anywhere, and every place of the API that takes one, from its document."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tests.app.test_surface import HOSTILE

Json = dict[str, Any]

# Beside those that are tried by hand elsewhere: more of each kind.
TEXTS: Final = (
    *HOSTILE,
    # SQL, shells, templates, formats, logs
    "1; SELECT pg_sleep(60)--",
    "') OR 1=1/*",
    "\\x27",
    "E'\\\\000'",
    "$$;DROP$$",
    "$(reboot)",
    "`id`",
    "; ls",
    "{{constructor.constructor('return 1')()}}",
    "<%= 7*7 %>",
    "#{7*7}",
    "%(x)s",
    "{0}{1}{name}",
    "%d%99999999s",
    "${jndi:ldap://x/a}",
    "a\r\nX-Evil: 1",
    "a\nb",
    "\x1b[31mred",
    "a\tb",
    # HTML, XML, CSV, paths, addresses
    "<img src=x onerror=alert(1)>",
    "</script><svg/onload=1>",
    "javascript:alert(1)",
    "<!DOCTYPE a [<!ENTITY b SYSTEM 'x'>]>",
    "@SUM(1+1)",
    "+1",
    "-1+1|cmd",
    "....//....//etc",
    "C:\\con",
    "file:///etc/passwd",
    "http://127.0.0.1:1/",
    "//evil.example",
    "a@b@c",
    "a@b",
    "@",
    '"a b"@example.org',
    "a@xn--80ak6aa92e.com",
    # Unicode: direction, combining, width, order, forms, what is no character, beyond the BMP
    "\u202e\u202d\u2066abc\u2069",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "Z\u0351\u036b\u0343\u036a\u0302" * 10,
    "\u200b\u200c\u200d\u2060\ufeff",
    "\u00ad",
    "\u00e9",
    "ﬁ",
    "Å",
    "\u1e9b\u0323",
    "ß",
    "İ",
    "\u0131",
    "\ufdfa",
    "\ufffd",
    "\ufffe",
    "\uffff",
    "\U0001fffe",
    "\U000e0001",
    "\U0010ffff",
    "\u2028\u2029",
    "\x7f\x80\x85\x9f",
    "\u3000",
    "👨‍👩‍👧‍👦",
    "🏴\U000e0067\U000e0062\U000e007f",
    "田中さん",
    "\U0001d57f\U0001d58d\U0001d58a",
    "\x01\x02\x03",
    # Numbers, words and things that are read as something else
    "1e309",
    "0x10",
    "1_000",
    "٣",
    "undefined",
    "None",
    "[]",
    '{"a":1}',
    "true\n",
    "NaN",
    "Infinity",
    "0" * 400,
    "9" * 30,
    "-0",
    "2026-13-45T99:99:99Z",
    "user_00000000000000000000000000",
    "item_" + "z" * 26,
    "me",
    "*",
    "all",
    "",
    " ",
    " a ",
    "." * 3,
    "x" * 255,
    "x" * 256,
    "x" * 10_001,
    "\U0001f600" * 3000,
)


class Field(NamedTuple):
    """A text somewhere in a body: the steps that lead to it."""

    steps: tuple[str | int, ...]

    def put(self, body: Json, value: Any) -> Json:
        """The body with this value there; what leads there is made."""
        return self._put(body, self.steps, value)

    def _put(self, inside: Any, steps: tuple[str | int, ...], value: Any) -> Any:
        if not steps:
            return value
        if isinstance(steps[0], int):
            return [self._put({}, steps[1:], value)]
        known = inside if isinstance(inside, dict) else {}
        return {**known, steps[0]: self._put(known.get(steps[0], {}), steps[1:], value)}


def fields(document: Json, schema: Json, steps: tuple[str | int, ...] = ()) -> Iterator[Field]:
    """Every place in a body that takes a text, or anything; of a map, one entry and a name."""
    if "$ref" in schema:
        yield from fields(
            document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], steps
        )
        return
    for one in schema.get("anyOf", ()):
        yield from fields(document, one, steps)
    for name, inner in schema.get("properties", {}).items():
        yield from fields(document, inner, (*steps, name))
    if schema.get("type") == "array":
        yield from fields(document, schema.get("items", {}), (*steps, 0))
    elif schema.get("type") == "object" and "properties" not in schema:
        yield Field((*steps, "a"))
    elif schema.get("type") in (None, "string", ["string", "null"]) and "anyOf" not in schema:
        yield Field(steps)
