"""Passwords: Argon2id, off the event loop, at most two at a time.

Parameters: 19 MiB, t=2, p=1 (OWASP's first recommendation; 37 ms on the machine where it was chosen). The
threads are few on purpose: a burst of logins queues here and leaves the event loop, and so every open socket,
alone.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")

# Verified when there is no account, so that an unknown address takes as long as a known one.
_NOBODY = _hasher.hash("nobody has this password")


async def hashed(password: str) -> str:
    """A PHC string for the users table."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, password)


async def matches(password_hash: str | None, password: str) -> bool:
    """Whether this is the password; False, in the same time, where there is none to compare with."""
    known = await asyncio.get_running_loop().run_in_executor(
        _threads, _verify, password_hash or _NOBODY, password
    )
    return known and password_hash is not None


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
