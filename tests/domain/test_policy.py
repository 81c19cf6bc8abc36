"""Rights: the code says what API.md says, role by role; strangers are told nothing."""

from itertools import pairwise

import asyncpg
import pytest

from domain.actor import Actor
from domain.errors import Forbidden, NotFound, Unauthenticated
from domain.teams import policy
from domain.teams.policy import BUILT_IN, LEAST
from tests.domain.people import somebody, team_of

# Copied from API.md, "Roles" (one line is two here): who changes one of them changes the other.
TABLE = """
| | viewer | member | admin | owner |
|---|---|---|---|---|
| inventory, dashboard, search, files, analytics: read | x | x | x | x |
| inventory, files: write · analytics: track · export: create | | x | x | x |
| members, invites: manage · audit: read · notifications: send | | | x | x |
| settings: write · api keys: manage | | | x | x |
| billing: manage · team: delete, transfer · roles: manage | | | | x |
"""
# What the routes need besides: `GET /teams/{id}` is for its members, `PUT /teams/{id}` for who manages them.
BESIDES = {"team:read": {"viewer", "member", "admin", "owner"}}
ROLES = ("viewer", "member", "admin", "owner")


def documented() -> dict[str, set[str]]:
    """permission -> the roles that have it, by the table."""
    head, _, *lines = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.strip().splitlines()
    )
    found = {}
    for permissions, *marks in lines:
        roles = {role for role, mark in zip(head[1:], marks, strict=True) if mark == "x"}
        for group in permissions.split("·"):
            resources, actions = group.split(":")
            for resource in resources.split(","):
                for action in actions.split(","):
                    found[f"{resource.strip().replace(' ', '_')}:{action.strip()}"] = roles
    return found


def test_every_role_has_the_permissions_of_the_documented_table_and_no_other() -> None:
    wanted = {**documented(), **BESIDES}
    assert len(documented()) == 19, "the table was read as a whole"
    assert not documented().keys() & BESIDES.keys()
    assert {
        permission: {role for role in ROLES if permission in BUILT_IN[role].permissions}
        for permission in LEAST
    } == wanted


def test_each_role_has_all_that_the_one_below_has_and_something_more() -> None:
    assert tuple(BUILT_IN) == ROLES
    for below, above in pairwise(ROLES):
        assert BUILT_IN[below].permissions < BUILT_IN[above].permissions
    assert BUILT_IN["owner"].permissions == set(LEAST)


@pytest.mark.parametrize("role", ROLES)
async def test_a_member_may_what_the_role_grants_and_is_told_of_the_rest(role: str, url: str) -> None:
    ann = await somebody("Ann")
    member = ann if role == "owner" else await somebody("Bob")
    team = await team_of(ann, {} if role == "owner" else {role: member})
    refused = set()
    held = (await policy.roles_of([member.user]))[member.user][team]
    assert held == BUILT_IN[role]
    for permission in LEAST:
        allowed = policy.grants(held, permission)
        if allowed:
            assert await policy.require(member, team, permission) == BUILT_IN[role]
            continue
        refused.add(permission)
        with pytest.raises(Forbidden) as error:
            await policy.require(member, team, permission)
        assert error.value.details == {"permission": permission, "role": role}
    assert refused == set(LEAST) - BUILT_IN[role].permissions
    assert policy.grants(held, None)
    assert not policy.grants(held, "inventory:burn"), "nobody has what nobody grants"


@pytest.mark.usefixtures("url")
async def test_a_foreign_team_a_deleted_team_and_no_team_look_the_same(outside: asyncpg.Connection) -> None:
    ann, eve = await somebody("Ann"), await somebody("Eve")
    foreign, deleted = await team_of(ann), await team_of(ann)
    assert await policy.require(ann, deleted, "team:delete") == BUILT_IN["owner"]
    await outside.execute("UPDATE teams SET deleted_at = now() WHERE id = $1", deleted)
    policy.memory.forget(ann.user)

    words = set()
    for who, team in ((eve, foreign), (ann, deleted), (ann, "team_nowhere"), (eve, "")):
        with pytest.raises(NotFound) as error:
            await policy.require(who, team, "team:read")
        words.add((str(error.value), error.value.problem, tuple(error.value.details)))
        assert team not in (await policy.roles_of([who.user]))[who.user]
    assert len(words) == 1


@pytest.mark.usefixtures("url")
async def test_staff_of_the_platform_are_strangers_to_a_team_and_nobody_is_nobody() -> None:
    ann, eve = await somebody("Ann"), await somebody("Eve")
    team = await team_of(ann)
    assert not any(policy.grants(None, permission) for permission in (None, *LEAST))
    with pytest.raises(NotFound):
        await policy.require(Actor(user_id=eve.user_id, is_staff=True), team, "team:read")
    with pytest.raises(Unauthenticated):
        await policy.require(Actor(), team, "team:read")


@pytest.mark.parametrize("own", ROLES)
@pytest.mark.parametrize("other", ROLES)
async def test_nobody_gives_or_takes_a_role_above_their_own(own: str, other: str) -> None:
    mine = BUILT_IN[own]
    if ROLES.index(other) <= ROLES.index(own):
        await policy.require_roles(Actor(), "team_of_theirs", mine, other)
    else:
        with pytest.raises(Forbidden, match="more than they have"):
            await policy.require_roles(Actor(), "team_of_theirs", mine, "viewer", other)
