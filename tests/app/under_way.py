"""What happens to an account between the moment somebody has shown who they are and their session."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx

from domain import db
from domain.auth import one_time, recovery
from tests.app.company import problem
from tests.factories import Person

NEW = "another password altogether"
Meanwhile = Callable[[Callable[[], Awaitable[object]]], None]


async def reset(person: Person) -> None:
    """They choose a new password by a link."""
    async with db.transaction():
        token = await one_time.issue(
            recovery.PURPOSE, lasts=timedelta(minutes=1), user_id=person.id, email=person.email
        )
    done = await person.api.call("POST", "/auth/password/reset", json={"token": token, "password": NEW})
    assert done.status_code == 204, done.text


async def verified(person: Person) -> Person:
    """Somebody whose address is confirmed: a link to it takes nothing over."""
    await db.execute("UPDATE users SET email_verified_at = now() WHERE id = $1", person.id)
    return person


async def refused(answer: httpx.Response, person: Person) -> None:
    """It ends as a wrong credential does, and nobody is signed in."""
    problem(answer, 401, "wrong_credentials")
    left = "SELECT count(*) FROM user_sessions WHERE user_id = $1 AND revoked_at IS NULL"
    assert await db.fetchval(left, person.id) == 0
