"""/api/docs/live: the AsyncAPI document as a page for people. No script, and nothing from any other place."""

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from app.api.openapi import Json

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 3rem; border-bottom: 2px solid #cdd6e0 }
h3 { margin-top: 2rem; font-family: ui-monospace, monospace }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: #f1f4f8; border-radius: 4px }
code { padding: 0 .25em } h2 code { font-size: 1em; background: none; padding: 0 } pre { padding: .75rem; overflow-x: auto }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0 }
tr { border-bottom: 1px solid #e2e8ef } th { font-weight: 600 } summary { cursor: pointer } a { color: #0b5cad }
nav ul { columns: 3; list-style: none; padding: 0 } .quiet { color: #5b6875 }
"""  # noqa: E501 - one rule a line


def page(document: Json) -> bytes:
    """The page, from the finished document alone."""
    channels = document["channels"]
    kinds = [name for name in channels if name != "connection"]
    info = document["info"]
    parts = [
        f"<h1>{_text(info['title'])}</h1>",
        f'<p class="quiet">{_text(info["version"])} · the same as an <a href="/api/docs/asyncapi.json">'
        'AsyncAPI document</a> · <a href="/api/docs">REST</a></p>',
        *(f"<p>{_text(paragraph)}</p>" for paragraph in info["description"].split("\n\n")),
        _contents(kinds),
        *(_kind(name, channels[name], document) for name in kinds),
        _connection(document),
        _codes(channels["connection"]),
        _schemas(document),
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Maycole live</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{_STYLE}</style>\n</head>\n<body>\n'
    )
    return (head + "\n".join(parts) + "\n</body>\n</html>\n").encode()


def _contents(kinds: Sequence[str]) -> str:
    places = [*kinds, "connection", "codes", "schemas"]
    links = "".join(f'<li><a href="#{name}">{name}</a></li>' for name in places)
    return f"<nav><ul>{links}</ul></nav>"


def _kind(name: str, channel: Json, document: Json) -> str:
    said = [_message(document, message) for message in channel["messages"]]
    entries = "".join(_entry(name, message) for message in said) or "<p>Nothing is said here yet.</p>"
    title = f'<h2 id="{name}"><code>{_text(channel["address"])}</code></h2>'
    return f"<section>{title}<p>{_text(channel['description'])}</p>{entries}</section>"


def _entry(channel: str, message: Json) -> str:
    example = "".join(
        f"<details><summary>An example</summary><pre>{html.escape(json.dumps(one['payload'], indent=2))}"
        "</pre></details>"
        for one in message.get("examples", ())
    )
    carried = _carried(message["payload"])
    return (
        f'<h3 id="{channel}-{message["name"]}">{_text(message["name"])}</h3>'
        f"<p>{_text(message['summary'])} <code>data</code>: {_type(carried)}</p>{example}"
    )


def _carried(payload: Json) -> Json:
    """What is news: `data` of an entry, or the whole of what is no entry."""
    for part in payload.get("allOf", ()):
        found: Json | None = part.get("properties", {}).get("data")
        if found is not None:
            return found
    push: Json = payload["properties"]["push"]["properties"]
    return next(body for name, body in push.items() if name != "channel")


def _connection(document: Json) -> str:
    channel = document["channels"]["connection"]
    by_name = {name: _message(document, name) for name in channel["messages"]}
    commands = [
        (
            f"<code>{_text(name.removeprefix('command.'))}</code>",
            _text(message["summary"]),
            _type(_body(message)),
            _type(_body(by_name[name.replace("command", "reply")])),
        )
        for name, message in by_name.items()
        if name.startswith("command.")
    ]
    pushes = [
        (
            f"<code>{_text(name.removeprefix('push.'))}</code>",
            _text(message["summary"]),
            _type(_carried(message["payload"])),
        )
        for name, message in by_name.items()
        if name.startswith("push.")
    ]
    return (
        f'<h2 id="connection"><code>{_text(channel["address"])}</code></h2>'
        f"<p>{_text(channel['description'])} A command is <code>{{&quot;id&quot;: 7, &quot;subscribe&quot;:"
        " {…}}</code>, its reply has the same id; a push is <code>{&quot;push&quot;: {&quot;channel&quot;: "
        "…, &quot;pub&quot;: {…}}}</code>; a ping, and the pong that answers it, is <code>{}</code>.</p>"
        f"{_table(('command', 'what for', 'asks with', 'is answered with'), commands)}"
        f"<h3>Pushes</h3>{_table(('push', 'when', 'what'), pushes)}"
    )


def _body(message: Json) -> Json:
    properties: Json = message["payload"]["properties"]
    return next(body for name, body in properties.items() if name != "id")


def _codes(connection: Json) -> str:
    errors = [
        (code, _text(error["message"]), "try again" if error["temporary"] else "")
        for code, error in connection["x-errors"].items()
    ]
    closes = [
        (code, _text(close["reason"]), "yes" if close["reconnect"] else "no")
        for code, close in connection["x-closes"].items()
    ]
    left = [
        (code, _text(one["reason"]), "yes" if one["resubscribe"] else "no")
        for code, one in connection["x-unsubscribed"].items()
    ]
    return (
        '<h2 id="codes">Codes</h2>'
        f"<h3>Errors</h3>{_table(('code', 'message', ''), errors)}"
        f"<h3>Closes</h3>{_table(('code', 'reason', 'do SDKs reconnect'), closes)}"
        f"<h3>Unsubscribed</h3>{_table(('code', 'reason', 'do SDKs subscribe again'), left)}"
    )


def _schemas(document: Json) -> str:
    return '<h2 id="schemas">Schemas</h2>' + "".join(
        f'<h3 id="schema-{name}">{name}</h3><p>{_text(schema.get("description", ""))}</p>{_fields(schema)}'
        for name, schema in document["components"]["schemas"].items()
    )


def _fields(schema: Json) -> str:
    rows = [
        (f"<code>{_text(name)}</code>", _type(field), _text(field.get("description", "")))
        for name, field in schema.get("properties", {}).items()
    ]
    return _table(("field", "type", ""), rows) if rows else ""


def _type(schema: Json) -> str:
    """A schema in few words, as HTML."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema or "allOf" in schema:
        joined: Iterable[str] = filter(None, map(_type, schema.get("anyOf") or schema["allOf"][:1]))
        return " or ".join(joined)
    if "enum" in schema:
        return " or ".join(f"<code>{_text(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return _text(schema.get("format") or schema.get("type") or "any JSON")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the cells are HTML."""
    head = "".join(f"<th>{title}</th>" for title in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _message(document: Json, name: str) -> Json:
    message: Json = document["components"]["messages"][name]
    return message


def _text(text: Any) -> str:
    """Escaped, with `code` in its own letters."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
