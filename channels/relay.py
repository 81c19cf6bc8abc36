"""The relay: keeps this process's feeds true to the log. Where bus, hub and log meet.

Promises
  - A gap is read from Postgres once per channel and process, however many clients follow it.
  - While the link to Redis is down, the heads of all followed channels are asked every POLL_S; when it is
    back they are asked once more before anything else is believed. They are also asked every RECHECK_S on a
    link that looks well.
  - A stream that cannot be continued (a new epoch, entries past their time) is said to be so to every
    follower.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from channels import protocol
from channels.bus import Bus, Listener
from channels.hub import Feed, Hub
from channels.protocol import Since
from channels.wire import BUFFER_BYTES_MAX
from domain import db, streams
from domain.streams import Entry, Head

log = logging.getLogger("maycole.relay")

POLL_S: Final = 0.5
RECHECK_S: Final = 10.0
LINGER_S: Final = 10.0
AT_ONCE: Final = 4
CHUNK: Final = 500
RECOVERED_MAX: Final = 300


class Relay:
    """The live channels of this process: `following(channel)` opens one, the rest keeps them true."""

    def __init__(self, redis_url: str) -> None:
        self.hub = Hub(need=self._need, overheard="user")
        self.bus = Bus(
            redis_url,
            Listener(
                on_publication=self.hub.deliver,
                on_head=lambda head: self.hub.top(head.channel, head.epoch, head.offset),
                on_link=self._link,
            ),
        )
        self._opening: dict[str, asyncio.Task[Feed]] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._wanted: set[str] = set()
        self._wake = asyncio.Event()
        self._polling = True
        self.reads = 0

    def announce(self, entries: Sequence[Entry]) -> None:
        """Ring for entries that were just committed: a listener of domain/streams.py."""
        self.bus.announce(entries)

    @asynccontextmanager
    async def following(self, channel: str) -> AsyncIterator[Feed]:
        """The channel's feed, which stays open at least until the block ends.

        Raises what the database raises.
        """
        feed = self.hub.feeds.get(channel)
        if feed is None:
            opening = self._opening.get(channel)
            if opening is None:
                opening = self._opening[channel] = asyncio.create_task(self._open(channel))
            # Shielded: many may wait for the same opening, and one of them going away is no reason to stop.
            feed = await asyncio.shield(opening)
        feed.pins += 1
        try:
            yield feed
        finally:
            feed.pins -= 1
            self.let_go(feed)

    def let_go(self, feed: Feed) -> None:
        """Close the feed in a while if nobody follows it then: someone who reconnects finds the ring still
        there.
        """
        if not feed.followers and not feed.pins:
            asyncio.get_running_loop().call_later(LINGER_S, self._close_if_idle, feed)

    async def after(self, feed: Feed, offset: int, *, limit: int) -> list[bytes] | None:
        """The pushes that follow an offset, ascending, at most `limit`; None where one of them is gone.

        What the ring still has comes from there without waiting; call again until what is returned reaches
        `feed.last`, which may have moved meanwhile.
        """
        recent = feed.recent(offset)
        if recent is not None:
            return recent[:limit]
        if offset > feed.last:
            return None
        entries = await streams.read(feed.channel, offset, limit=limit, until=feed.oldest - 1)
        self.reads += 1
        if [entry.offset for entry in entries] != list(
            range(offset + 1, offset + 1 + len(entries))
        ) or not entries:
            return None
        return [protocol.push(entry.channel, protocol.publication(entry)) for entry in entries]

    async def missed(self, feed: Feed, since: Since) -> list[bytes] | None:
        """All pushes after a position, up to `feed.last` as it is on return.

        None where that cannot be told, or is more than RECOVERED_MAX or what a client's buffer takes.
        """
        if since.offset > feed.last or (since.epoch and since.epoch != feed.epoch):
            # Somebody knows of more than this process does: ask the log.
            await self._catch_up({feed.channel})
        if since.epoch and since.epoch != feed.epoch:
            return None
        pushes: list[bytes] = []
        while (at := since.offset + len(pushes)) != feed.last:
            more = await self.after(feed, at, limit=RECOVERED_MAX + 1)
            if more is None:
                return None
            pushes += more
            if len(pushes) > RECOVERED_MAX or sum(map(len, pushes)) > BUFFER_BYTES_MAX:
                return None
        return pushes

    async def run(self) -> None:
        """Read what is wanted, and look after the heads, until cancelled."""
        loop = asyncio.get_running_loop()
        asked_at = 0.0
        while True:
            wait = POLL_S if self._polling else max(0.0, asked_at + RECHECK_S - loop.time())
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                self._wanted.update(self.hub.feeds)
                asked_at = loop.time()
            self._wake.clear()
            wanted, self._wanted = self._wanted, set()
            try:
                await self._catch_up(wanted)
            except db.UNREACHABLE as error:
                log.warning("cannot read the log: %s", error)
                self._wanted |= wanted
                await asyncio.sleep(POLL_S)
                self._wake.set()

    async def _open(self, channel: str) -> Feed:
        try:
            # In this order: what is published after the head was read is heard, what came before is in the
            # head.
            await self.bus.subscribe(channel)
            head = await streams.open_head(channel)
            return self.hub.open(channel, head.epoch, head.offset)
        except BaseException:
            await self.bus.unsubscribe(channel)
            raise
        finally:
            del self._opening[channel]

    def _close_if_idle(self, feed: Feed) -> None:
        if not feed.followers and not feed.pins and self.hub.feeds.get(feed.channel) is feed:
            self.hub.close(feed.channel)
            self._unsubscribe(feed.channel)

    def _unsubscribe(self, channel: str) -> None:
        task = asyncio.create_task(self.bus.unsubscribe(channel))
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def _need(self, channel: str) -> None:
        self._wanted.add(channel)
        self._wake.set()

    def _link(self, up: bool) -> None:
        self._polling = not up
        self._wanted.update(self.hub.feeds)
        self._wake.set()

    async def _catch_up(self, channels: set[str]) -> None:
        names = [channel for channel in channels if channel in self.hub.feeds]
        if not names:
            return
        heads = await streams.heads(names)
        behind = [head for head in heads if self._is_behind(head)]
        for start in range(0, len(behind), AT_ONCE):
            await asyncio.gather(*(self._fill(head) for head in behind[start : start + AT_ONCE]))

    def _is_behind(self, head: Head) -> bool:
        feed = self.hub.feeds.get(head.channel)
        return feed is not None and (feed.epoch != head.epoch or feed.last < head.offset)

    async def _fill(self, head: Head) -> None:
        """Bring one feed up to a head, in chunks; or say that its stream is broken."""
        while self._is_behind(head):
            feed = self.hub.feeds[head.channel]
            entries: list[Entry] = []
            if feed.epoch == head.epoch:
                entries = await streams.read(feed.channel, feed.last, limit=CHUNK, until=head.offset)
                self.reads += 1
            if not entries or not self.hub.fill(head.channel, entries):
                log.warning("the stream of %s cannot be continued at %d", head.channel, feed.last)
                self.hub.restart(head.channel, head.epoch, head.offset)
