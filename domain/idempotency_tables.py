"""The table of idempotency keys. Read and written by domain/idempotency.py alone."""

from piccolo.columns import Integer, Text, Timestamptz
from piccolo.constraints import Unique
from piccolo.table import Table


class IdempotencyKeys(Table, tablename="idempotency_keys"):
    """What a caller has asked with a key, and how it was answered.

    `caller` is a user, an API key, or a keyed hash of where somebody comes from who has not said who they
    are; `fingerprint` a keyed hash of the request. Until there is an answer, `status` and `response` are
    null, and the row is the claim of whoever is at it. `response` is sealed. What is to be kept for good has
    `infinity` as `expires_at`.
    """

    id = Text(primary_key=True)
    caller = Text(null=False)
    key = Text(null=False)
    fingerprint = Text(null=False)
    status = Integer(null=True, default=None)
    response = Text(null=True, default=None)
    expires_at = Timestamptz(null=False, default=None, index=True)
    created_at = Timestamptz(null=False, default=None)

    idempotency_keys_once = Unique([caller, key])
