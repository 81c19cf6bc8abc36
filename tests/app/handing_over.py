"""What happens to a team as a whole, done once over REST."""

from tests.factories import Person


async def a_team_changes_hands(owner: Person, other: Person, team: str) -> None:
    """Two owners; one of them offers the team to the other until it is taken, and is an admin then."""
    place = f"/teams/{team}"
    statuses = [
        await owner.put(f"{place}/members/{other.id}", {"role": "admin"}),
        await owner.post(f"{place}/transfer", {"userId": other.id}),
        await owner.delete(f"{place}/transfer"),
        await owner.post(f"{place}/transfer", {"userId": other.id}),
        await other.post(f"{place}/transfer/decline"),
        await owner.post(f"{place}/transfer", {"userId": other.id}),
        await other.post(f"{place}/transfer/accept"),
    ]
    assert [answer.status_code for answer in statuses] == [200, 201, 204, 201, 204, 201, 200]


async def a_team_goes_and_comes_back(owner: Person, team: str) -> None:
    """Deleted, and restored."""
    assert (await owner.delete(f"/teams/{team}")).status_code == 204
    assert (await owner.post(f"/teams/{team}/restore")).status_code == 200
