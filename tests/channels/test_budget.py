"""What a command costs: each one is counted once, by the route that it asks for or by the connection."""

from typing import Any

import pytest

from app.pipeline.load import Load
from channels.budget import Taken
from channels.live import Live
from channels.standing import Standing
from domain.auth.tokens import Claims
from tests.conftest import Served
from tests.factories import Api, Person
from tests.raw import raw

BEANS = "POST /api/inventory"


class Purse:
    """A budget (channels/budget.py) that says what was taken from it."""

    def __init__(self) -> None:
        self.taken = 0
        self.is_empty = False

    async def take(self, claims: Claims, wanted: int) -> Taken:
        granted = 0 if self.is_empty else wanted
        self.taken += granted
        return Taken(granted)

    async def failed(self, address: str | None) -> Taken:
        return Taken(1)


@pytest.fixture
def purse(live: Live, monkeypatch: pytest.MonkeyPatch) -> Purse:
    purse = Purse()
    monkeypatch.setattr(live, "budget", purse)
    return purse


@pytest.fixture(scope="module")
async def ann(api: Api) -> Person:
    return await api.person("Ann")


def commands(ann: Person) -> dict[str, dict[str, Any]]:
    """What no route counts, by what it is."""
    team, other = f"inventory:{ann.personal_team_id}", f"audit:{ann.personal_team_id}"
    return {
        "an address that leads nowhere": {"rpc": {"method": "GET /api/nothing"}},
        "a method that is not allowed": {"rpc": {"method": "PUT /api/users/me/sessions"}},
        "a route without a limit": {"rpc": {"method": "GET /api/version"}},
        "health": {"rpc": {"method": "GET /api/health/live"}},
        "a document": {"rpc": {"method": "GET /api/docs"}},
        "no request": {"rpc": {"method": "CONNECT /api/users/me"}},
        "data of another shape": {"rpc": {"method": "GET /api/users/me", "data": []}},
        "leaving what is not followed": {"unsubscribe": {"channel": other}},
        "leaving what the server joined": {"unsubscribe": {"channel": f"user:{ann.id}"}},
        "following": {"subscribe": {"channel": team}},
        "following what there is not": {"subscribe": {"channel": "nothing:1"}},
        "publishing": {"publish": {"channel": team, "data": {}}},
        "presence": {"presence": {"channel": team}},
        "the past": {"history": {"channel": team}},
        "a new token": {"refresh": {"token": ann.token}},
        "a token for a channel": {"sub_refresh": {"channel": team, "token": "x"}},
        "a ping": {"ping": {}},
        "a message": {"send": {"data": {}}},
    }


async def test_what_no_route_counts_is_counted_once_and_refused_where_nothing_is_left(
    url: str, ann: Person, purse: Purse
) -> None:
    async with raw(url, token=ann.token) as line:
        assert purse.taken == 1, "for its connect"
        costs, refusals = {}, {}
        for name, command in commands(ann).items():
            purse.is_empty, before = False, purse.taken
            await line.ask(**command)
            costs[name] = purse.taken - before
            purse.is_empty = True
            refusals[name] = (await line.ask(**command)).get("error", {}).get("code")
    assert costs == dict.fromkeys(costs, 1)
    assert refusals == dict.fromkeys(refusals, 111)


async def test_what_a_route_counts_and_leaving_what_was_joined_costs_nothing_besides(
    url: str, ann: Person, purse: Purse
) -> None:
    async with raw(url, token=ann.token) as line:
        channel = f"inventory:{ann.personal_team_id}"
        await line.ask(subscribe={"channel": channel})
        before = purse.taken
        assert "unsubscribe" in await line.ask(unsubscribe={"channel": channel})
        for method, data in (
            ("GET /api/users/me", {}),
            ("GET /api/teams", {}),
            ("GET /api/_router", {}),
            (BEANS, {"body": {"name": "Beans", "quantity": 1}}),
            (BEANS, {"body": {"name": 1}}),
            ("GET /api/inventory/item_00000000000000000000000000", {}),
        ):
            answer = (await line.ask(rpc={"method": method, "data": data}))["rpc"]["data"]
            assert "ratelimit" in answer["headers"], method
        assert purse.taken == before


async def test_of_a_frame_each_command_is_counted_once(url: str, ann: Person, purse: Purse) -> None:
    channel = f"inventory:{ann.personal_team_id}"
    several = [
        {"presence": {"channel": channel}},
        {"rpc": {"method": "GET /api/nothing"}},
        {"rpc": {"method": "GET /api/users/me"}},
        {"unsubscribe": {"channel": channel}},
        {"history": {"channel": channel}},
    ]
    async with raw(url, token=ann.token) as line:
        before = purse.taken
        await line.send(*({"id": number, **one} for number, one in enumerate(several, 2)))
        await line.reply(6)
        await line.ask(ping={})
        assert purse.taken == before + 5  # all but the rpc that its route counts


async def test_an_rpc_that_is_refused_before_its_route_is_asked_is_counted(
    served: Served, url: str, ann: Person, purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw(url, token=ann.token) as line:
        before = purse.taken
        with monkeypatch.context() as patched:
            patched.setattr(Load, "begin", lambda self: False)
            answer = await line.ask(rpc={"method": "GET /api/users/me"})
            assert answer["rpc"]["data"]["status"] == 503
        assert purse.taken == before + 1
        monkeypatch.setattr(Standing, "is_expired", True)
        for command in ({"rpc": {"method": "GET /api/users/me"}}, {"presence": {"channel": "x"}}):
            assert (await line.ask(**command))["error"]["code"] == 109
        assert purse.taken == before + 3
