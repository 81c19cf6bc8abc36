"""Rotating the encryption key: everything is sealed again while the servers go on, and the old key may go."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from app.config import Config
from domain import crypto, db, ids, mail, rotation
from domain.auth import oauth_flows, one_time, proofs
from domain.auth.oauth_model import Profile
from domain.auth.proofs import Proof
from domain.clock import now
from tests.factories import Api
from tests.ground import ENCRYPTION_KEY
from tests.processes import MAYCOLE, environment

NEW = secrets.token_bytes(32)


@pytest.fixture
async def old(url: str) -> AsyncIterator[bytes]:
    """The key that everybody has; put back when the test ends. Nothing is there then, or before, that other
    tests have made unreadable, or that would wait for a key of this one.
    """
    shared = crypto.parsed(ENCRYPTION_KEY)
    assert shared is not None
    await _forget_what_waits()
    yield shared
    crypto.install(shared)
    await _forget_what_waits()


async def _forget_what_waits() -> None:
    await db.execute("DELETE FROM one_time_tokens")
    await db.execute("DELETE FROM pgqueuer WHERE status = 'queued'")


async def _identity(user_id: str, plain: bytes) -> str:
    """A sealed row of a table, as signing in with a provider leaves it."""
    identity_id = ids.new("ident")
    await db.execute(
        """INSERT INTO oauth_identities (id, user_id, provider, subject, tokens, last_used_at, created_at)
           VALUES ($1, $2, 'google', $1, $3, $4, $4)""",
        identity_id,
        user_id,
        crypto.sealed(f"oauth_identities/{identity_id}/tokens", plain),
        now(),
    )
    return identity_id


async def _opened(identity_id: str) -> bytes:
    sealed = await db.fetchval("SELECT tokens FROM oauth_identities WHERE id = $1", identity_id)
    return crypto.opened(f"oauth_identities/{identity_id}/tokens", sealed)


async def test_everything_is_sealed_again_and_opens_without_the_old_key(api: Api, old: bytes) -> None:
    ann = await api.person()
    kept = {await _identity(ann.id, b"%d" % n): b"%d" % n for n in range(rotation.AT_ONCE + 5)}
    crypto.install(NEW, old)
    written_meanwhile = await _identity(ann.id, b"new")
    [tokens, *_] = await rotation.rotate()
    assert (tokens.resealed >= len(kept), tokens.unopenable) == (True, 0)
    crypto.install(NEW)
    assert {each: await _opened(each) for each in kept} == kept
    assert await _opened(written_meanwhile) == b"new"
    again = await rotation.rotate()
    assert {one.resealed for one in again} == {0}
    crypto.install(old, NEW)
    await rotation.rotate()


async def test_what_is_written_while_it_runs_is_not_lost(api: Api, old: bytes) -> None:
    ann = await api.person()
    rows = [await _identity(ann.id, b"before") for _ in range(30)]
    crypto.install(NEW, old)

    async def overwrite() -> None:
        for each in rows:
            sealed = crypto.sealed(f"oauth_identities/{each}/tokens", b"after")
            await db.execute("UPDATE oauth_identities SET tokens = $2 WHERE id = $1", each, sealed)

    await asyncio.gather(rotation.rotate(), overwrite())
    await rotation.rotate()
    crypto.install(NEW)
    assert {await _opened(each) for each in rows} == {b"after"}
    crypto.install(old, NEW)
    await rotation.rotate()


async def test_mail_that_waits_is_sealed_again_too(old: bytes) -> None:
    # Not committed, it waits for no worker yet.
    async with db.transaction():
        await mail.send("ann@example.org", "verify_email", name="Ann", link="https://x.example/#canary")
        crypto.install(NEW, old)
        jobs_ = (await rotation.rotate())[-1]
        assert jobs_.resealed >= 1
        crypto.install(old, NEW)
        await rotation.rotate()


async def test_a_flow_that_was_begun_before_ends_without_the_old_key(url: str, old: bytes) -> None:
    """To a provider and back, and then the code that is exchanged."""
    begun = await oauth_flows.begin("google", return_to="/after")
    used = await oauth_flows.begin("google", return_to=None)
    await oauth_flows.take("google", used.state, used.browser)
    profile = Profile(provider="google", subject="7", email=None, email_verified=False, name="Ann", tokens={})
    code = await oauth_flows.leave(profile, "a browser")
    crypto.install(NEW, old)
    flows = next(one for one in await rotation.rotate() if one.name == "one_time_tokens.data.sealed")
    assert (flows.resealed >= 2, flows.unopenable) == (True, 0)
    crypto.install(NEW)
    # The rest of what is kept beside it has stayed, and what is over was left alone.
    flow = await oauth_flows.take("google", begun.state, begun.browser)
    assert (flow.verifier, flow.nonce, flow.return_to) == (begun.verifier, begun.nonce, "/after")
    assert await oauth_flows.redeem(code, "a browser") == profile
    crypto.install(old, NEW)
    await rotation.rotate()


async def test_an_identity_that_waits_for_a_second_factor_is_read_without_the_old_key(
    api: Api, old: bytes
) -> None:
    ann = await api.person()
    profile = Profile(provider="google", subject="8", email=None, email_verified=False, name="Ann", tokens={})
    first = Proof(
        user_id=ann.id, personal_team_id=ann.personal_team_id, epoch=3, amr=("oauth",), linking=profile
    )
    token = await one_time.issue("mfa", lasts=timedelta(minutes=5), user_id=ann.id, data=proofs.kept(first))
    crypto.install(NEW, old)
    waiting = next(one for one in await rotation.rotate() if one.name == "one_time_tokens.data.linking")
    assert (waiting.resealed >= 1, waiting.unopenable) == (True, 0)
    crypto.install(NEW)
    held = await one_time.find("mfa", token)
    assert held is not None
    assert proofs.resumed(ann.id, ann.personal_team_id, held.data) == first
    crypto.install(old, NEW)
    await rotation.rotate()


async def test_machines_that_are_a_step_apart_open_what_the_other_seals(old: bytes) -> None:
    """The two phases of docs/identity/sessions.md, and why there are two."""

    def opens(sealing: tuple[bytes, ...], opening: tuple[bytes, ...]) -> bool:
        crypto.install(*sealing)
        sealed = crypto.sealed("a place", b"plain")
        crypto.install(*opening)
        try:
            return crypto.opened("a place", sealed) == b"plain"
        except crypto.UnknownKey:
            return False

    for behind, ahead in itertools.pairwise([(old,), (old, NEW), (NEW, old)]):
        assert opens(behind, ahead)
        assert opens(ahead, behind)
    assert not opens((NEW, old), (old,))


async def test_the_command_says_what_it_did_and_names_what_it_cannot_open(
    api: Api, config: Config, old: bytes
) -> None:
    ann = await api.person()
    identity_id = await _identity(ann.id, b"secret")

    async def run(**env: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            MAYCOLE,
            "keys",
            "rotate",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(config) | env,
        )
        said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    code, said = await run(ENCRYPTION_KEY=NEW.hex())
    assert code == 1
    assert "no key that was given opens these" in said
    assert "Traceback" not in said
    code, said = await run(ENCRYPTION_KEY=NEW.hex(), ENCRYPTION_KEY_PREVIOUS=ENCRYPTION_KEY)
    assert (code, "nothing is left that needs the key before" in said) == (0, True), said
    crypto.install(NEW)
    assert await _opened(identity_id) == b"secret"
    code, said = await run(ENCRYPTION_KEY_PREVIOUS=NEW.hex())
    assert code == 0, said
    for secret in (NEW.hex(), ENCRYPTION_KEY):
        assert secret not in said
