"""How many connections a user may have on one process."""

import contextlib

from app.config import Config
from tests.nodes import KindsGate, node, until
from tests.raw import raw


async def test_one_connection_too_many_is_closed_for_good_and_makes_room_for_none(
    config: Config, url: str
) -> None:
    async with node(config.redis_url or "", KindsGate()) as here, contextlib.AsyncExitStack() as stack:
        here.live.connections_per_user = 3
        mine = [await stack.enter_async_context(raw(here.url, token="ann")) for _ in range(3)]
        async with raw(here.url) as fourth:
            await fourth.send({"id": 1, "connect": {"token": "ann"}})
            assert await fourth.closed() == 3504
        # Others are not concerned, and whoever leaves makes room.
        await stack.enter_async_context(raw(here.url, token="bob"))
        assert here.live.open_of == {"ann": 3, "bob": 1}
        await mine[0].socket.close()
        await until(lambda: here.live.open_of["ann"] == 2)
        await stack.enter_async_context(raw(here.url, token="ann"))
        assert here.live.open_of["ann"] == 3
    assert not here.live.open_of
    assert not here.live.users
