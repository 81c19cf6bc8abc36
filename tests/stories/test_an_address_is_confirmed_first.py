"""A server whose operator says AUTH_REQUIRE_VERIFIED_EMAIL=on, as a process of its own."""

import msgspec

from app.config import Config
from tests.app.company import problem
from tests.app.mailing import a_minute_later, kinds, mail_of, post, settled, token_of
from tests.app.signing_in import login, signed_in
from tests.factories import PASSWORD, api_of
from tests.mailbox import Mailbox, link
from tests.processes import running

PUBLIC = "https://maycole.example"


async def test_whoever_registers_is_let_in_when_they_have_followed_the_link(
    config: Config, mailbox: Mailbox
) -> None:
    strict = msgspec.structs.replace(config, require_verified_email=True, public_url=PUBLIC)
    email = "confirms-first@example.org"
    async with running(strict) as served, api_of(served.url) as api:
        for _ in range(2):
            made = await post(api, "/auth/register", email=email, password=PASSWORD, name="Ann")
            assert (made.status_code, made.json()["data"]) == (202, {"accepted": True})
            await mail_of(mailbox, email, "verify")
            await settled()
        assert kinds(mailbox, email) == ["verify", "known"]
        problem(await login(api, email), 403, "email_not_verified")
        await a_minute_later()
        problem(await login(api, email), 403, "email_not_verified")
        assert link(await mail_of(mailbox, email, "verify", 2)).startswith(f"{PUBLIC}/auth/verify-email#")
        token = await token_of(mailbox, email, "verify", 2)
        assert (await post(api, "/auth/verify-email", token=token)).status_code == 204
        let_in = (await login(api, email)).json()["data"]
        assert await signed_in(api, let_in["accessToken"])
