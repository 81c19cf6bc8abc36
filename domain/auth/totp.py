"""TOTP: the six digits that an authenticator app shows (RFC 6238: SHA-1, 30 seconds, 160 bits of secret)."""

import hmac
import re
from datetime import datetime
from typing import Final

import pyotp

ISSUER: Final = "Maycole"
STEP_S: Final = 30
STEPS_EITHER_SIDE: Final = 1
DIGITS: Final = 6
_CODE: Final = re.compile(r"[0-9]{6}", re.ASCII)


def new_secret() -> str:
    """160 random bits in base 32, as apps take them."""
    return pyotp.random_base32()


def uri(secret: str, email: str) -> str:
    """What the app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def is_code(text: str) -> bool:
    """Whether this has the shape of a code of an app (a recovery code has another)."""
    return _CODE.fullmatch(text) is not None


def step_of(secret: str, code: str, at: datetime) -> int | None:
    """The time step this code is for, among those around `at`, the newest first; None for a wrong code."""
    app = pyotp.TOTP(secret)
    current = int(at.timestamp()) // STEP_S
    found = None
    for step in range(current - STEPS_EITHER_SIDE, current + STEPS_EITHER_SIDE + 1):
        if hmac.compare_digest(app.generate_otp(step).encode(), code.encode()):
            found = step
    return found
