"""Second factors as people use them: an app that shows codes, recovery codes on paper, passkeys."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import pyotp

from domain import db
from domain.clock import now
from tests.app.authenticator import Authenticator
from tests.factories import PASSWORD, Api, Person


@dataclass
class App:
    """An authenticator app, with what was written down beside it."""

    secret: str
    recovery_codes: list[str] = field(default_factory=list)

    def code(self, steps: int = 0) -> str:
        """The code of now, or of so many steps later."""
        return pyotp.TOTP(self.secret).at(now(), counter_offset=steps)

    def wrong(self) -> str:
        """Six digits that are no code of about now."""
        near = {self.code(steps) for steps in range(-3, 4)}
        return next(code for code in map("{:06}".format, range(10)) if code not in near)


async def enrol(person: Person) -> App:
    """A confirmed app of this person; the code that confirmed it does not stand in the way of the next."""
    started = await person.post("/auth/mfa/totp")
    assert started.status_code == 200, started.text
    app = App(started.json()["data"]["secret"])
    confirmed = await person.post("/auth/mfa/totp/confirm", {"code": app.code()})
    assert confirmed.status_code == 200, confirmed.text
    app.recovery_codes = confirmed.json()["data"]["recoveryCodes"]
    await next_step(person)
    return app


async def next_step(person: Person) -> None:
    """Half a minute later, as far as codes that were used are concerned."""
    await db.execute(
        "UPDATE mfa_factors SET last_used_step = last_used_step - 3 WHERE user_id = $1", person.id
    )


async def early_in_a_step() -> None:
    """Wait until the codes beside the current one will stay beside it for a while."""
    while now().timestamp() % 30 > 25:
        await asyncio.sleep(0.1)


async def login(person: Person, **more: Any) -> httpx.Response:
    body = {"email": person.email, "password": PASSWORD, **more}
    return await person.api.call("POST", "/auth/login", json=body)


async def mfa_token(person: Person) -> str:
    """What the first step of signing in answers."""
    asked = await login(person)
    assert asked.json()["code"] == "second_factor_required", asked.text
    token: str = asked.json()["mfaToken"]
    return token


async def verify(api: Api, token: str, **proof: Any) -> httpx.Response:
    return await api.call("POST", "/auth/mfa/verify", json={"mfaToken": token, **proof})


async def grow_stale(person: Person) -> None:
    """The second factors that this person's sessions have shown are from eleven minutes ago."""
    await db.execute(
        "UPDATE user_sessions SET second_factor_at = second_factor_at - interval '11 min' WHERE user_id = $1",
        person.id,
    )


async def long_ago(person: Person) -> None:
    """This person's sessions were begun, and showed whatever they have shown, eleven minutes ago."""
    await db.execute(
        """UPDATE user_sessions SET created_at = created_at - interval '11 min',
               proved_at = proved_at - interval '11 min',
               second_factor_at = second_factor_at - interval '11 min' WHERE user_id = $1""",
        person.id,
    )


async def waited(person: Person, minutes: int) -> None:
    """The last wrong attempt is so much longer ago."""
    await db.execute(
        "UPDATE sign_in_failures SET last_at = last_at - $2 * interval '1 min' WHERE key = $1",
        f"factors:{person.id}",
        minutes,
    )


async def creation_options(person: Person) -> dict[str, Any]:
    answer = await person.post("/auth/passkeys/register/options")
    assert answer.status_code == 200, answer.text
    options: dict[str, Any] = answer.json()["data"]["publicKey"]
    return options


async def add_passkey(person: Person, name: str = "Laptop") -> tuple[Authenticator, str]:
    """A new passkey of this person, and its id."""
    one = Authenticator()
    body = {"credential": one.create(await creation_options(person)), "name": name}
    added = await person.post("/auth/passkeys/register/verify", body)
    assert added.status_code == 201, added.text
    return one, added.json()["data"]["id"]


async def request_options(api: Api, **given: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/auth/passkeys/login/options", json=given)
    assert answer.status_code == 200, answer.text
    options: dict[str, Any] = answer.json()["data"]["publicKey"]
    return options


async def passkey_login(api: Api, credential: dict[str, Any]) -> httpx.Response:
    return await api.call("POST", "/auth/passkeys/login/verify", json={"credential": credential})


async def register(person: Person, credential: dict[str, Any]) -> httpx.Response:
    return await person.post("/auth/passkeys/register/verify", {"credential": credential})


async def sign_in_with(api: Api, authenticator: Authenticator) -> httpx.Response:
    return await passkey_login(api, authenticator.get(await request_options(api)))


async def step_up_with(person: Person, authenticator: Authenticator) -> httpx.Response:
    options = (await person.post("/auth/mfa/step-up/options")).json()["data"]["publicKey"]
    return await person.post("/auth/mfa/step-up", {"credential": authenticator.get(options)})


async def session_of(answer: httpx.Response) -> dict[str, Any]:
    """The row of a session that was just begun."""
    assert answer.status_code == 200, answer.text
    row = await db.fetchrow(
        "SELECT amr, second_factor_at FROM user_sessions WHERE id = $1", answer.json()["data"]["sessionId"]
    )
    return dict(row)


async def actions(person: Person) -> list[str]:
    """What the trail of this person's own team has, oldest first."""
    rows = await db.fetch(
        "SELECT action FROM audit_logs WHERE team_id = $1 ORDER BY seq", person.personal_team_id
    )
    return [row["action"] for row in rows]


async def everything_of_factors(person: Person) -> None:
    """All that is said of second factors and passkeys, once each."""
    api = person.api
    app = await enrol(person)
    statuses = [
        await login(person),
        await login(person, totp=app.wrong()),
        await login(person, totp=app.recovery_codes[0]),
        await person.post("/auth/mfa/step-up", {"code": app.code()}),
        await person.post("/auth/mfa/recovery-codes"),
    ]
    passkey, passkey_id = await add_passkey(person)
    place = f"/auth/passkeys/{passkey_id}"
    statuses += [
        await person.patch(place, {"name": "Phone"}),
        await passkey_login(api, passkey.get({"challenge": "x" * 43})),
        await person.delete(place),
        await person.delete("/auth/mfa/totp"),
    ]
    assert [answer.status_code for answer in statuses] == [401, 401, 200, 200, 200, 200, 401, 204, 204]
