"""The relay: keeps this process's feeds true to the log. Where bus, hub and log meet.

Promises
  - A gap is read from Postgres once per channel and process, however many clients follow it; what those who
    come back have missed is read once per channel as well, into the feed's ring.
  - While the link to Redis is down, the heads of all followed channels are asked every POLL_S; when it is
    back they are asked once more before anything else is believed. They are also asked every RECHECK_S on a
    link that looks well.
  - A stream that cannot be continued (a new epoch, entries past their time) is said to be so to every
    follower.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from channels import arrivals, json_format
from channels.activity import Activity
from channels.bus import Bus
from channels.bus_format import Listener
from channels.hub import RING_ENTRIES, Feed, Hub
from channels.presence import Presence
from channels.protocol import Since
from channels.wire import HIGH_WATER_BYTES
from domain import db, memory, streams
from domain.channels import Kind
from domain.coalesce import Coalesced
from domain.streams import Entry, Head

log = logging.getLogger("maycole.relay")

POLL_S: Final = 0.5
RECHECK_S: Final = 10.0
LINGER_S: Final = 10.0
UNSUBSCRIBE_AFTER_S: Final = 0.1
AT_ONCE: Final = 4
CHUNK: Final = 500
RECOVERED_MAX: Final = 300
# What a filter leaves out is read and decoded all the same: so far back at most, for so many at once.
SIFTED_MAX: Final = 20_000
SIFTED_AT_ONCE: Final = 4


class Relay:
    """The live channels of this process: `following(channel, …)` opens some, the rest keeps them true.

    `kind_of` tells what holds for a channel; it is asked for channels only that the gate let pass.
    """

    def __init__(self, redis_url: str, kind_of: Callable[[str], Kind]) -> None:
        self.hub = Hub(need=self._need, overheard="user")
        self.on_uplink: Callable[[bytes], None] = lambda body: None
        self._kind_of = kind_of
        self.bus = Bus(
            redis_url,
            Listener(
                on_publication=arrivals.timed(self.hub.deliver),
                on_push=self._pushed,
                on_head=partial(arrivals.head, self.hub),
                on_link=self._link,
                on_rights=memory.forget,
            ),
        )
        self.presence, self.activity = Presence(self.bus), Activity(self.bus)
        self.sifting = asyncio.Semaphore(SIFTED_AT_ONCE)
        self._opening = Coalesced(self._open)
        self._heads = Coalesced(_heads_of)
        self._deepening: dict[Feed, asyncio.Task[None]] = {}
        self._being_opened: Counter[str] = Counter()
        self._unwanted: set[str] = set()
        self._unsubscribing: asyncio.TimerHandle | None = None
        self._wanted: set[str] = set()
        self._wake = asyncio.Event()
        self._catching_up = asyncio.Lock()
        self._polling = True

    def announce(self, entries: Sequence[Entry]) -> None:
        """Ring for entries that were just committed: a listener of domain/streams.py."""
        self.bus.announce(entries)
        if user_ids := memory.concerned(entries):
            self.bus.announce_rights(user_ids)

    @asynccontextmanager
    async def following(self, *channels: str) -> AsyncIterator[list[Feed]]:
        """The channels' feeds, which stay open at least until the block ends.

        Raises what the database raises.
        """
        wanted = dict.fromkeys(channels)
        opening = {name: self._opening.ask(name) for name in wanted if name not in self.hub.feeds}
        # At once: one that lingers must not close while the others are opened.
        feeds = {name: self._pinned(self.hub.feeds[name]) for name in wanted if name not in opening}
        try:
            for name, opened in opening.items():
                feed = await opened
                while feed is None or self.hub.feeds.get(name) is not feed:
                    feed = await self._opening.ask(name)  # closed again by now
                feeds[name] = self._pinned(feed)
            yield [feeds[name] for name in channels]
        finally:
            for feed in feeds.values():
                feed.pins -= 1
                self.let_go(feed)

    def _pinned(self, feed: Feed) -> Feed:
        feed.pins += 1
        return feed

    def let_go(self, feed: Feed) -> None:
        """Close the feed in a while if nobody uses it then: who reconnects finds the ring still there."""
        if feed.closing is not None:
            feed.closing.cancel()
            feed.closing = None
        if feed.idle:
            feed.closing = asyncio.get_running_loop().call_later(LINGER_S, self._close_if_idle, feed)

    async def prepare(self, feed: Feed, since: Since) -> None:
        """Bring into the feed's ring what it takes to answer `recent`, as far as it holds."""
        if feed.kind.kept == "nothing":
            return
        if since.offset > feed.last or (since.epoch and since.epoch != feed.epoch):
            # Somebody knows of more than this process does, or says so: ask the log.
            head = await self._heads.ask(feed.channel)
            if head is not None and self._is_behind(head):
                await self._catch_up({feed.channel})
        wanted = feed.last - 1 if feed.kind.kept == "newest" else since.offset
        if feed.recent(wanted) is None and 0 < feed.last - wanted <= RECOVERED_MAX:
            await self._deepen(feed)

    def recent(self, feed: Feed, since: Since, *, bytes_max: int) -> list[bytes] | None:
        """All pushes after a position, up to `feed.last`; where only the newest counts, that one.

        None where that cannot be told, or is more than RECOVERED_MAX or `bytes_max`.
        """
        if feed.kind.kept == "nothing":
            return None
        if feed.kind.kept == "newest":
            is_level = (since.epoch, since.offset) == (feed.epoch, feed.last)
            return [] if is_level else (feed.recent(feed.last - 1) if feed.last else None)
        if since.epoch and since.epoch != feed.epoch:
            return None
        pushes = feed.recent(since.offset)
        if (
            pushes is None
            or len(pushes) > (feed.kind.size or RECOVERED_MAX)
            or sum(map(len, pushes)) > bytes_max
        ):
            return None
        return pushes

    async def reaches(self, feed: Feed, since: Since) -> bool:
        """Whether all after a position can still be had, and is no more than SIFTED_MAX; for `after`."""
        if feed.kind.kept != "all" or (since.epoch and since.epoch != feed.epoch):
            return False
        if feed.last - since.offset > SIFTED_MAX:
            return False
        return await self.after(feed, since.offset, limit=1) is not None

    async def after(self, feed: Feed, offset: int, *, limit: int) -> list[bytes] | None:
        """At most `limit` pushes that follow an offset, ascending; None where the next one is gone.

        What the ring has comes from there; what lies before it is read for this one caller, who is behind.
        """
        if feed.kind.kept == "newest":
            return feed.recent(feed.last - 1)
        recent = feed.recent(offset)
        if recent is not None:
            return recent[:limit]
        if offset > feed.last:
            return None
        epoch, size = feed.epoch, max(1, feed.ring_bytes // max(1, len(feed.ring)))
        # No more than a client takes at once: the rest would be read again.
        limit = max(1, min(limit, HIGH_WATER_BYTES // size))
        entries = await streams.read(feed.channel, offset, limit=limit, until=feed.oldest - 1)
        if any(entry.epoch != epoch for entry in entries):
            return None
        return _dense(entries, offset + 1) or None

    async def run(self) -> None:
        """Read what is wanted, and look after the heads, until cancelled."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        while True:
            due = asked_at + (POLL_S if self._polling else RECHECK_S)
            try:
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            except TimeoutError:
                pass  # nobody woke us: it is time to look by ourselves
            if loop.time() >= due:
                # Also when somebody wakes us all the time.
                self._wanted.update(self.hub.feeds)
                asked_at = loop.time()
            self._wake.clear()
            wanted, self._wanted = self._wanted, set()
            try:
                await self._catch_up(wanted)
            except db.UNREACHABLE as error:
                log.warning("cannot read the log: %s: %s", type(error).__name__, error)
                self._need(*wanted)
                await asyncio.sleep(POLL_S)

    async def _open(self, channels: Collection[str]) -> dict[str, Feed]:
        """Feeds for these channels, with one word to Redis and one query however many there are."""
        self._being_opened.update(channels)
        kinds = {channel: self._kind_of(channel) for channel in channels}
        kept = [channel for channel, kind in kinds.items() if kind.kept != "nothing"]
        try:
            # In this order: what comes after the heads were read is heard, what came before is in them.
            heard = await self.bus.subscribe(*channels)
            heads = {head.channel: head for head in await streams.open_heads(kept)}
        except BaseException:
            self._unwanted.update(channels)
            self._unsubscribe_soon()
            raise
        finally:
            self._being_opened.subtract(channels)
            self._being_opened = +self._being_opened
        feeds: dict[str, Feed] = {}
        for channel, kind in kinds.items():
            head = heads.get(channel) or Head(channel, "", 0)
            known = self.hub.feeds.get(channel)
            feeds[channel] = known or self.hub.open(channel, kind, head.epoch, head.offset)
            # Whoever asked may be gone by now.
            self.let_go(feeds[channel])
        if not heard:
            self._need(*channels)
        return feeds

    def _close_if_idle(self, feed: Feed) -> None:
        feed.closing = None
        if feed.idle and self.hub.feeds.get(feed.channel) is feed:
            self.hub.close(feed.channel)
            self._unwanted.add(feed.channel)
            self._unsubscribe_soon()

    def _unsubscribe_soon(self) -> None:
        """Many that close in one breath are one word to Redis."""
        if self._unsubscribing is None:
            self._unsubscribing = asyncio.get_running_loop().call_later(
                UNSUBSCRIBE_AFTER_S, self._unsubscribe
            )

    def _unsubscribe(self) -> None:
        self._unsubscribing = None
        unwanted, self._unwanted = self._unwanted, set()
        # What was opened again meanwhile, or is being opened, is wanted after all.
        self.bus.unsubscribe(*(unwanted - self.hub.feeds.keys() - self._being_opened.keys()))

    def _need(self, *channels: str) -> None:
        self._wanted.update(channels)
        self._wake.set()

    def _pushed(self, channel: str, body: bytes) -> None:
        if channel.startswith("node:"):
            self.on_uplink(body)
        elif json_format.is_push(channel, body):
            self.hub.pass_on(channel, body)
        else:
            log.warning("cannot read what is pushed on %s: %r", channel, body[:100])

    def _link(self, up: bool) -> None:
        self._polling = not up
        self._need(*self.hub.feeds)
        if up:
            self.presence.refresh()
        for feed in list(self.hub.feeds.values()) if up else ():
            if feed.kind.kept == "nothing":
                # What was missed is nowhere to be found: whoever follows is to look again.
                self.hub.restart(feed.channel, "", 0)

    async def _deepen(self, feed: Feed) -> None:
        """Read what the ring has not got, as far as it holds, once for everyone who waits for it."""
        task = self._deepening.get(feed)
        if task is None:
            task = self._deepening[feed] = asyncio.create_task(self._read_back(feed))
            task.add_done_callback(lambda _: self._deepening.pop(feed))
        await asyncio.shield(task)

    async def _read_back(self, feed: Feed) -> None:
        room = RING_ENTRIES - len(feed.ring)
        epoch, oldest = feed.epoch, feed.oldest
        if room == 0:
            return
        entries = await streams.read_back(feed.channel, oldest, limit=room)
        if (feed.epoch, feed.oldest) != (epoch, oldest):
            return  # it has moved on meanwhile; whoever still misses something asks again
        entries = [entry for entry in entries if entry.epoch == epoch]
        unbroken = [entry for nth, entry in enumerate(entries, 1) if entry.offset == oldest - nth]
        feed.prepend(_dense(unbroken[::-1], oldest - len(unbroken)))

    async def _catch_up(self, channels: set[str]) -> None:
        """Bring these feeds up to their heads: one query for the heads, one read for each that is behind."""
        async with self._catching_up:
            names = [channel for channel in channels if self._is_kept(channel)]
            heads = await streams.heads(names) if names else []
            behind = [head for head in heads if self._is_behind(head)]
            for start in range(0, len(behind), AT_ONCE):
                reads = (self._fill(head) for head in behind[start : start + AT_ONCE])
                for outcome in await asyncio.gather(*reads, return_exceptions=True):
                    if outcome is not None:
                        raise outcome

    def _is_kept(self, channel: str) -> bool:
        feed = self.hub.feeds.get(channel)
        return feed is not None and feed.kind.kept != "nothing"

    def _is_behind(self, head: Head) -> bool:
        feed = self.hub.feeds.get(head.channel)
        return feed is not None and (feed.epoch != head.epoch or feed.last < head.offset)

    async def _fill(self, head: Head) -> None:
        """Bring one feed up to a head, in chunks; or say that its stream is broken."""
        while self._is_behind(head):
            feed = self.hub.feeds[head.channel]
            entries: list[Entry] = []
            if feed.kind.kept == "newest":
                await self._skip_ahead(feed, head)
                return
            if feed.epoch == head.epoch:
                entries = await streams.read(feed.channel, feed.last, limit=CHUNK, until=head.offset)
            if (not entries or not self.hub.fill(head.channel, entries)) and self._is_behind(head):
                log.warning("the stream of %s cannot be continued at %d", head.channel, feed.last)
                self.hub.restart(head.channel, head.epoch, head.offset)

    async def _skip_ahead(self, feed: Feed, head: Head) -> None:
        if feed.epoch != head.epoch:
            self.hub.restart(feed.channel, head.epoch, head.offset)
        for entry in await streams.read_back(feed.channel, None, limit=1):
            self.hub.skip_to(feed.channel, entry)


async def _heads_of(channels: Collection[str]) -> dict[str, Head]:
    return {head.channel: head for head in await streams.heads(list(channels))}


def _dense(entries: Sequence[Entry], first: int) -> list[bytes]:
    """The entries as pushes, if they are first, first + 1, …; else none."""
    if [entry.offset for entry in entries] != list(range(first, first + len(entries))):
        return []
    return [json_format.published(entry.channel, json_format.publication(entry)) for entry in entries]
