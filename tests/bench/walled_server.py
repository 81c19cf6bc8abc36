"""`maycole serve` behind row-level security, as `make bench ARGS=wall` measures it. Never in production.

Its pool acts as a role that owns nothing, and every transaction says with its BEGIN (no round trip more)
who is asking; Postgres then adds "in a team of theirs" to each statement on inventory and on the trail.
"""

import sys
from contextvars import ContextVar
from typing import Any, Final

import asyncpg

from app import cli
from app.pipeline import identity
from domain import db
from domain.actor import Actor
from tests.generous import be_generous

ROLE: Final = "maycole_walled"
_THEIRS: Final = """team_id IN (
        SELECT team_id FROM team_members WHERE user_id = (SELECT current_setting('maycole.who', true)))"""
POLICIES: Final = f"""
    DO $$ BEGIN CREATE ROLE {ROLE} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE};
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE};
    ALTER TABLE inventory ENABLE ROW LEVEL SECURITY;
    ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY;
    CREATE POLICY of_their_teams ON inventory TO {ROLE} USING ({_THEIRS});
    CREATE POLICY of_their_teams ON audit_logs FOR SELECT TO {ROLE} USING ({_THEIRS});
    CREATE POLICY by_anyone ON audit_logs FOR INSERT TO {ROLE} WITH CHECK (true);
"""
asking: ContextVar[str] = ContextVar("asking", default="")


def main() -> None:
    known = identity.credentials.identify
    execute = asyncpg.Connection.execute

    async def identify(claims: Any, nobody: Actor) -> Actor:
        actor = await known(claims, nobody)
        asking.set(actor.user_id or "")
        return actor

    async def begins_with_who(self: asyncpg.Connection, query: str, *args: Any, **more: Any) -> str:
        if query.startswith("BEGIN"):
            query += f"SET LOCAL maycole.who TO '{asking.get()}';"
        said: str = await execute(self, query, *args, **more)
        return said

    identity.credentials.identify = identify
    asyncpg.Connection.execute = begins_with_who
    db.SERVER_SETTINGS["role"] = ROLE
    be_generous()
    cli.main(sys.argv[1:])


if __name__ == "__main__":
    main()
