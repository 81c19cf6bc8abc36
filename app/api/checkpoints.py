"""/api/audit-logs, the part that can be proved: checkpoints, and proofs that lead to them."""

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from app.api.envelope import Cursor, Limit, Many, One, TeamId, many
from app.pipeline.identity import BY_KEY
from domain.actor import Actor
from domain.audit_logs import proofs, seals
from domain.audit_logs.seals_model import Consistency, Proof, SignedCheckpoint
from domain.pages import LIMIT_DEFAULT

SIZE_MAX = 2**63 - 1


class CheckpointsController(Controller):
    path = "/api/audit-logs"
    tags = ("audit logs",)
    opt = BY_KEY

    @get("/checkpoints")
    async def checkpoints(
        self,
        caller: NamedDependency[Actor],
        team_id: TeamId = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Many[SignedCheckpoint]:
        """The signed roots of a team's audit trail, newest first; new ones come on `checkpoints:<teamId>`."""
        page = await seals.checkpoints(caller, caller.team(team_id), limit=limit, cursor=cursor)
        return many(page)

    @get("/checkpoints/consistency")
    async def consistency(
        self,
        caller: NamedDependency[Actor],
        earlier: Annotated[
            int,
            QueryParameter(
                name="from", ge=1, le=SIZE_MAX, description="`toSeq` of a checkpoint that you kept"
            ),
        ],
        later: Annotated[
            int | None,
            QueryParameter(
                name="to", ge=1, le=SIZE_MAX, description="of a later one; the newest if left out"
            ),
        ] = None,
        team_id: TeamId = None,
    ) -> One[Consistency]:
        """That nothing was altered between two checkpoints (RFC 6962, 2.1.2)."""
        return One(data=await proofs.consistency(caller, caller.team(team_id), earlier=earlier, later=later))

    @get("/{row_id:str}/proof")
    async def proof(
        self,
        row_id: FromPath[str],
        caller: NamedDependency[Actor],
        size: Annotated[
            int | None,
            QueryParameter(ge=1, le=SIZE_MAX, description="`toSeq` of a checkpoint; the newest if left out"),
        ] = None,
        team_id: TeamId = None,
    ) -> One[Proof]:
        """That a row is under a checkpoint (RFC 6962, 2.1.1); 409 `not_sealed_yet` for some seconds."""
        return One(data=await proofs.inclusion(caller, caller.team(team_id), row_id, size=size))
