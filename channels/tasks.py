"""Tasks that end together."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def until_any(*waits: Coroutine[Any, Any, Any]) -> None:
    """Until one of these ends; the others are given up. Raises what it raised."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
