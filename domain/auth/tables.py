"""Rows of the auth slice."""

from piccolo.columns import (
    JSONB,
    Array,
    BigInt,
    Boolean,
    Bytea,
    ForeignKey,
    Integer,
    OnDelete,
    Text,
    Timestamptz,
)
from piccolo.constraints import Check, Unique
from piccolo.table import Table

from domain.teams.tables import Teams
from domain.users.tables import Users


class UserSessions(Table, tablename="user_sessions"):
    """`token` and `previous_hash` are SHA-256 of the current and the last refresh token, in hex.

    `amr` is how they showed who they are (RFC 8176); `second_factor_at` when they last showed a second one,
    `proved_at` when they last showed the password again.
    """

    id = Text(primary_key=True)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    token = Text(null=False, unique=True)
    generation = Integer(null=False, default=1)
    previous_hash = Text(null=True, default=None)
    rotated_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(null=False, default=None)
    ip = Text(null=True, default=None)
    user_agent = Text(null=True, default=None)
    amr = Array(base_column=Text(), null=False, default=list)
    second_factor_at = Timestamptz(null=True, default=None)
    proved_at = Timestamptz(null=True, default=None)
    last_seen_at = Timestamptz(null=False, default=None)
    revoked_at = Timestamptz(null=True, default=None)
    revoked_reason = Text(null=True, default=None)
    created_at = Timestamptz(null=False, default=None)


class OneTimeTokens(Table, tablename="one_time_tokens"):
    """`hash` is SHA-256 of a token that is good once; `data` what else its purpose needs, never a secret."""

    id = Text(primary_key=True)
    purpose = Text(null=False)
    hash = Text(null=False, unique=True)
    user_id = ForeignKey(references=Users, null=True, default=None, on_delete=OnDelete.restrict, index=True)
    email = Text(null=True, default=None)
    data = JSONB(null=False, default="{}")
    expires_at = Timestamptz(null=False, default=None)
    used_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz(null=False, default=None)


class OauthIdentities(Table, tablename="oauth_identities"):
    """An account at a provider. `tokens` are the provider's, encrypted (domain/crypto.py)."""

    id = Text(primary_key=True)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    provider = Text(null=False)
    subject = Text(null=False)
    email = Text(null=True, default=None)
    tokens = Text(null=True, default=None)
    last_used_at = Timestamptz(null=False, default=None)
    created_at = Timestamptz(null=False, default=None)

    oauth_identities_once = Unique([provider, subject])


class MfaFactors(Table, tablename="mfa_factors"):
    """`secret` is encrypted; `last_used_step` is the newest time step that was accepted, against replay."""

    id = Text(primary_key=True)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict)
    kind = Text(null=False, default="totp")
    secret = Text(null=False)
    last_used_step = BigInt(null=True, default=None)
    confirmed_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz(null=False, default=None)

    mfa_factors_once = Unique([user_id, kind])


class RecoveryCodes(Table, tablename="recovery_codes"):
    """`hash` is SHA-256 of the user's id and a code that is good once (domain/auth/recovery_codes.py)."""

    id = Text(primary_key=True)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict)
    hash = Text(null=False)
    used_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz(null=False, default=None)

    recovery_codes_once = Unique([user_id, hash])  # noqa: A003 - the column


class Passkeys(Table, tablename="passkeys"):
    """A WebAuthn credential: ids in base64url, the public key in COSE."""

    id = Text(primary_key=True)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    credential_id = Text(null=False, unique=True)
    public_key = Bytea(null=False, default=None)
    sign_count = BigInt(null=False, default=0)
    transports = Array(base_column=Text(), null=False, default=list)
    name = Text(null=False)
    backed_up = Boolean(null=False, default=False)
    last_used_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz(null=False, default=None)


class ApiKeys(Table, tablename="api_keys"):
    """`key` and `previous_key` are SHA-256; the latter is good until `previous_until`, while it is replaced.

    `team_id` is null for a key that acts for its user alone.
    """

    id = Text(primary_key=True)
    user_id = ForeignKey(references=Users, null=False, on_delete=OnDelete.restrict, index=True)
    team_id = ForeignKey(references=Teams, null=True, default=None, on_delete=OnDelete.restrict, index=True)
    name = Text(null=False)
    key = Text(null=False, unique=True)
    previous_key = Text(null=True, default=None)
    previous_until = Timestamptz(null=True, default=None)
    scopes = Array(base_column=Text(), null=False, default=list)
    addresses = Array(base_column=Text(), null=False, default=list)
    status = Text(null=False, default="active")
    last_used = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz(null=False, default=None)
    api_version = Text(null=False, default="")

    api_keys_status = Check((status == "active") | (status == "revoked"))


class SignInFailures(Table, tablename="sign_in_failures"):
    """How often signing in has failed of late: for an account, from an address, or altogether (`key`)."""

    key = Text(primary_key=True)
    failures = Integer(null=False, default=0)
    last_at = Timestamptz(null=False, default=None)
