"""Nouns of second factors."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain import channels
from domain.auth.model import GivenCode, GivenPassword, Mode
from domain.auth.passkeys_model import Assertion, MfaToken
from domain.events import Event, Resource

# The password is one that a session can show again; what signing in asks for second is one of the others.
Factor = Literal["totp", "recovery_code", "passkey", "password"]


class NewTotp(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What an authenticator app needs to know. It counts once a code of it was confirmed."""

    secret: Annotated[str, Meta(description="in base 32, to be typed; shown this once")]
    otpauth_uri: Annotated[str, Meta(description="the same for a QR code")]


class Confirmation(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What shows that the app has taken the secret."""

    code: GivenCode


class ShownCodes(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Recovery codes, shown this once."""

    recovery_codes: Annotated[
        list[str], Meta(description="each is good once, where a code of the app is asked for")
    ]


class SecondFactors(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What an account has besides its password."""

    totp_confirmed_at: Annotated[
        datetime | None,
        Meta(description="since when signing in asks for a second factor; null if it does not"),
    ]
    recovery_codes_left: Annotated[int, Meta(description="how many are unused")]
    passkeys: Annotated[int, Meta(description="how many there are")]
    second_factor_at: Annotated[
        datetime | None, Meta(description="when this session last showed a second factor, or a passkey")
    ]


class SecondStep(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """The second step of signing in: a code, or a passkey."""

    mfa_token: MfaToken
    code: GivenCode | UnsetType = UNSET
    credential: Assertion | UnsetType = UNSET
    mode: Mode = "token"


class StepUp(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What shows again who one is, in a session that goes on: a code, a passkey, or the password."""

    code: GivenCode | UnsetType = UNSET
    credential: Assertion | UnsetType = UNSET
    password: GivenPassword | UnsetType = UNSET


class SteppedUpUntil(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How long what is sensitive may be done."""

    second_factor_at: Annotated[
        datetime | None, Meta(description="when the second factor was shown; null where it was the password")
    ]
    fresh_until: Annotated[datetime, Meta(description="when it is asked for again")]


class FactorNews(msgspec.Struct, frozen=True, rename="camel"):
    """Which kind of factor it is about."""

    factor: Annotated[Factor, Meta(description="the kind of factor")]


class RecoveryCodesNews(msgspec.Struct, frozen=True, rename="camel"):
    """How many recovery codes are left."""

    left: Annotated[int, Meta(description="how many are unused")]


class _AccountEvent(Event, frozen=True, kw_only=True):
    """Something about an account."""

    user_id: str

    def resource(self) -> Resource:
        return Resource("user", self.user_id)


class _FactorEvent(_AccountEvent, frozen=True, kw_only=True):
    """News for the user alone, on every device."""

    factor: Factor

    def channels(self) -> tuple[str, ...]:
        return (channels.user(self.user_id),)

    def news(self) -> FactorNews:
        return FactorNews(self.factor)

    def metadata(self) -> dict[str, Any]:
        return {"factor": self.factor}


class FactorStarted(_AccountEvent, frozen=True, kw_only=True):
    """The user asked for a secret for their app; it counts for nothing yet."""

    type = "auth.factor_started"


class FactorAdded(_FactorEvent, frozen=True, kw_only=True):
    """Signing in asks for a second factor from now on."""

    type = "auth.factor_added"


class FactorRemoved(_FactorEvent, frozen=True, kw_only=True):
    """Signing in asks for a second factor no more, and the recovery codes are void."""

    type = "auth.factor_removed"


class SecondFactorAsked(_AccountEvent, frozen=True, kw_only=True):
    """The first factor was right, and a second one is asked for: in the trail, not on a screen."""

    type = "auth.second_factor_asked"


class SecondFactorFailed(_FactorEvent, frozen=True, kw_only=True):
    """Somebody who had the first factor, or a session, showed a wrong second one."""

    type = "auth.second_factor_failed"
    outcome = "denied"

    reason: str = "wrong code"

    def metadata(self) -> dict[str, Any]:
        return {"factor": self.factor, "reason": self.reason}


class SteppedUp(_FactorEvent, frozen=True, kw_only=True):
    """The user showed a second factor or the password again, in a session that goes on."""

    type = "auth.stepped_up"


class _RecoveryCodesEvent(_AccountEvent, frozen=True, kw_only=True):
    """News for the user alone, on every device."""

    left: int

    def channels(self) -> tuple[str, ...]:
        return (channels.user(self.user_id),)

    def news(self) -> RecoveryCodesNews:
        return RecoveryCodesNews(self.left)

    def metadata(self) -> dict[str, Any]:
        return {"left": self.left}


class RecoveryCodeUsed(_RecoveryCodesEvent, frozen=True, kw_only=True):
    """A recovery code was used in place of the app."""

    type = "auth.recovery_code_used"


class RecoveryCodesRenewed(_RecoveryCodesEvent, frozen=True, kw_only=True):
    """There are new recovery codes, and the old ones are void."""

    type = "auth.recovery_codes_renewed"
