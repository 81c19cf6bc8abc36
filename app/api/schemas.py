"""JSON schemas of the protocol's Structs: msgspec writes them, once msgspec.Raw is out of the way."""

import functools
import inspect
import operator
import types
from collections.abc import Iterable
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import Raw

from app.api.openapi import Json, describe
from channels import protocol

PLACE: Final = "#/components/schemas/"

# A reference for each type.
Written = dict[Any, Json]


def written(kinds: Iterable[Any]) -> tuple[Json, Written]:
    """The schemas of these types and of all that is in them, by name; and a reference for each type."""
    once = list(dict.fromkeys(kinds))
    references, schemas = msgspec.json.schema_components(
        [_plain(kind) for kind in once], ref_template=f"{PLACE}{{name}}"
    )
    for schema in schemas.values():
        describe(schema)
    return schemas, dict(zip(once, references, strict=True))


@functools.cache
def _plain(kind: Any) -> Any:
    """The same type without msgspec.Raw: of it, and of its defaults, msgspec writes no schema."""
    if kind is Raw:
        return Any
    if kind == list[Raw]:
        return types.GenericAlias(list, (_plain(protocol.Publication),))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == protocol.__name__:
        fields = [_plain_field(field) for field in msgspec.structs.fields(kind)]
        documented = {"__doc__": inspect.cleandoc(vars(kind).get("__doc__") or "")}
        return msgspec.defstruct(kind.__name__, fields, namespace=documented, module=kind.__module__)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return Annotated[(_plain(arguments[0]), *arguments[1:])]
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, map(_plain, arguments))
    return origin[tuple(map(_plain, arguments))] if origin in (dict, list) else kind


def _plain_field(field: Any) -> tuple[Any, ...]:
    named = field.encode_name, _plain(field.type)
    if field.required:
        return named
    if field.default_factory is not msgspec.NODEFAULT:
        return *named, msgspec.field(default_factory=field.default_factory)
    return *named, msgspec.UNSET if isinstance(field.default, Raw) else field.default
