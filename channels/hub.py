"""The hub: channel -> followers, in this process. Encode once, write many; no I/O of its own, no await.

Promises
  - A follower gets the publications of a channel in order, each once, from the position at which it was let
    in.
  - A publication that is not the next one is never passed on: a lower one was seen, a higher one means that
    something is missing, and `need` is called, which reads the gap from the log (channels/relay.py).
  - All that arrives for a channel within one turn of the event loop leaves as one frame, the same bytes to
    all who read the same encoding.
  - A follower that does not keep up is not in the way: it steps out, and comes back at its own position.
  - A follower that breaks harms no other: it is dropped, and said so in the log.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from channels import json_format
from channels.encoding import Encoding
from domain.channels import Kind
from domain.streams import Entry

log = logging.getLogger("maycole.hub")

RING_ENTRIES: Final = 512
RING_BYTES: Final = 1024 * 1024
AHEAD_MAX: Final = 1024


Write = Callable[[bytes], None]


class Follower(Protocol):
    """Whom the hub writes to, through the `write` that it came with: it neither blocks nor raises.

    A follower that does not keep up leaves by itself, even while it is written to; it has been written
    everything up to the feed's `served`.
    """

    def hear(self, pushed: bytes) -> None:
        """A push on a channel that the hub was told to listen in on; called before it is written."""

    def lost(self, channel: str) -> None:
        """The stream cannot be continued: a new epoch, or a gap that is past its time."""

    def broke(self) -> None:
        """It raised where it must not, and missed something: it leaves all feeds and starts over."""


class Feed:
    """One channel as this process knows it: where it stands, its newest publications, who follows.

    `last` is the offset up to which followers have been written to, or will be at the end of this turn;
    `served` the one up to which those who are being written to have been. A feed with `pins` is in use
    although nobody may follow it at the moment.
    """

    __slots__ = (
        "ahead",
        "audiences",
        "channel",
        "closing",
        "epoch",
        "kind",
        "last",
        "overheard",
        "pending",
        "pins",
        "ring",
        "ring_bytes",
        "served",
    )

    def __init__(self, channel: str, kind: Kind, epoch: str, last: int, *, overheard: bool = False) -> None:
        self.channel = channel
        self.kind = kind
        self.epoch = epoch
        self.last = self.served = last
        self.overheard = overheard
        self.ring: deque[bytes] = deque()  # pushes, the newest of which has offset `last`
        self.ring_bytes = 0
        self.ahead: dict[int, bytes] = {}  # arrived before the ones they follow on
        self.pending: list[bytes] = []
        self.audiences: dict[Encoding, dict[Follower, Write]] = {}
        self.pins = 0
        self.closing: asyncio.TimerHandle | None = None

    @property
    def oldest(self) -> int:
        """The offset of the oldest push in the ring; `last + 1` while it is empty."""
        return self.last - len(self.ring) + 1

    @property
    def idle(self) -> bool:
        return not self.audiences and not self.pins

    def followers(self) -> list[Follower]:
        """Everybody who follows, as of now."""
        return [follower for audience in self.audiences.values() for follower in audience]

    def leave(self, follower: Follower) -> None:
        """It follows no longer. Harmless if it did not."""
        for encoding, audience in tuple(self.audiences.items()):
            audience.pop(follower, None)
            if not audience:
                del self.audiences[encoding]

    def recent(self, after: int) -> list[bytes] | None:
        """The pushes after an offset, or None where the ring does not reach back that far."""
        missed = self.last - after
        if missed < 0 or missed > len(self.ring):
            return None
        return list(self.ring)[len(self.ring) - missed :]

    def before_pending(self) -> bytes | None:
        """The push before the pending ones, if the ring has it."""
        reach = len(self.pending) + 1
        return self.ring[-reach] if reach <= len(self.ring) else None

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
        self._overheard = overheard
        self._dirty: list[Feed] = []

    def open(self, channel: str, kind: Kind, epoch: str, last: int) -> Feed:
        """Begin to know a channel, from its head as it is now."""
        feed = Feed(channel, kind, epoch, last, overheard=kind.name == self._overheard)
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
        elif offset > feed.last and feed.kind.kept == "newest":
            self._need(channel)
        elif offset > feed.last:
            if len(feed.ahead) < AHEAD_MAX:
                feed.ahead[offset] = pushed
            self._need(channel)

    def top(self, channel: str, epoch: str, offset: int) -> bool:
        """The channel is said to stand here: whatever is missing up to it is wanted. Whether anything is."""
        feed = self.feeds.get(channel)
        behind = feed is not None and (epoch != feed.epoch or offset > feed.last)
        if behind:
            self._need(channel)
        return behind

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
            feed.append(json_format.published(channel, json_format.publication(entry)))
        feed.ahead = {offset: pushed for offset, pushed in feed.ahead.items() if offset > feed.last}
        return True

    def skip_to(self, channel: str, entry: Entry) -> None:
        """The newest entry of a channel where only that counts: what lies between is of no interest."""
        feed = self.feeds.get(channel)
        if feed is None or entry.offset <= feed.last or entry.epoch != feed.epoch:
            return  # of another epoch is for `restart` to say
        self.flush(feed)
        self._stand_at(feed, entry.epoch, entry.offset - 1)
        self._mark(feed)
        feed.append(json_format.published(channel, json_format.publication(entry)))

    def restart(self, channel: str, epoch: str, last: int) -> None:
        """The stream cannot be continued: say so to every follower, and stand at its head as it is now."""
        feed = self.feeds.get(channel)
        if feed is None:
            return
        self.flush(feed)
        self._stand_at(feed, epoch, last)
        for follower in feed.followers():
            try:
                follower.lost(channel)
            except Exception:
                self._drop(feed, follower)

    def pass_on(self, channel: str, pushed: bytes) -> None:
        """A push that is no entry of the channel's stream (somebody came or went), to all who follow now."""
        feed = self.feeds.get(channel)
        if feed is None:
            return
        self.flush(feed)
        for encoding, audience in tuple(feed.audiences.items()):
            try:
                frame = encoding.passed(channel, pushed)
            except ValueError:
                log.warning("cannot pass on to %s: %r", channel, pushed[:100])
                continue
            if frame:
                self._write(feed, audience, frame)

    def follow(self, feed: Feed, follower: Follower, encoding: Encoding, write: Write) -> None:
        """Let a follower in; it stands at `feed.last` from now on. Flush before asking where that is."""
        assert not feed.pending, "flush the feed before letting a follower in"
        feed.audiences.setdefault(encoding, {})[follower] = write

    def flush(self, feed: Feed) -> None:
        """Write what has arrived to everyone, now instead of at the end of the turn."""
        if not feed.pending:
            return
        before = feed.before_pending()
        pushes, feed.pending = feed.pending, []
        if feed.overheard:
            for follower in feed.followers():
                self._hear(feed, follower, pushes)
        served = feed.served
        for encoding, audience in tuple(feed.audiences.items()):
            feed.served = served
            try:
                framed = encoding.frames(feed.channel, pushes, before)
            except Exception:
                # What cannot be written in this encoding costs those who read it, and nobody else.
                for follower in tuple(audience):
                    self._drop(feed, follower)
                continue
            for frame, count in framed:
                feed.served += count
                self._write(feed, audience, frame)
            if encoding.then is not encoding and encoding in feed.audiences:
                del feed.audiences[encoding]
                feed.audiences.setdefault(encoding.then, {}).update(audience)
        feed.served = served + len(pushes)

    def _write(self, feed: Feed, audience: dict[Follower, Write], frame: bytes) -> None:
        for follower, write in tuple(audience.items()):
            try:
                write(frame)
            except Exception:
                self._drop(feed, follower)

    def _stand_at(self, feed: Feed, epoch: str, last: int) -> None:
        feed.epoch, feed.last, feed.served = epoch, last, last
        feed.ring.clear()
        feed.ring_bytes = 0
        feed.ahead.clear()

    def _hear(self, feed: Feed, follower: Follower, pushes: Sequence[bytes]) -> None:
        try:
            for pushed in pushes:
                follower.hear(pushed)
        except Exception:
            self._drop(feed, follower)

    def _drop(self, feed: Feed, follower: Follower) -> None:
        # The edge between followers: one that breaks its promise not to raise costs the others nothing.
        log.exception("a follower of %s failed and is dropped", feed.channel)
        feed.leave(follower)
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
