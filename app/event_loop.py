"""How late the event loop is: measured here and nowhere else, for metrics and for whoever refuses work by it.

The loop sleeps for LOOK_EVERY_S and is woken late where something holds it, or where there is too little CPU.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from domain import measures

LOOK_EVERY_S: Final = 0.1


async def watch(hear: Callable[[float], None] = lambda late_s: None) -> None:
    """Look again and again, until cancelled: count what is found, and tell `hear`, in seconds."""
    while True:
        due = time.perf_counter() + LOOK_EVERY_S
        await asyncio.sleep(LOOK_EVERY_S)
        late_s = max(0.0, time.perf_counter() - due)
        measures.took("event_loop_lag", late_s)
        hear(late_s)
