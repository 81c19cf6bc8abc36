"""Passwords: Argon2id, off the event loop, at most two at a time.

Parameters: 19 MiB, t=2, p=1 (OWASP's first recommendation; 37 ms on the machine where it was chosen). The
threads are few on purpose: a burst of logins queues here and leaves the event loop, and so every open socket,
alone.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.errors import Unavailable

T = TypeVar("T")

WAITING_MAX = 50
RETRY_AFTER_S = 2
_waiting = 0
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")

# Verified when there is no account, so that an unknown address takes as long as a known one.
_NOBODY = _hasher.hash("nobody has this password")


async def hashed(password: str) -> str:
    """A PHC string for the users table. Raises Unavailable `busy`."""
    return await _off_the_loop(_hasher.hash, password)


async def matches(password_hash: str | None, password: str) -> bool:
    """Whether this is the password; False, in the same time, where there is none to compare with.

    Raises Unavailable `busy`.
    """
    known = await _off_the_loop(_verify, password_hash or _NOBODY, password)
    return known and password_hash is not None


async def _off_the_loop(work: Callable[..., T], *args: str) -> T:
    """In a thread, unless so many wait already that whoever waits last would give up first."""
    global _waiting
    if _waiting >= WAITING_MAX:
        raise Unavailable("Too many are signing in at the moment.", code="busy", retryAfter=RETRY_AFTER_S)
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, work, *args)
    finally:
        _waiting -= 1


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
