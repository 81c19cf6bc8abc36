"""A channel with entries in it, written as the product writes them."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import msgspec
import pytest

from app.config import Config
from channels.gate import Gate
from domain import channels, db, streams
from domain.streams import Draft
from tests.factories import Api, Person
from tests.nodes import Node, node


@dataclass
class Stream:
    """A channel of Ann's with entries in it."""

    ann: Person
    channel: str
    epoch: str
    top: int

    async def append(self, count: int, *, size: int = 0) -> None:
        """More entries, with `size` bytes of ballast each, announced like any."""
        ballast = "x" * size
        async with db.transaction() as unit:
            data = [f'{{"n":{number},"ballast":"{ballast}"}}' for number in range(count)]
            drafts = [Draft(self.channel, f"evt_{number}", "test", text) for number, text in enumerate(data)]
            entries = await streams.append(unit.connection, drafts)
        streams.announce(entries)
        self.top = entries[-1].offset


@pytest.fixture
async def stream(api: Api) -> Stream:
    ann = await api.person("Ann")
    channel = channels.inventory(ann.personal_team_id)
    head = await streams.open_head(channel)
    stream = Stream(ann, channel, head.epoch, 0)
    await stream.append(10)
    return stream


@pytest.fixture
async def other(config: Config, url: str) -> AsyncIterator[Node]:
    """Another node beside the app under test, with the product's own gate."""
    async with node(config.redis_url or "", Gate()) as started:
        yield started


@pytest.fixture
def lingers(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let those who lose their connection stay for so long; the product's 10 s are long for a test."""

    def lingers(seconds: float) -> None:
        kind = msgspec.structs.replace(channels.KINDS["presence"], lingers_s=seconds)
        monkeypatch.setitem(channels.KINDS, "presence", kind)

    return lingers
