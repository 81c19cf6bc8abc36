"""The OpenAPI document: what Litestar knows of our routes, and what msgspec knows of our types.

Litestar's own components have names such as `One_domain.inventory.model.Item_` and no descriptions, and lose
the limits of optional fields. Here msgspec writes them, from the very types that validate: `OneItem`. Each
operation says who may call it (a handler that takes `caller` needs a token) and how it fails.
"""

import inspect
import re
from typing import Any, Final, NamedTuple, get_args, get_origin

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from app.pipeline import deprecation, policies
from app.pipeline.errors import Problem
from app.pipeline.idempotency import takes_key

Json = dict[str, Any]

SECURED: Final[list[Json]] = [{"bearer": []}]
SECURED_BY_KEY: Final[list[Json]] = [*SECURED, {"apiKey": []}]
PATH_PARAMETERS: Final = {
    "identity_id": "the id of the linked account",
    "invite_id": "the invitation's id",
    "item_id": "the item's id",
    "key_id": "the API key's id",
    "provider": "`google`, `github`, or the name of an OpenID issuer that is configured",
    "passkey_id": "the passkey's id",
    "session_id": "the session's id",
    "role": "the name of a role of the team's own",
    "row_id": "the audit row's id",
    "team_id": "the team's id",
    "user_id": "the user's id; `me` is yourself",
}
FAILURES: Final = {
    "401": "Nobody is signed in with this token, or it is over.",
    "404": "It does not exist, or you may not see it; both are said in the same words.",
    "412": "It was changed since the version in `If-Match`; `current` is how it is now.",
    "422": "A field or a parameter is not what it should be; `errors` points at it.",
    "429": "Too much for now; `Retry-After` says when there is room again.",
    "default": "Any other failure.",
}
IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "description": "the ETag of the version you have, or several: refuse (412) if there is another one now",
    "schema": {"type": "string", "pattern": r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'},
}
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the ETag of the version you have, or several: 304 if it is the one there is",
    "schema": {"type": "string"},
}
IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "new for each change: repeated with the same key, it gets the first answer again",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
# `opt` of a route that also answers with something else than its type says: a tuple of Also.
ALSO: Final = "also"
# Down, the server says so in the form in which it says that it is up.
DOWN: Final = ("system.health", "system.ready")
HEADERS: Final[dict[str, Json]] = {
    "X-Request-Id": {"description": "yours if it was sane, or one of ours; log it"},
    "ETag": {"description": "the version of the thing, for `If-Match`"},
    "Location": {"description": "where the new thing is"},
    "Idempotent-Replayed": {"description": "`true`: the answer that the first request with this key got"},
    "RateLimit": {"description": "what is left of each policy (`r`), and when there is more (`t`, seconds)"},
    "RateLimit-Policy": {
        "description": "the policies that it is counted by: `q` requests in any `w` seconds"
    },
    "X-Stream-Position": {"description": "what this change has reached: `channel@offset`, space separated"},
}


class Also(NamedTuple):
    """One more thing that a route answers with when all is well; `kind` is None for what is no JSON."""

    kind: Any
    status: int = 200
    media: str = "application/json"


def document(app: Litestar, drafted: Json) -> Json:
    """The finished document, from the one that Litestar drafted."""
    handlers = {
        (route.path_format, method.lower()): handler
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
    }
    operations = [
        (path, method, draft, handlers[path or "/", method])
        for path, methods in drafted["paths"].items()
        for method, draft in methods.items()
    ]
    types = list(dict.fromkeys(kind for *_, handler in operations for kind in _types(handler)))
    references, components = msgspec.json.schema_components(
        [Problem, *types], ref_template="#/components/schemas/{name}"
    )
    schema = dict(zip([Problem, *types], references, strict=True))
    paths: dict[str, Json] = {}
    for path, method, draft, handler in operations:
        operation = _operation(draft, handler, schema)
        if (method.upper(), path) in deprecation.ROUTES:
            operation["deprecated"] = True
        paths.setdefault(named_as_told(path), {})[method] = operation
    parts: Json = {**drafted["components"], "schemas": components, "headers": _headers()}
    whole = {**drafted, "paths": paths, "components": parts}
    named: Json = msgspec.json.decode(
        # `One_Item_` is how msgspec spells One[Item].
        re.sub(rb"\b(One|Many|Live)_(\w+)_\"", rb'\1\2"', msgspec.json.encode(whole))
    )
    for name, one in named["components"]["schemas"].items():
        one["title"] = name
        describe(one)
    return named


def _operation(draft: Json, handler: HTTPRouteHandler, schema: dict[Any, Json]) -> Json:
    text = inspect.getdoc(handler.fn) or ""
    tag = draft["tags"][0]
    taken = handler.parsed_fn_signature.parameters
    parameters = [_parameter(parameter) for parameter in draft.get("parameters", [])]
    if "if_version" in taken:
        parameters.append(IF_MATCH)
    if _may_be_known(handler):
        parameters.append(IF_NONE_MATCH)
    if takes_key(handler):
        parameters.append(IDEMPOTENCY_KEY)
    operation: Json = {
        "tags": draft["tags"],
        "operationId": f"{_camel(tag)}.{_camel(handler.fn.__name__)}",
        "summary": re.split(r"[:;.](?:\s|$)", text)[0],
        "description": text,
        "security": _security(handler),
        "parameters": parameters,
        "responses": _responses(draft, handler, schema),
    }
    if operation["operationId"] in DOWN:
        operation["responses"]["503"] = operation["responses"]["200"]
    if handler.parsed_data_field is not None:
        body = schema[handler.parsed_data_field.annotation]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _security(handler: HTTPRouteHandler) -> list[Json]:
    """Who may call it: a handler that takes `caller` needs a token, and says whether it may be an API key."""
    if "caller" not in handler.parsed_fn_signature.parameters:
        return []
    return SECURED_BY_KEY if handler.opt.get("by_key") else SECURED


def _responses(draft: Json, handler: HTTPRouteHandler, schema: dict[Any, Json]) -> Json:
    answer = _answer(handler)
    taken = handler.parsed_fn_signature.parameters
    [status] = [code for code in draft["responses"] if code[0] in "23"]
    headers = ["X-Request-Id"]
    if policies.of(handler):
        headers += ["RateLimit", "RateLimit-Policy"]
    if _has_version(answer):
        headers.append("ETag")
    if status == "201":
        headers.append("Location")
    if "GET" not in handler.http_methods:
        headers.append("X-Stream-Position")
    if takes_key(handler):
        headers.append("Idempotent-Replayed")
    success: Json = {
        "description": "Done."
        if answer is None
        else (inspect.getdoc(get_origin(answer) or answer) or "The answer."),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
    }
    if answer is not None:
        success["content"] = {"application/json": {"schema": schema[answer]}}
    applies = {
        "401": "caller" in taken,
        "404": bool(draft.get("parameters")),
        "412": "if_version" in taken,
        "422": bool(draft.get("parameters")) or handler.parsed_data_field is not None or takes_key(handler),
        "429": bool(policies.of(handler)),
        "default": True,
    }
    problem = {"application/problem+json": {"schema": schema[Problem]}}
    failures = {
        code: {"description": text, "content": problem} for code, text in FAILURES.items() if applies[code]
    }
    answers = {status: success}
    if _may_be_known(handler):
        answers["304"] = {"description": "You have it as it is.", "headers": success["headers"]}
    for also in handler.opt.get(ALSO, ()):
        _add(answers, also, schema)
    return {**answers, **failures}


def _add(answers: Json, also: Also, schema: dict[Any, Json]) -> None:
    """Write one more answer beside those that are there."""
    description = inspect.getdoc(get_origin(also.kind) or also.kind) if also.kind else "A file."
    answer = answers.setdefault(str(also.status), {"description": description, "content": {}})
    kind = schema[also.kind] if also.kind else {"type": "string"}
    known = answer["content"].get(also.media)
    either = [*known["schema"].get("anyOf", [known["schema"]]), kind] if known else []
    answer["content"][also.media] = {"schema": {"anyOf": either} if known else kind}


def _types(handler: HTTPRouteHandler) -> list[Any]:
    body = handler.parsed_data_field
    others = [also.kind for also in handler.opt.get(ALSO, ())]
    return [
        kind for kind in (body.annotation if body else None, _answer(handler), *others) if kind is not None
    ]


def _answer(handler: HTTPRouteHandler) -> Any:
    """The type that a handler answers with: the `X` of `X` and of `Response[X]`; None for no content."""
    kind = handler.parsed_return_field.annotation
    if get_origin(kind) is Response:
        [kind] = get_args(kind)
    return None if kind is type(None) else kind


def _has_version(answer: Any) -> bool:
    """Whether the answer is one thing with a version: those have an ETag."""
    holds = get_args(answer) or (getattr(answer, "__annotations__", {}).get("data"),)
    name = getattr(get_origin(answer) or answer, "__name__", "")
    return name in ("One", "CreatedTeam") and "version" in getattr(holds[0], "__struct_fields__", ())


def _may_be_known(handler: HTTPRouteHandler) -> bool:
    """Whether it is read, and a client may have it already."""
    return "GET" in handler.http_methods and _has_version(_answer(handler))


def _parameter(drafted: Json) -> Json:
    name = drafted["name"]
    if drafted["in"] != "path":
        return drafted
    return {**drafted, "name": _camel(name), "description": PATH_PARAMETERS[name]}


def _headers() -> Json:
    return {name: {**header, "schema": {"type": "string"}} for name, header in HEADERS.items()}


def describe(schema: Json) -> None:
    """What msgspec says of the type inside `T | null` is said of the field."""
    for field in schema.get("properties", {}).values():
        inside: Json = next((one for one in field.get("anyOf", ()) if "description" in one), {})
        if "description" not in field and inside:
            field["description"] = inside.pop("description")


def named_as_told(path: str) -> str:
    """A path with its parameters under the names that clients see: `{itemId}`."""
    return re.sub(r"{\w+}", lambda part: _camel(part[0]), path)


def _camel(text: str) -> str:
    return re.sub(r"[_ -]([a-z])", lambda match: match[1].upper(), text)
