"""A client that is gone: what it has asked for is stopped, over HTTP (channels/cycle.py) and as an rpc over a
live connection (channels/under_way.py) by the same rule. Who was stopped is counted, by the way they came.
"""

import asyncio
from typing import Any, Final, Literal

from domain import commits, measures

STATUS: Final = 499  # nginx's status for a request whose client did not wait


def stop(work: asyncio.Task[Any]) -> bool:
    """Cancel it, unless it is at a COMMIT, whose news comes first. Whether it was cancelled.

    What it has committed before stays.

    Nor a second time, whoever else says that the client is gone: that would break off the rollback.
    """
    if work.done() or work.cancelling() or commits.is_under_way(work):
        return False
    return work.cancel()


def count(via: Literal["http", "rpc"]) -> None:
    """One was stopped, because its client was gone."""
    measures.count("hang_ups", via)
