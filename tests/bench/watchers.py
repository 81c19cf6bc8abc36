"""The watchers: a process with clients who follow their team's inventory, and note how old each change is.

How old: from the time in the entry, which is taken right before the statement that is followed by COMMIT, to
the moment at which this client has read it.

argv    host, port, a file with `token team` a line
stdin   {"begin": true}; {"end": true}
stdout  {"there": n}; {"begun": true}; {"seen": {"count", "p50_ms", "p99_ms", "max_ms"}}
"""

import argparse
import asyncio
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from tests.bench.followers import UPGRADE, say
from tests.bench.harness import Broken, spread
from tests.bench.swarm import Client

AT_ONCE: Final = 50


class Watcher(Client):
    """`ages` is shared by all, in seconds."""

    def __init__(self, token: str, team_id: str, upgrade: bytes, ages: list[float]) -> None:
        super().__init__(token, upgrade)
        self._channel = f"inventory:{team_id}"
        self._ages = ages

    def _hello(self) -> bytes:
        follow = msgspec.json.encode({"id": 2, "subscribe": {"channel": self._channel}})
        return super()._hello() + b"\n" + follow

    def _heard(self, message: dict[str, Any]) -> None:
        if message.get("id") == 2 and "subscribe" in message:
            self._joined(self._channel, message["subscribe"])
            self.ready()
            return
        super()._heard(message)
        push = message.get("push")
        if push is not None and push["channel"] == self._channel:
            at = datetime.fromisoformat(push["pub"]["data"]["time"])
            self._ages.append(time.time() - at.timestamp())

    def _answered(self) -> None:
        """`connect` is not all: see above."""


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in {"host": str, "port": int, "who": Path}.items():
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    upgrade = UPGRADE.format(host=given.host, port=given.port).encode()
    ages: list[float] = []
    who = [line.split() for line in given.who.read_text().splitlines()]
    watchers = [Watcher(token, team_id, upgrade, ages) for token, team_id in who]
    gate = asyncio.Semaphore(AT_ONCE)

    async def come(watcher: Watcher) -> None:
        async with gate:
            await watcher.come(given.host, given.port)

    await asyncio.gather(*map(come, watchers))
    say(there=len(watchers))
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    while line := await told.readline():
        command = msgspec.json.decode(line, type=dict[str, Any])
        if "begin" in command:
            ages.clear()
            say(begun=True)
        elif "end" in command:
            if not ages:
                raise Broken("nothing was seen")
            say(seen={"count": len(ages), **spread([1e3 * age for age in ages])})


if __name__ == "__main__":
    uvloop.run(main())
