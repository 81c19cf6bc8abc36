"""/api/teams/{id}/invites: asking people into a team by mail. /api/invites: what they answer."""

from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from app.api.cookies import AnyRequest
from app.api.envelope import Cursor, Limit, Live, One, live, one
from app.api.mails import ACCEPTED
from app.pipeline import positions
from app.pipeline.identity import BY_KEY
from app.pipeline.policies import LIMITED_AS_TEAMS
from domain.actor import Actor
from domain.auth.mails_model import Accepted
from domain.pages import LIMIT_DEFAULT
from domain.teams import invite_answers, invites
from domain.teams.invites_model import Invite, InviteAnswer, InviteStatus, NewInvite
from domain.teams.model import Member


class TeamInvitesController(Controller):
    path = "/api/teams"
    tags = ("teams",)
    opt = BY_KEY | LIMITED_AS_TEAMS

    @get("/{team_id:str}/invites")
    async def invites(
        self,
        team_id: FromPath[str],
        caller: NamedDependency[Actor],
        status: Annotated[
            InviteStatus | None, QueryParameter(description="only those that this became of")
        ] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Live[Invite]:
        """A team's invitations, newest first; `position` is that of `team:<teamId>`."""
        return live(*await invites.page(caller, team_id, status, limit=limit, cursor=cursor))

    @post("/{team_id:str}/invites")
    async def invite(
        self, team_id: FromPath[str], data: JSONBody[NewInvite], caller: NamedDependency[Actor]
    ) -> Response[One[Invite]]:
        """Mail somebody a link into the team; the answer does not tell whether they have an account."""
        made = await invites.invite(caller, team_id, data)
        return one(made, at=f"/api/teams/{team_id}/invites/{made.id}")

    @delete("/{team_id:str}/invites/{invite_id:str}")
    async def revoke_invite(
        self, team_id: FromPath[str], invite_id: FromPath[str], caller: NamedDependency[Actor]
    ) -> None:
        """Take an invitation back: its link is good no more."""
        await invites.revoke(caller, team_id, invite_id)

    @post("/{team_id:str}/invites/{invite_id:str}/resend", status_code=200)
    async def resend_invite(
        self, team_id: FromPath[str], invite_id: FromPath[str], caller: NamedDependency[Actor]
    ) -> One[Invite]:
        """Mail another link, good for seven days; the one before is good no more."""
        return One(data=await invites.resend(caller, team_id, invite_id))


class InvitesController(Controller):
    path = "/api/invites"
    tags = ("teams",)

    @post("/accept", status_code=200, opt=LIMITED_AS_TEAMS)
    async def accept_invite(
        self, data: JSONBody[InviteAnswer], caller: NamedDependency[Actor]
    ) -> One[Member]:
        """Come into the team; your confirmed address must be the invited one."""
        return One(data=await invite_answers.accept(caller, data.token))

    @post("/decline", status_code=204)
    async def decline_invite(
        self, request: AnyRequest, data: JSONBody[InviteAnswer], actor: NamedDependency[Actor]
    ) -> None:
        """Say no; the link is enough, nobody needs an account for it."""
        await invite_answers.decline(actor, data.token)
        positions.withhold(request)

    @post("/ask-again", status_code=202)
    async def ask_for_another_invite(
        self, data: JSONBody[InviteAnswer], actor: NamedDependency[Actor]
    ) -> One[Accepted]:
        """Ask the team for another link, where yours is too old; the answer is the same for every token."""
        await invite_answers.ask_again(actor, data.token)
        return ACCEPTED


async def invited(caller: Actor, team_id: str, new: NewInvite) -> Response[Any]:
    """202 with the invitation, from a route that otherwise answers with something else: hence Any."""
    return Response(One(data=await invites.invite(caller, team_id, new)), status_code=202)
