"""Filters: a follower says which entries of a channel it wants, by what is in them.

The filter is the protocol's own tags filter (`tf` of a subscribe; `tagsFilter` of the SDKs): a tree of
comparisons with what an audit row says, see TAGS. What is filtered out is not written, and counts as served
like all else, so positions are those of the whole stream.

Followers with the same filter share an encoding, so the hub asks each filter once for each push; those
without one are served as ever.

Source: PROTOCOL.md sections 7 and 15.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from channels import json_format
from channels.encoding import Encoding
from channels.protocol import Refused

DEPTH_MAX: Final = 8
VALUES_MAX: Final = 256
FILTERS_KEPT: Final = 512

_COMPARE: Final[dict[str, Callable[[str, str], bool]]] = {
    "eq": str.__eq__,
    "neq": str.__ne__,
    "sw": str.startswith,
    "ew": str.endswith,
    "ct": str.__contains__,
    "lt": lambda has, value: _number(has) < _number(value),
    "lte": lambda has, value: _number(has) <= _number(value),
    "gt": lambda has, value: _number(has) > _number(value),
    "gte": lambda has, value: _number(has) >= _number(value),
}
COMPARISONS: Final = frozenset({*_COMPARE, "ex", "nex", "in", "nin"})


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A comparison (no `op`), or several under `and`, `or`, `not`."""

    op: Literal["", "and", "or", "not"] = ""
    key: str = ""
    cmp: str = ""
    val: str = ""
    vals: tuple[str, ...] = ()
    nodes: tuple["Node", ...] = ()


class _Row(msgspec.Struct, rename="camel", frozen=True):
    team_id: str = ""
    user_id: str | None = None
    action: str = ""
    resource_type: str = ""
    resource: str = ""
    outcome: str = ""


class _Entry(msgspec.Struct):
    data: _Row = _Row()


_entry: Final = msgspec.json.Decoder(_Entry)
# What can be compared: the tag, and what of an audit row it is.
TAGS: Final[dict[str, Callable[[_Row], str | None]]] = {
    "action": lambda row: row.action,
    "outcome": lambda row: row.outcome,
    "actor": lambda row: row.user_id,
    "resourceType": lambda row: row.resource_type,
    "resource": lambda row: row.resource,
    "teamId": lambda row: row.team_id,
}


class Filtered(Encoding):
    """An encoding without the pushes that a filter does not let through."""

    sifts = True

    def __init__(self, whole: Encoding, node: Node) -> None:
        super().__init__(whole.format, whole._frame)
        self._node = node

    def frames(self, channel: str, pushes: Sequence[bytes], before: bytes | None) -> list[tuple[bytes, int]]:
        """What is let through; each frame also counts what was left out before the next one."""
        places = [nth for nth, pushed in enumerate(pushes, 1) if self._lets_through(pushed)]
        framed: list[tuple[bytes, int]] = []
        taken = counted = 0
        for frame, count in super().frames(channel, [pushes[place - 1] for place in places], None):
            taken += count
            upto = places[taken] - 1 if taken < len(places) else len(pushes)
            framed.append((frame, upto - counted))
            counted = upto
        return framed or [(b"", len(pushes))]

    def publications(self, channel: str, pushes: Sequence[bytes]) -> list[Any]:
        return super().publications(channel, [each for each in pushes if self._lets_through(each)])

    def passed(self, channel: str, pushed: bytes) -> bytes:
        return super().passed(channel, pushed) if self._lets_through(pushed) else b""

    def _lets_through(self, pushed: bytes) -> bool:
        row = _entry.decode(json_format.publication_of(pushed).data).data
        tags = {name: value for name, of in TAGS.items() if (value := of(row)) is not None}
        return matches(self._node, tags)


def filtered(encoding: Encoding, asked: Mapping[str, Any]) -> Encoding:
    """The encoding with this filter. Raises Refused 107 for what is none."""
    try:
        node = msgspec.convert(asked, Node)
        values = _checked(node, DEPTH_MAX)
    except (msgspec.ValidationError, RecursionError) as malformed:
        raise Refused(107) from malformed
    if len(values) > VALUES_MAX:
        raise Refused(107)
    return _filtered(encoding, node)


@lru_cache(FILTERS_KEPT)
def _filtered(encoding: Encoding, node: Node) -> Filtered:
    return Filtered(encoding, node)


def matches(node: Node, tags: Mapping[str, str]) -> bool:
    """Whether what has these tags is let through."""
    if node.op == "and":
        return all(matches(one, tags) for one in node.nodes)
    if node.op == "or":
        return any(matches(one, tags) for one in node.nodes)
    if node.op == "not":
        return not matches(node.nodes[0], tags)
    has = tags.get(node.key)
    if node.cmp in ("ex", "nex"):
        return (has is not None) == (node.cmp == "ex")
    if node.cmp in ("in", "nin"):
        return (has in node.vals) == (node.cmp == "in")
    if has is None:
        return node.cmp == "neq"
    return _COMPARE[node.cmp](has, node.val)


def _checked(node: Node, depth: int) -> list[str]:
    """All values in it, so that they can be counted. Raises Refused 107."""
    if node.op:
        is_good = bool(node.nodes) and (node.op != "not" or len(node.nodes) == 1)
    else:
        needs_values = node.cmp in ("in", "nin")
        is_known = node.key in TAGS and node.cmp in COMPARISONS
        is_good = is_known and not node.nodes and (bool(node.vals) or not needs_values)
    if not is_good or depth == 0:
        raise Refused(107)
    return [node.val, *node.vals] + [value for one in node.nodes for value in _checked(one, depth - 1)]


def _number(text: str) -> float:
    """What is no number is less and more than none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
