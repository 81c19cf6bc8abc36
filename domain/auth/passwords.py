"""Passwords: which may be chosen, and Argon2id, off the event loop, at most two at a time.

Choosing    refused are those that many people have had (common_passwords.py), those known from a breach where
            the operator has that asked (`ask_also`), and those made of nothing but the address and name of
            whom they are for, or ours. Source: NIST SP 800-63B section 3.1.1.2.
Parameters  19 MiB, t=2, p=1 (OWASP's first recommendation; 37 ms on the machine where it was chosen). The
            threads are few on purpose: a burst of logins queues here and leaves the event loop, and so every
            open socket, alone. Registering, which nothing else slows down, has a queue of its own, from which
            one at a time comes here: however many strangers register, a login has a thread.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.auth import common_passwords
from domain.auth.common_passwords import normal
from domain.errors import FieldError, Invalid, Unavailable

T = TypeVar("T")

WAITING_MAX = 50
RETRY_AFTER_S = 2
PRODUCT: Final = "maycole"
WORD_CHARS_MIN: Final = 3  # shorter ones are in everything
_waiting = 0
_registering = 0
_turn_to_register = asyncio.Semaphore(1)
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")
_also: Callable[[str], Awaitable[bool]] | None = None
# What is left of a password without somebody's names is worth something only where there are letters in it.
_LETTERS: Final = re.compile(r"[^\W\d_]")

# Verified when there is no account, so that an unknown address takes as long as a known one.
_NOBODY = _hasher.hash("nobody has this password")


async def check(password: str, *, email: str, name: str) -> None:
    """Whether this may be chosen by whoever has this address and name.

    Raises Invalid, pointing at `/password`: `password_too_personal` or `password_too_common`. It may ask
    somebody else over HTTP: never inside a transaction.
    """
    if _is_personal(password, email=email, name=name):
        raise _refusal("password_too_personal", "It is made of your address, your name or ours.")
    if common_passwords.contains(password) or (_also is not None and await _also(password)):
        raise _refusal("password_too_common", "Many people have had this one: it would be guessed.")


def ask_also(breached: Callable[[str], Awaitable[bool]] | None) -> None:
    """Have this asked as well, of a password that all else allows; it does not raise. None asks nobody."""
    global _also
    _also = breached


async def hashed(password: str) -> str:
    """A PHC string for the users table. Raises Unavailable `busy`."""
    return await _off_the_loop(_hasher.hash, password)


async def hashed_to_register(password: str) -> str:
    """The same for an account that is not there yet, one after another. Raises Unavailable `busy`."""
    global _registering
    if _registering >= WAITING_MAX:
        raise _busy()
    _registering += 1
    try:
        async with _turn_to_register:
            return await hashed(password)
    finally:
        _registering -= 1


async def matches(password_hash: str | None, password: str) -> bool:
    """Whether this is the password; False, in the same time, where there is none to compare with.

    Raises Unavailable `busy`.
    """
    known = await _off_the_loop(_verify, password_hash or _NOBODY, password)
    return known and password_hash is not None


def outdated(password_hash: str) -> bool:
    """Whether it was made with other parameters than those of today."""
    return _hasher.check_needs_rehash(password_hash)


async def _off_the_loop(work: Callable[..., T], *args: str) -> T:
    """In a thread, unless so many wait already that whoever waits last would give up first."""
    global _waiting
    if _waiting >= WAITING_MAX:
        raise _busy()
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, work, *args)
    finally:
        _waiting -= 1


def _busy() -> Unavailable:
    return Unavailable("Too many are signing in at the moment.", code="busy", retryAfter=RETRY_AFTER_S)


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _is_personal(password: str, *, email: str, name: str) -> bool:
    """Whether nothing worth guessing is left without the words that everybody knows."""
    rest = normal(password)
    for word in sorted(_words(email, name), key=len, reverse=True):
        rest = rest.replace(word, "")
    return rest != normal(password) and not _LETTERS.search(rest)


def _words(email: str, name: str) -> set[str]:
    address, name = normal(email), normal(name)
    local, _, domain = address.rpartition("@")
    parts = {part for text in (local, domain, name) for part in re.split(r"[\W_]+", text)}
    return {word for word in {PRODUCT, address, local, domain, name} | parts if len(word) >= WORD_CHARS_MIN}


def _refusal(code: str, detail: str) -> Invalid:
    return Invalid(f"Choose another password. {detail}", errors=(FieldError("/password", code, detail),))
