"""Nouns of passkeys: what a browser sends, what an account has, and what is said of it."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain import channels
from domain.auth.model import Mode
from domain.events import Event, Resource

# Much more than any authenticator sends, much less than a body may hold.
Encoded = Annotated[str, Meta(max_length=16_384, description="bytes in base64url, as browsers write them")]
CredentialId = Annotated[
    str, Meta(min_length=1, max_length=1400, description="the credential's id, in base64url")
]
PasskeyName = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=r"\S", description="what its owner calls it")
]
MfaToken = Annotated[
    str, Meta(min_length=1, max_length=200, description="from the answer `second_factor_required`")
]
Handle = Annotated[str, Meta(max_length=100)]
Transport = Annotated[str, Meta(max_length=32)]


class AttestationResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The authenticator's answer to a registration."""

    client_data_json: Encoded = msgspec.field(name="clientDataJSON")
    attestation_object: Encoded
    transports: Annotated[
        list[Transport], Meta(max_length=16, description="how the browser can reach the authenticator")
    ] = []


class Attestation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `navigator.credentials.create` gave, in its JSON form; what else it holds is left alone."""

    id: CredentialId
    raw_id: CredentialId
    type: Annotated[str, Meta(max_length=32, description="`public-key`")]
    response: AttestationResponse


class AssertionResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The authenticator's answer to a sign-in."""

    client_data_json: Encoded = msgspec.field(name="clientDataJSON")
    authenticator_data: Encoded
    signature: Encoded
    user_handle: Annotated[
        Handle | None, Meta(description="whose passkey the authenticator says it is, in base64url")
    ] = None


class Assertion(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `navigator.credentials.get` gave, in its JSON form; what else it holds is left alone."""

    id: CredentialId
    raw_id: CredentialId
    type: Annotated[str, Meta(max_length=32, description="`public-key`")]
    response: AssertionResponse


class Options(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the browser takes, in the JSON form of `parseCreationOptionsFromJSON` and its sibling."""

    public_key: Annotated[dict[str, Any], Meta(description="see Web Authentication Level 3, section 5.1")]


class NewPasskey(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What adding a passkey takes."""

    credential: Attestation
    name: PasskeyName = "Passkey"


class PasskeyPatch(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What may be changed of a passkey."""

    name: PasskeyName


class AskedFor(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What the passkey is to be shown for: to sign in with it alone, or as the second step of signing in."""

    mfa_token: Annotated[
        MfaToken | UnsetType, Meta(description="from the first step of signing in, if there was one")
    ] = UNSET


class PasskeyLogin(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What signing in with a passkey takes."""

    credential: Assertion
    mode: Mode = "token"


class Passkey(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A passkey of an account."""

    id: str
    name: str
    backed_up: Annotated[bool, Meta(description="whether it is kept beyond the one device")]
    last_used_at: Annotated[datetime | None, Meta(description="null until it is used")]
    created_at: datetime


class PasskeyNews(msgspec.Struct, frozen=True, rename="camel"):
    """The passkey as it is now."""

    passkey: Passkey


class PasskeyGoneNews(msgspec.Struct, frozen=True, rename="camel"):
    """Which passkey it was."""

    passkey_id: Annotated[str, Meta(description="the id it had")]


class _PasskeyEvent(Event, frozen=True, kw_only=True):
    """News for the user alone, on every device."""

    user_id: str
    passkey: Passkey

    def resource(self) -> Resource:
        return Resource("passkey", self.passkey.id)

    def channels(self) -> tuple[str, ...]:
        return (channels.user(self.user_id),)

    def news(self) -> PasskeyNews:
        return PasskeyNews(self.passkey)

    def metadata(self) -> dict[str, Any]:
        return {"name": self.passkey.name}


class PasskeyAdded(_PasskeyEvent, frozen=True, kw_only=True):
    """The account has one more passkey."""

    type = "auth.passkey_added"


class PasskeyRenamed(_PasskeyEvent, frozen=True, kw_only=True):
    """A passkey has another name."""

    type = "auth.passkey_renamed"


class PasskeyRemoved(_PasskeyEvent, frozen=True, kw_only=True):
    """A passkey is good no more."""

    type = "auth.passkey_removed"

    # Whoever hears it needs to know no more than which one.
    def news(self) -> PasskeyGoneNews:  # type: ignore[override]  # another Struct is what this one says
        return PasskeyGoneNews(self.passkey.id)


class PasskeyRefused(Event, frozen=True, kw_only=True):
    """A passkey that exists was shown and did not pass: in the trail, not on a screen."""

    type = "auth.passkey_refused"
    outcome = "denied"

    user_id: str
    passkey_id: str
    reason: str

    def resource(self) -> Resource:
        return Resource("passkey", self.passkey_id)

    def metadata(self) -> dict[str, Any]:
        return {"userId": self.user_id, "reason": self.reason}
