"""A client that is gone: what it has asked for is stopped, over HTTP (channels/cycle.py) and as an rpc over a
live connection (channels/under_way.py) by the same rule. Who was stopped is counted, by the way they came.
"""

import asyncio
from typing import Any, Final, Literal

from domain import commits, measures

STATUS: Final = 499  # nginx's status for a request whose client did not wait


def stop(work: asyncio.Task[Any]) -> bool:
    """Cancel it, where that undoes something: not once its COMMIT has begun. Whether it was cancelled.

    Nor a second time, whoever else says that the client is gone: that would break off the rollback.
    """
    if work.done() or work.cancelling() or commits.have_begun(work):
        return False
    return work.cancel()


def count(via: Literal["http", "rpc"]) -> None:
    """One was stopped, because its client was gone."""
    measures.count("hang_ups", via)
