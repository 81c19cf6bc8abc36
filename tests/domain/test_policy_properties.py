"""Properties of policy: nothing is granted outside the table, more is never less, and there is no way up."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from domain.actor import Actor, Limits
from domain.errors import DomainError, Forbidden, NotFound
from domain.teams import members, policy, roles
from domain.teams.model import RoleChange
from domain.teams.policy import BUILT_IN, LEAST, Role
from domain.teams.roles_model import NewRole, RoleBody
from tests.domain.people import somebody, team_of

permissions = st.frozensets(st.sampled_from(sorted(LEAST)))
limits = st.none() | st.builds(Limits, scopes=permissions, team_id=st.none())


def keyed(limited: Limits | None) -> Actor:
    return Actor(user_id="user_a", limits=limited, key_id="key_a" if limited else None)


@given(permissions, permissions, st.sampled_from([*sorted(LEAST), "inventory:burn", "*", ""]))
def test_a_role_with_more_permissions_never_grants_less_and_nothing_that_is_not_in_it(
    some: frozenset[str], more: frozenset[str], permission: str
) -> None:
    small, large = Role("small", some), Role("large", some | more)
    assert policy.grants(small, permission) == (permission in some)
    assert policy.grants(large, permission) >= policy.grants(small, permission)
    assert not policy.grants(None, permission)
    for role in BUILT_IN.values():
        assert policy.grants(role, permission) <= (permission in LEAST)


@given(permissions, limits, permissions)
async def test_one_gives_and_takes_what_one_has_and_a_key_leaves_and_nothing_else(
    own: frozenset[str], limited: Limits | None, other: frozenset[str]
) -> None:
    has = own if limited is None else own & limited.scopes
    allowed = policy.require_held(keyed(limited), "team_a", Role("own", own), other)
    if other <= has:
        await allowed
    else:
        with pytest.raises(Forbidden):
            await allowed


NAMES = ("alpha", "beta", "gamma")
PEOPLE = ("Bob", "Cid", "Dan")
who, name = st.sampled_from(PEOPLE), st.sampled_from(NAMES)
# Few, so that what one has and another lacks meets often.
few = st.sampled_from(["roles:manage", "members:manage", "audit:read", "billing:manage"])
some = st.frozensets(few)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("define"), who, name, some),
        st.tuples(st.just("redefine"), who, name, some),
        st.tuples(st.just("give"), who, st.sampled_from([*NAMES, *BUILT_IN]), who),
        st.tuples(st.just("remove"), who, name, st.none()),
    ),
    max_size=12,
)
# A way up could only be open to somebody who manages something: the first one always does.
managing = some.map(lambda other: other | {"roles:manage", "members:manage"})


@pytest.mark.usefixtures("url")
# Without shrinking, which would take minutes: a failure says which step it was.
@settings(max_examples=25, phases=[Phase.reuse, Phase.generate])
@given(begin=st.tuples(managing, some, some), taken=steps)
async def test_nobody_ever_has_what_whoever_gave_it_lacked(
    begin: tuple[frozenset[str], frozenset[str], frozenset[str]], taken: list[tuple[str, str, str, object]]
) -> None:
    people = await _people()
    team = await team_of(people["Ann"])
    for person, role, may in zip(PEOPLE, NAMES, begin, strict=True):
        await roles.define(people["Ann"], team, NewRole(name=role, permissions=sorted(may)))
        await members.add(people["Ann"], team, members.NewMember(user_id=people[person].user, role=role))
    for verb, by, role, what in taken:
        before = {each: await _held(people[each], team) for each in PEOPLE}
        try:
            await _do(people[by], team, verb, role, people, what)
        except DomainError:
            assert {each: await _held(people[each], team) for each in PEOPLE} == before
            continue
        for each in PEOPLE:
            changed = before[each] ^ await _held(people[each], team)
            assert changed <= before[by], f"{by} did {verb} {role} {what}"


async def _people() -> dict[str, Actor]:
    """The same ones for every example: to register takes time."""
    if not _known:
        _known.update({each: await somebody(each) for each in ("Ann", *PEOPLE)})
    return _known


_known: dict[str, Actor] = {}


async def _held(person: Actor, team: str) -> frozenset[str]:
    try:
        return (await policy.require(person, team, "team:read")).permissions
    except NotFound:
        return frozenset()


async def _do(by: Actor, team: str, verb: str, role: str, people: dict[str, Actor], what: object) -> None:
    if verb == "give":
        await members.change_role(by, team, people[str(what)].user, RoleChange(role=role))
    elif verb == "remove":
        await roles.remove(by, team, role)
    else:
        assert isinstance(what, frozenset)
        if verb == "define":
            await roles.define(by, team, NewRole(name=role, permissions=sorted(what)))
        else:
            await roles.redefine(by, team, role, RoleBody(permissions=sorted(what)))
