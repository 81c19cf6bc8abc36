"""WebAuthn's two ceremonies: what a browser is asked for, and whether what it answers is right.

Pure but for the relying party, which the shell installs at start. User verification (a PIN, a finger, a face)
is required every time, so a passkey is two factors by itself. Attestation is not asked for: which make an
authenticator is of does not matter here. Source: Web Authentication Level 3, sections 7.1 and 7.2.
"""

import secrets
from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
import webauthn
from cryptography.exceptions import UnsupportedAlgorithm
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import (
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    options_to_json_dict,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from domain.auth.passkeys_model import Assertion, Attestation
from domain.errors import Unavailable

T = TypeVar("T")

TIMEOUT_MS: Final = 5 * 60 * 1000
NAME: Final = "Maycole"


class Refused(Exception):
    """What the browser answered is not right; the reason is for the trail, not for whoever asked."""


class RelyingParty(msgspec.Struct, frozen=True):
    """The domain that passkeys belong to, and the origins that pages may use them from."""

    id: str
    origins: tuple[str, ...]


class _ClientData(msgspec.Struct):
    """The part of what the browser says that says which challenge it is for."""

    challenge: str
    cross_origin: bool = msgspec.field(name="crossOrigin", default=False)


_party: RelyingParty | None = None


def install(rp_id: str | None, origins: Sequence[str]) -> None:
    """Passkeys belong to this domain from now on; to none, and there are none."""
    global _party
    _party = RelyingParty(rp_id, tuple(origins)) if rp_id else None


def party() -> RelyingParty:
    """Raises Unavailable `passkeys_not_configured`."""
    if _party is None:
        raise Unavailable(
            "Passkeys need a domain: PUBLIC_URL or ALLOWED_ORIGINS.", code="passkeys_not_configured"
        )
    return _party


def creation_options(
    challenge: str, *, user_id: str, email: str, name: str, known: Sequence[str]
) -> dict[str, Any]:
    """What `navigator.credentials.create` takes; `known` are the credentials that the user has already."""
    options = webauthn.generate_registration_options(
        rp_id=party().id,
        rp_name=NAME,
        user_id=user_id.encode(),
        user_name=email,
        user_display_name=name,
        challenge=_bytes(challenge),
        timeout=TIMEOUT_MS,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_descriptors(known),
    )
    return options_to_json_dict(options)


def request_options(challenge: str, known: Sequence[str] = ()) -> dict[str, Any]:
    """What `navigator.credentials.get` takes; without `known` the user chooses an account by a passkey."""
    options = webauthn.generate_authentication_options(
        rp_id=party().id,
        challenge=_bytes(challenge),
        timeout=TIMEOUT_MS,
        allow_credentials=_descriptors(known),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


def challenge_of(client_data: str) -> str:
    """The challenge that the answer is for; it proves nothing yet. Raises Refused."""
    try:
        said = msgspec.json.decode(_bytes(client_data), type=_ClientData)
    except (ValueError, UnicodeError, RecursionError) as error:
        raise Refused("malformed") from error
    if said.cross_origin:
        raise Refused("in a frame of another origin")
    return said.challenge


def registered(given: Attestation, challenge: str) -> VerifiedRegistration:
    """The new credential. Raises Refused."""

    def verify() -> VerifiedRegistration:
        new = webauthn.verify_registration_response(
            credential=msgspec.to_builtins(given),
            expected_challenge=_bytes(challenge),
            expected_rp_id=party().id,
            expected_origin=list(party().origins),
            require_user_verification=True,
        )
        # A key that verifies nothing is refused now, not when somebody signs in with it.
        decoded_public_key_to_cryptography(decode_credential_public_key(new.credential_public_key))
        return new

    return _judged(verify)


def asserted(given: Assertion, challenge: str, public_key: bytes) -> VerifiedAuthentication:
    """The assertion, made with this key; its counter is for the caller to compare. Raises Refused."""
    return _judged(
        lambda: webauthn.verify_authentication_response(
            credential=msgspec.to_builtins(given),
            expected_challenge=_bytes(challenge),
            expected_rp_id=party().id,
            expected_origin=list(party().origins),
            credential_public_key=public_key,
            # Compared in the UPDATE that raises it, where two at once cannot both be newer.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    )


def same_user(given: Assertion, user_id: str) -> bool:
    """Whether the authenticator, if it says whose passkey it is, says that it is this user's."""
    handle = given.response.user_handle
    return handle is None or secrets.compare_digest(_bytes(handle), user_id.encode())


def _judged(verify: Callable[[], T]) -> T:
    try:
        return verify()
    except WebAuthnException as error:
        raise Refused(str(error)[:200]) from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, UnsupportedAlgorithm) as error:
        # What the library lets through of malformed keys and attestations, and of texts that are no base64.
        raise Refused("malformed") from error


def _descriptors(known: Sequence[str]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=_bytes(one)) for one in known]


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(f"{text}===")
