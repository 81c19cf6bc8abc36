"""People for load: accounts with sessions, personal teams and teams of PER_TEAM, written to the database.

Registering thousands over REST would measure the password hash. The rows are those that registering, making a
team and adding members leave behind; only the news of it is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import asyncpg

from domain import ids, keys
from domain.auth import tokens
from domain.clock import now
from tests.bench.harness import SECRET

PER_TEAM: Final = 20


@dataclass
class Someone:
    """An account with a session, a member of `team_id` beside their personal team."""

    user_id: str
    session_id: str
    personal_team_id: str
    team_id: str

    def token(self) -> str:
        """An access token, good for ten minutes from now."""
        keys.install(SECRET)
        return tokens.access(self.user_id, self.session_id)


async def settle(database_url: str, count: int) -> list[Someone]:
    """So many people in teams of PER_TEAM, the first of whom owns it and the rest are members."""
    people: list[Someone] = []
    for start in range(0, count, PER_TEAM):
        team_id = ids.new("team")
        people += [
            Someone(ids.new("user"), ids.new("sess"), ids.new("team"), team_id)
            for _ in range(min(PER_TEAM, count - start))
        ]
    connection = await asyncpg.connect(database_url)
    try:
        await connection.set_type_codec(
            "citext", schema="public", encoder=str.encode, decoder=bytes.decode, format="binary"
        )
        async with connection.transaction():
            for table, rows in _rows(people).items():
                names = list(rows[0])
                await connection.copy_records_to_table(
                    table, records=[tuple(row.values()) for row in rows], columns=names
                )
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return people


def _rows(people: Sequence[Someone]) -> dict[str, list[dict[str, Any]]]:
    """By table, in the order in which foreign keys allow them."""
    at = now()
    owners = {one.team_id: one.user_id for one in reversed(people)}
    personal = {one.personal_team_id: one.user_id for one in people}
    members = [
        (one.team_id, one.user_id, "owner" if owners[one.team_id] == one.user_id else "member")
        for one in people
    ] + [(team_id, user_id, "owner") for team_id, user_id in personal.items()]
    return {
        "users": [
            {
                "id": one.user_id,
                "email": f"{one.user_id}@example.org",
                "name": "Ann",
                "is_staff": False,
                "personal_team_id": one.personal_team_id,
                "version": 1,
                "created_at": at,
                "updated_at": at,
            }
            for one in people
        ],
        "teams": [
            {
                "id": team_id,
                "name": "Coffee corner",
                "slug": team_id.replace("_", "-"),
                "owner_id": owner_id,
                "personal": team_id in personal,
                "metadata": "{}",
                "version": 1,
                "created_at": at,
                "updated_at": at,
            }
            for team_id, owner_id in (owners | personal).items()
        ],
        "team_members": [
            {"id": ids.new("member"), "team_id": team_id, "user_id": user_id, "role": role, "joined_at": at}
            for team_id, user_id, role in members
        ],
        "user_sessions": [
            {
                "id": one.session_id,
                "user_id": one.user_id,
                "token": tokens.hashed(one.session_id),
                "generation": 1,
                "expires_at": at + timedelta(days=1),
                "last_seen_at": at,
                "created_at": at,
            }
            for one in people
        ],
    }
