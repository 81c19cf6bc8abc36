"""Have I Been Pwned's range API: whether a password is known from a breach, without telling which one.

Five characters of its SHA-1 are sent, some thousand endings come back (k-anonymity), padded so that the size
of the answer tells nothing. Where it does not answer within a second, or keeps failing, passwords are taken
without it: it is a second opinion, and nobody is kept out because of it.
"""

import hashlib
import logging
from typing import Final

import httpx2

from app.adapters.outgoing import LeftAlone, Outgoing
from app.adapters.outgoing_http import judge
from app.adapters.retrying import Policy

log = logging.getLogger("maycole.pwned")

NAME: Final = "pwned"
POLICY: Final = Policy(within_s=1.0, try_within_s=1.0, tries=2, wait_s=0.05)
BASE: Final = "https://api.pwnedpasswords.com"
ANSWER_BYTES_MAX: Final = 1024 * 1024
PREFIX_CHARS: Final = 5


class Pwned:
    """The API, with one client of its own; close it at the end."""

    def __init__(self, outgoing: Outgoing, base: str = BASE) -> None:
        self.dependency = outgoing.dependency(NAME, POLICY, judge)
        self._http = httpx2.AsyncClient(
            base_url=base,
            timeout=POLICY.try_within_s,
            headers={"Add-Padding": "true", "User-Agent": "maycole"},
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def knows(self, password: str) -> bool:
        """Whether it has been seen in a breach; False where that cannot be told."""
        digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
        try:
            endings = await self.dependency.call(lambda: self._range(digest[:PREFIX_CHARS]), repeatable=True)
        except (httpx2.HTTPError, TimeoutError, LeftAlone) as error:
            log.warning("the password was not looked up: %s", type(error).__name__)
            return False
        return digest[PREFIX_CHARS:] in endings

    async def _range(self, prefix: str) -> set[str]:
        """The endings of the known hashes that begin so; what is padding has a count of 0."""
        text = bytearray()
        async with self._http.stream("GET", f"/range/{prefix}") as answer:
            answer.raise_for_status()
            async for part in answer.aiter_bytes():
                text += part
                if len(text) > ANSWER_BYTES_MAX:
                    raise httpx2.DecodingError("the answer is too long")
        lines = (line.strip().partition(":") for line in text.decode("ascii", "replace").splitlines())
        return {ending.upper() for ending, _, count in lines if count.strip("0")}
