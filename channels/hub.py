"""The hub: channel -> followers, in this process. Encode once, write many; no I/O of its own, no await.

Promises
  - A follower gets the publications of a channel in order, each once, from the position at which it was let
    in.
  - A publication that is not the next one is never passed on: a lower one was seen, a higher one means that
    something is missing, and `need` is called, which reads the gap from the log (channels/relay.py).
  - All that arrives for a channel within one turn of the event loop leaves as one frame, the same bytes to
    all.
  - A follower that is behind is not in the way: it is taken out and comes back at its own position.
  - A follower that breaks harms no other: it is dropped, and said so in the log.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from channels import protocol
from domain.streams import Entry

log = logging.getLogger("maycole.hub")

RING_ENTRIES: Final = 512
RING_BYTES: Final = 1024 * 1024
AHEAD_MAX: Final = 1024


class Follower(Protocol):
    """Whom the hub writes to: `write(frame)` takes a finished frame and neither blocks nor raises.

    While `behind` is true nothing is written: the follower is taken out and told up to where it was served.
    """

    behind: bool
    write: Callable[[bytes], None]

    def hear(self, pushed: bytes) -> None:
        """A push on a channel that the hub was told to listen in on; called before it is written."""

    def fell_behind(self, channel: str, offset: int) -> None:
        """It has been written everything up to `offset` and follows no longer."""

    def lost(self, channel: str) -> None:
        """The stream cannot be continued: a new epoch, or a gap that is past its time."""

    def broke(self) -> None:
        """It raised where it must not, and missed something: it starts over, and is `behind` from now on."""


class Feed:
    """One channel as this process knows it: where it stands, its newest publications, who follows.

    `last` is the offset up to which followers have been written to, or will be at the end of this turn. A
    feed with `pins` is in use although nobody may follow it at the moment.
    """

    __slots__ = (
        "ahead",
        "channel",
        "closing",
        "epoch",
        "followers",
        "last",
        "overheard",
        "pending",
        "pins",
        "ring",
        "ring_bytes",
    )

    def __init__(self, channel: str, epoch: str, last: int, *, overheard: bool = False) -> None:
        self.channel = channel
        self.epoch = epoch
        self.last = last
        self.overheard = overheard
        self.ring: deque[bytes] = deque()  # pushes, the newest of which has offset `last`
        self.ring_bytes = 0
        self.ahead: dict[int, bytes] = {}  # arrived before the ones they follow on
        self.pending: list[bytes] = []
        self.followers: dict[Follower, None] = {}
        self.pins = 0
        self.closing: asyncio.TimerHandle | None = None

    @property
    def oldest(self) -> int:
        """The offset of the oldest push in the ring; `last + 1` while it is empty."""
        return self.last - len(self.ring) + 1

    @property
    def idle(self) -> bool:
        return not self.followers and not self.pins

    def recent(self, after: int) -> list[bytes] | None:
        """The pushes after an offset, or None where the ring does not reach back that far."""
        missed = self.last - after
        if missed < 0 or missed > len(self.ring):
            return None
        return list(self.ring)[len(self.ring) - missed :]

    def append(self, pushed: bytes) -> None:
        """The next publication, and those that were waiting for it."""
        waiting: bytes | None = pushed
        while waiting is not None:
            self.last += 1
            self.ring.append(waiting)
            self.ring_bytes += len(waiting)
            self.pending.append(waiting)
            waiting = self.ahead.pop(self.last + 1, None) if self.ahead else None
        while len(self.ring) > RING_ENTRIES or self.ring_bytes > RING_BYTES:
            self.ring_bytes -= len(self.ring.popleft())

    def prepend(self, pushes: Sequence[bytes]) -> None:
        """Publications from right before the ring, ascending; the newest of them, as many as it holds."""
        for pushed in reversed(pushes):
            if len(self.ring) >= RING_ENTRIES or self.ring_bytes + len(pushed) > RING_BYTES:
                return
            self.ring.appendleft(pushed)
            self.ring_bytes += len(pushed)


class Hub:
    """All feeds of this process. `need(channel)` is called when publications are missing.

    Followers also `hear` what is pushed on channels of the kind `overheard`.
    """

    def __init__(self, need: Callable[[str], None], *, overheard: str) -> None:
        self.feeds: dict[str, Feed] = {}
        self._need = need
        self._overheard = f"{overheard}:"
        self._dirty: list[Feed] = []

    def open(self, channel: str, epoch: str, last: int) -> Feed:
        """Begin to know a channel, from its head as it is now."""
        feed = Feed(channel, epoch, last, overheard=channel.startswith(self._overheard))
        self.feeds[channel] = feed
        return feed

    def close(self, channel: str) -> None:
        self.feeds.pop(channel, None)

    def deliver(self, channel: str, epoch: str, offset: int, pushed: bytes) -> None:
        """A publication has arrived, in whatever order and however often."""
        feed = self.feeds.get(channel)
        if feed is None:
            return
        if epoch != feed.epoch:
            self._need(channel)
        elif offset == feed.last + 1:
            self._mark(feed)
            feed.append(pushed)
        elif offset > feed.last:
            if len(feed.ahead) < AHEAD_MAX:
                feed.ahead[offset] = pushed
            self._need(channel)

    def top(self, channel: str, epoch: str, offset: int) -> None:
        """The channel is said to stand here: whatever is missing up to it is wanted."""
        feed = self.feeds.get(channel)
        if feed is not None and (epoch != feed.epoch or offset > feed.last):
            self._need(channel)

    def fill(self, channel: str, entries: Sequence[Entry]) -> bool:
        """Entries read from the log, ascending. False where they do not follow on: the stream is broken."""
        feed = self.feeds.get(channel)
        if feed is None:
            return True
        for entry in entries:
            if entry.offset <= feed.last:
                continue
            if entry.offset != feed.last + 1 or entry.epoch != feed.epoch:
                return False
            self._mark(feed)
            feed.append(protocol.push(channel, protocol.publication(entry)))
        feed.ahead = {offset: pushed for offset, pushed in feed.ahead.items() if offset > feed.last}
        return True

    def restart(self, channel: str, epoch: str, last: int) -> None:
        """The stream cannot be continued: say so to every follower, and stand at its head as it is now."""
        feed = self.feeds.get(channel)
        if feed is None:
            return
        self.flush(feed)
        feed.epoch, feed.last = epoch, last
        feed.ring.clear()
        feed.ring_bytes = 0
        feed.ahead.clear()
        for follower in tuple(feed.followers):
            try:
                follower.lost(channel)
            except Exception:
                self._drop(feed, follower)

    def follow(self, feed: Feed, follower: Follower) -> None:
        """Let a follower in; it stands at `feed.last` from now on. Flush before asking where that is."""
        assert not feed.pending, "flush the feed before letting a follower in"
        feed.followers[follower] = None

    def flush(self, feed: Feed) -> None:
        """Write what has arrived to everyone, now instead of at the end of the turn."""
        if not feed.pending:
            return
        served = feed.last - len(feed.pending)
        pushes, feed.pending = feed.pending, []
        if feed.overheard:
            for follower in tuple(feed.followers):
                self._hear(feed, follower, pushes)
        followers = tuple(feed.followers)
        for frame, count in protocol.frames(pushes):
            for follower in followers:
                try:
                    if not follower.behind:
                        follower.write(frame)
                    elif follower in feed.followers:
                        del feed.followers[follower]
                        follower.fell_behind(feed.channel, served)
                except Exception:
                    self._drop(feed, follower)
            served += count

    def _hear(self, feed: Feed, follower: Follower, pushes: Sequence[bytes]) -> None:
        try:
            for pushed in pushes:
                follower.hear(pushed)
        except Exception:
            self._drop(feed, follower)

    def _drop(self, feed: Feed, follower: Follower) -> None:
        # The edge between followers: one that breaks its promise not to raise costs the others nothing.
        log.exception("a follower of %s failed and is dropped", feed.channel)
        feed.followers.pop(follower, None)
        try:
            follower.broke()
        except Exception:
            log.exception("and could not be told")

    def _mark(self, feed: Feed) -> None:
        if feed.pending:
            return
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush_all)
        self._dirty.append(feed)

    def _flush_all(self) -> None:
        dirty, self._dirty = self._dirty, []
        for feed in dirty:
            self.flush(feed)
