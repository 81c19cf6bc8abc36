"""The fault proxy does what it says, for each toxic; and nothing when it is told nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.faults.faultproxy import Address, FaultProxy

BODY = bytes(range(256)) * 512
NOT_YET_S = 0.2  # long enough to show that something does not come; nothing depends on it in the good case


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # the proxy resets it
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture(params=["tcp", "unix"])
async def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    """A proxy before a server that says everything back."""
    if request.param == "tcp":
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        address = Address(*server.sockets[0].getsockname()[:2])
    else:
        server = await asyncio.start_unix_server(_echo, tmp_path / "echo")
        address = Address(path=str(tmp_path / "echo"))
    async with server, await FaultProxy.listen(address) as listening:
        yield listening


Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Wire]]


@pytest.fixture
async def connect(proxy: FaultProxy) -> AsyncIterator[Connect]:
    """Connections through the proxy, closed when the test ends."""
    wires: list[Wire] = []

    async def one() -> Wire:
        wires.append(await asyncio.open_connection("127.0.0.1", proxy.port))
        return wires[-1]

    yield one
    for _, writer in wires:
        writer.transport.abort()


async def _ask(wire: Wire, body: bytes = BODY) -> bytes:
    reader, writer = wire
    writer.write(body)
    async with asyncio.timeout(20):
        return await reader.readexactly(len(body))


async def _silent(wire: Wire) -> bool:
    """Whether nothing comes for a while."""
    try:
        return not await asyncio.wait_for(wire[0].read(1), NOT_YET_S)
    except TimeoutError:
        return True


async def test_everything_passes_unchanged_when_nothing_is_wrong(connect: Connect) -> None:
    wire = await connect()
    assert await _ask(wire) == BODY
    wire[1].write_eof()
    assert await asyncio.wait_for(wire[0].read(), 5) == b"", "the end passes too"


@pytest.mark.parametrize("toxic", [{"slice_bytes": 1000}, {"latency_s": 0.01}, {"bytes_per_s": 2_000_000}])
@pytest.mark.parametrize("way", ["to_server", "to_client"])
async def test_bytes_are_held_up_but_neither_changed_nor_lost(
    proxy: FaultProxy, connect: Connect, way: str, toxic: dict[str, int]
) -> None:
    for name, value in toxic.items():
        setattr(getattr(proxy, way), name, value)
    assert await _ask(await connect()) == BODY


async def test_latency_and_bandwidth_take_their_time(proxy: FaultProxy, connect: Connect) -> None:
    # What is waited for, not how long it took: two delays of which the shorter one ends first.
    wire = await connect()
    proxy.to_server.latency_s = 5.0
    wire[1].write(b"late")
    assert await _silent(wire)
    proxy.mend()
    slow = await connect()
    proxy.to_client.bytes_per_s = 10
    slow[1].write(b"x" * 1000)
    assert len(await asyncio.wait_for(slow[0].read(1000), 5)) < 100


@pytest.mark.parametrize("way", ["to_server", "to_client"])
async def test_a_black_hole_holds_everything_and_lets_it_through_when_it_ends(
    proxy: FaultProxy, connect: Connect, way: str
) -> None:
    wire = await connect()
    assert await _ask(wire) == BODY
    getattr(proxy, way).black_hole = True
    wire[1].write(b"are you there")
    later = await connect()
    later[1].write(b"and you")
    assert await _silent(wire)
    assert await _silent(later), "connections that come meanwhile are in it too"
    getattr(proxy, way).black_hole = False
    assert await asyncio.wait_for(wire[0].readexactly(13), 5) == b"are you there"
    assert await asyncio.wait_for(later[0].readexactly(7), 5) == b"and you"


async def test_a_reset_is_a_reset_and_a_cut_lasts(proxy: FaultProxy, connect: Connect) -> None:
    wire = await connect()
    assert await _ask(wire) == BODY
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(wire[0].read(), 5)
    with pytest.raises(OSError):  # noqa: PT011 - reset on reading, or on writing already
        await _ask(await connect())
    proxy.mend()
    assert await _ask(await connect()) == BODY


@pytest.mark.parametrize("way", ["to_server", "to_client"])
async def test_a_limit_ends_the_connection_after_that_much(
    proxy: FaultProxy, connect: Connect, way: str
) -> None:
    getattr(proxy, way).limit_bytes = 1000
    wire = await connect()
    assert await _ask(wire, BODY[:400]) == BODY[:400]
    with pytest.raises((asyncio.IncompleteReadError, OSError)):
        await _ask(wire)


async def test_the_next_backend_is_dialled_where_one_does_not_answer(
    proxy: FaultProxy, connect: Connect
) -> None:
    [there] = proxy.backends
    gone = await asyncio.start_server(_echo, "127.0.0.1", 0)
    nobody = Address(*gone.sockets[0].getsockname()[:2])
    gone.close()
    await gone.wait_closed()
    proxy.backends = [nobody, there]
    assert await _ask(await connect()) == BODY
    proxy.backends = [nobody]
    with pytest.raises((asyncio.IncompleteReadError, OSError)):
        await _ask(await connect())
