"""The load client: a process with many bare websocket connections to one channel, which checks every frame.

Checks  each connection gets the offsets that follow on its position, every one, in order, once, with nothing
        but publications of the channel and pings between them. Else it says `broken`, and that is the end.

It looks at its sockets every NAP_S and sleeps in between. A client that waits for each message is woken by
each write, and the writer's CPU pays for that, the more the slower it writes: between machines it does not.

stdin   {"round": {"first", "last", "step"}}  the offsets that are to come; {"report": true}
stdout  {"ready", "offset"}; {"level": n} when every connection has passed each `step`-th offset;
        {"report": {"messages", "frames", "different"}}
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import uvloop

from tests.bench.followers import UPGRADE, Crowd, Follower, NatsFollower, masked, say, stop

CONNECT_AT_ONCE: Final = 50
CONNECT_WITHIN_S: Final = 20.0
NAP_S: Final = 0.002


def _centrifugal(channel: str, token: str) -> bytes:
    connect = msgspec.json.encode({"id": 1, "connect": {"token": token}})
    subscribe = msgspec.json.encode({"id": 2, "subscribe": {"channel": channel}})
    return masked(connect + b"\n" + subscribe, 0x81)


def _nats(channel: str, token: str) -> bytes:
    return masked(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB %b 1\r\nPING\r\n' % channel.encode())


# What is sent after the upgrade, and what reads the answer.
DIALECTS: Final[dict[str, tuple[Callable[[str, str], bytes], type[Follower]]]] = {
    "centrifugal": (_centrifugal, Follower),
    "nats": (_nats, NatsFollower),
    "mute": (lambda channel, token: b"", Follower),
}


async def _connect(crowd: Crowd, host: str, port: int, hello: bytes, kind: type[Follower]) -> list[Follower]:
    loop = asyncio.get_running_loop()
    upgrade = UPGRADE.format(host=host, port=port).encode()
    gate = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def one() -> Follower:
        async with gate, asyncio.timeout(CONNECT_WITHIN_S):
            _, follower = await loop.create_connection(lambda: kind(crowd, upgrade, hello), host, port)
            await follower.subscribed
        return follower

    return await asyncio.gather(*(one() for _ in range(crowd.size)))


def _nap(loop: asyncio.AbstractEventLoop) -> None:
    """Look, sleep, look again: while something is due at once the loop does not wait for its sockets."""
    time.sleep(NAP_S)
    loop.call_soon(_nap, loop)


async def _obey(crowd: Crowd, followers: list[Follower]) -> None:
    """Do what the driver says until it says no more."""
    told = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    loop.call_soon(_nap, loop)
    while line := await told.readline():
        command = msgspec.json.decode(line, type=dict[str, Any])
        if "round" in command:
            crowd.begin(**command["round"])
            for follower in followers:
                follower.begin()
            say(begun=True)
        elif "report" in command:
            wrong = [follower.at for follower in followers if follower.at != crowd.last]
            if wrong:
                stop(f"{len(wrong)} connections are not at {crowd.last} but at {sorted(set(wrong))[:5]}")
            counted = {"messages": crowd.messages, "frames": crowd.frames, "different": crowd.different}
            say(report=counted)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dialect", choices=DIALECTS)
    for name, kind in {"host": str, "port": int, "followers": int, "channel": str, "token": str}.items():
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    crowd = Crowd(given.channel, given.followers)
    hello, follower = DIALECTS[given.dialect]
    followers = await _connect(crowd, given.host, given.port, hello(given.channel, given.token), follower)
    if len({follower.at for follower in followers}) != 1:
        stop("the connections do not begin at one offset")
    say(ready=len(followers), offset=followers[0].at)
    await _obey(crowd, followers)


if __name__ == "__main__":
    uvloop.run(main())
