"""A subscription: one channel that one client follows, and what a subscribe is answered with."""

from channels.encoding import Encoding
from channels.filters import filtered
from channels.hub import Feed
from channels.protocol import Refused, Since, Subscribe, Subscribed


class Subscription:
    """`served` is where the client stands while it is out of the feed; None while the feed serves it.

    `encoding` is how the client reads the channel when it is let in.
    """

    __slots__ = ("by_server", "encoding", "epoch", "feed", "served")

    def __init__(self, feed: Feed, encoding: Encoding, *, by_server: bool) -> None:
        self.feed = feed
        self.epoch = feed.epoch
        self.encoding = encoding
        self.by_server = by_server
        self.served: int | None = None

    def step_out(self, offset: int) -> None:
        """Out of the feed, which must not close meanwhile."""
        self.feed.pins += 1
        self.served = offset

    def step_in(self) -> None:
        """Served by the feed again, or by nobody any more."""
        if self.served is not None:
            self.served = None
            self.feed.pins -= 1


def reading(encoding: Encoding, feed: Feed, asked: Subscribe) -> Encoding:
    """How a client reads a channel that it asks for: whole, as differences, or what a filter lets through.

    Raises Refused 107 for a filter that is none, or where there is nothing to filter by.
    """
    if asked.tf is not None:
        if not feed.kind.filters:
            raise Refused(107)
        return filtered(encoding.at(feed.epoch), asked.tf)
    is_delta = bool(asked.delta) and feed.kind.delta
    return encoding.deltas(begun=False) if is_delta else encoding.at(feed.epoch)


def subscribed(feed: Feed, since: Since | None, missed: list[bytes] | None, encoding: Encoding) -> Subscribed:
    """Where the client is let in, with what it missed; or that what it missed cannot be told."""
    is_kept = feed.kind.kept != "nothing"
    answer = Subscribed(
        recoverable=is_kept,
        positioned=is_kept,
        epoch=feed.epoch,
        offset=feed.last,
        was_recovering=since is not None,
        delta=encoding.is_delta,
    )
    if since is not None and missed is not None:
        answer.recovered = True
        answer.publications = encoding.publications(feed.channel, missed)
        if feed.kind.kept == "all":
            # SDKs count up from where they were while they deliver.
            answer.offset = since.offset
    return answer
