"""Examples for the documentation, made from the types themselves: a Struct filled with plausible values.

A field has the value that WORDS gives for its name (or for `Struct.field`), else its default, else something
plain of its type.
"""

import types
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

_ANN: Final = "user_01m81nycn4e5xb3km9a6vb8pzw"
_BOB: Final = "user_01m81nycs5exc8301sfp8f9514"
_TEAM: Final = "team_01m81nyd49e3dsxyv23q7mwt66"
_ITEM: Final = "item_01m81nydb8e9xb8rptxy6503cn"
WHEN: Final = datetime(2026, 11, 22, 13, 8, 20, 967890, UTC)
WORDS: Final[dict[str, Any]] = {
    "team_id": _TEAM,
    "owner_id": _ANN,
    "user_id": _ANN,
    "personal_team_id": "team_01m81nycn4e5xb3km9a8hfp3dj",
    "session_id": "sess_01m81nycn4e5xb3km9ac8tymct",
    "key_id": "key_01m81nydb8e9xb8rptxy6503cp",
    "email": "ann@example.org",
    "name": "Ann",
    "reason": "sold",
    "delta": -3,
    "version": 2,
    "Item.id": _ITEM,
    "Item.name": "Coffee beans",
    "Item.quantity": 7,
    "Item.reserved": 0,
    "Item.unit": "piece",
    "Member.user_id": _BOB,
    "Member.name": "Bob",
    "Member.role": "viewer",
    "TeamRole.name": "stock-taker",
    "TeamRole.permissions": ["inventory:read", "inventory:write", "team:read"],
    "RoleRedefined.holders": (_BOB,),
    "members": (_ANN, _BOB),
    "to_user_id": _BOB,
    "from_user_id": _ANN,
    "MemberRenamed.before": "Robert",
    "SessionRevoked.reason": "logout",
    "ApiKey.id": "key_01m81nydb8e9xb8rptxy6503cp",
    "ApiKey.prefix": "mk_live_01m81nydb8e9xb8rptxy6503cp",
    "ApiKey.name": "Stock robot",
    "ApiKey.scopes": ["inventory:read"],
    "DependencyState.process": "web-1:4711",
    "DependencyState.dependency": "oauth.google",
    "InviteState.id": "inv_01m81nyd8b8e9xb8rptxy6503d",
    "InviteState.role": "viewer",
    "Team.id": _TEAM,
    "Team.name": "Coffee corner",
    "Team.slug": "coffee-corner-3a70f600",
    "User.id": _ANN,
    "AuditLog.id": "aud_01m81nyd49e3dsxyv23q7mwt67",
    "AuditLog.action": "inventory.adjusted",
    "AuditLog.resource_type": "item",
    "AuditLog.resource": _ITEM,
    "AuditLog.metadata": {"reason": "sold", "reference": None},
    "AuditLog.changes": {"quantity": {"before": 10, "after": 7}},
    "AuditLog.outcome": "success",
    "AuditLog.request_id": "req_007f01ffd01940079a06e05e",
    "AuditLog.session_id": "sess_01m81nycn4e5xb3km9ac8tymct",
    "AuditLog.ip": "203.0.113.7",
    "AuditLog.user_agent": "curl/8.14.1",
    "Envelope.id": "evt_01m81nyd49e3dsxyv23q7mwt68",
    "Envelope.actor": _ANN,
    "Envelope.request_id": "req_007f01ffd01940079a06e05e",
    "Passkey.id": "pkey_01m829kz9ce4q900gdqwg8bjzt",
    "Passkey.name": "Phone",
    "left": 9,
    "SignedCheckpoint.key_id": "akey_01m8be4mdye0gvqx4qd5w2z3c1",
    "SignedCheckpoint.number": 1,
    "SignedCheckpoint.from_seq": 1,
    "SignedCheckpoint.to_seq": 12,
    "SignedCheckpoint.kept_from": 1,
    "SignedCheckpoint.signature": b"\0" * 64,
}
_PLAIN: Final[dict[Any, Any]] = {
    str: "text",
    int: 1,
    float: 1.0,
    bool: False,
    bytes: b"\0" * 32,
    datetime: WHEN,
    Any: None,
}


def sample(kind: Any) -> Any:
    """One of this type. Raises TypeError for a type that no event has had so far."""
    origin = get_origin(kind)
    if origin is Annotated:
        return sample(get_args(kind)[0])
    if origin is Literal:
        return get_args(kind)[0]
    if origin in (Union, types.UnionType):
        return None if type(None) in get_args(kind) else sample(get_args(kind)[0])
    if origin in (dict, list):
        return origin()
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind(**_fields(kind))
    raise TypeError(f"no example of {kind}")


def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        word = WORDS.get(f"{kind.__name__}.{field.name}")
        if word is None and not (isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)):
            word = WORDS.get(field.name)
        if word is not None:
            values[field.name] = word
        elif field.required:
            values[field.name] = sample(field.type)
    return values
