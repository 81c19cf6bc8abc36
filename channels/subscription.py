"""A subscription: one channel that one client follows, and what a subscribe is answered with."""

import msgspec

from channels import protocol
from channels.hub import Feed
from channels.protocol import Result, Since


class Subscription:
    """`served` is where the client stands while it is out of the feed; None while the feed serves it."""

    __slots__ = ("by_server", "epoch", "feed", "served")

    def __init__(self, feed: Feed, *, by_server: bool) -> None:
        self.feed = feed
        self.epoch = feed.epoch
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


def result(feed: Feed, since: Since | None, missed: list[bytes] | None) -> Result:
    """Where the client is let in, with what it missed; or that what it missed cannot be told."""
    answer = Result(
        recoverable=True,
        positioned=True,
        epoch=feed.epoch,
        offset=feed.last,
        was_recovering=since is not None,
    )
    if since is not None and missed is not None:
        answer.recovered = True
        # SDKs count up from where they were while they deliver.
        answer.offset = since.offset
        answer.publications = [
            msgspec.Raw(protocol.publication_of(feed.channel, pushed)) for pushed in missed
        ]
    return answer
