"""The watchman: the hard bound for what is no news; each test changes the database in silence."""

from collections.abc import Collection

import pytest

from channels.live import Live
from channels.watchman import Watchman
from domain import channels, db
from domain.clock import now
from domain.teams import policy
from tests.factories import Api
from tests.listener import Listeners


async def _round(live: Live) -> None:
    await Watchman(live.connections, live.gate).make_round()


@pytest.mark.parametrize(
    "behind_the_back",
    [
        "UPDATE users SET disabled_at = $2 WHERE id = $1",
        "UPDATE user_sessions SET expires_at = $2 WHERE user_id = $1",
        "UPDATE user_sessions SET revoked_at = $2 WHERE user_id = $1",
    ],
    ids=["disabled", "expired", "revoked"],
)
async def test_a_session_that_is_over_loses_its_sockets_and_others_keep_theirs(
    api: Api, url: str, live: Live, listeners: Listeners, behind_the_back: str
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    over, good = await listeners(url, ann.token), await listeners(url, bob.token)
    await _round(live)
    assert not any(said[0] == "disconnected" for said in over.said)

    await db.execute(behind_the_back, ann.id, now())
    await _round(live)

    await over.until(lambda: ("disconnected", 3500) in over.said)
    assert not any(said[0] == "disconnected" for said in good.said)


async def test_rights_that_were_changed_in_silence_are_put_right(
    api: Api, url: str, live: Live, listeners: Listeners
) -> None:
    ann, bob = await api.person("Ann"), await api.person("Bob")
    team = await api.team(ann, admin=bob)
    screen = await listeners(url, bob.token)
    await screen.follow(channels.audit(team))
    await screen.follow(channels.inventory(team))

    demoted = "UPDATE team_members SET role = 'viewer' WHERE team_id = $1 AND user_id = $2"
    await db.execute(demoted, team, bob.id)
    await _round(live)
    await screen.until(lambda: ("unsubscribed", channels.audit(team), 2000) in screen.said)
    assert ("unsubscribed", channels.inventory(team), 2000) not in screen.said

    await db.execute("DELETE FROM team_members WHERE team_id = $1 AND user_id = $2", team, bob.id)
    await _round(live)
    await screen.until(
        lambda: (
            ("unsubscribed", channels.inventory(team), 2000) in screen.said
            and ("left", channels.team(team)) in screen.said
        )
    )


async def test_a_socket_that_goes_while_it_is_asked_about_is_passed_over(
    api: Api, url: str, live: Live, listeners: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await api.person("Ann")
    screen = await listeners(url, ann.token)
    [connection] = [
        each for each in live.connections if each.standing.claims and each.standing.claims.sub == ann.id
    ]
    asked = policy.roles_of

    async def and_meanwhile_it_fails(user_ids: Collection[str]) -> dict[str, dict[str, policy.Role]]:
        roles = await asked(user_ids)
        connection.standing.claims = None
        return roles

    monkeypatch.setattr(policy, "roles_of", and_meanwhile_it_fails)
    await _round(live)
    assert not any(said[0] == "disconnected" for said in screen.said)
