"""What many make at once (domain/group_commit.py) is told to each as if they had been alone."""

import asyncio

from tests.factories import Api


async def test_of_many_who_make_things_at_once_each_is_told_its_own_position(api: Api) -> None:
    ann = await api.person("Ann")
    made = await asyncio.gather(
        *(ann.post("/inventory", {"name": f"Tea {n}", "quantity": 1}) for n in range(12))
    )
    assert {answer.status_code for answer in made} == {201}
    told = [answer.headers["X-Stream-Position"].split("@") for answer in made]
    assert {channel for channel, _ in told} == {f"inventory:{ann.personal_team_id}"}
    assert sorted(int(offset) for _, offset in told) == list(range(1, 13))
    ids = {
        row["resource"]: row["requestId"] for row in (await ann.get("/audit-logs?limit=100")).json()["data"]
    }
    assert all(ids[answer.json()["data"]["id"]] == answer.headers["X-Request-Id"] for answer in made), (
        "and its row is that of its request"
    )
