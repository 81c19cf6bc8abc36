"""Strange bytes for as long as one likes, against the server as it is shipped (tests/wellbehaved.py).

Each round draws from a seed of its own, in every dialect, messages and frames; an example that fails is
shrunk. A round passes if another client was served all the while and the server logged nothing.
"""

import asyncio
import random
import time
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import httpx
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisDeprecationWarning

from tests.conformance.harness import Product, Verdict, product
from tests.factories import Api, Person
from tests.strange import DIALECTS, Dialect, conversations, wires
from tests.wellbehaved import Bystander, bystander, converse, wired

MESSAGES_A_ROUND: Final = 200
WIRES_A_ROUND: Final = 8
FAILURES_MAX: Final = 5
EXAMPLE_WITHIN_S: Final = 120.0

Check = Callable[[Any], Coroutine[Any, Any, None]]


async def judge(ground: Path, *, seconds: float) -> Verdict:
    """The rounds that passed; it begins none after so many seconds, nor after FAILURES_MAX failures."""
    verdict = Verdict(0, 0)
    until = time.monotonic() + seconds
    async with (
        product(ground) as served,
        httpx.AsyncClient(base_url=served.url, timeout=10) as http,
    ):
        api = Api(http)
        async with bystander(served.url, api) as other:
            while time.monotonic() < until and verdict.total - verdict.passed < FAILURES_MAX:
                for dialect in DIALECTS:
                    # Access tokens are short; a run is not.
                    eve = await api.person("Eve")
                    for round_ in _rounds(served, dialect, eve, other):
                        await _play(verdict, round_, served)
        verdict.heard(served.process)
    return verdict


def _rounds(
    served: Product, dialect: Dialect, eve: Person, other: Bystander
) -> list[tuple[str, int, st.SearchStrategy[Any], Check]]:
    """What is drawn, how often, and what is done with it."""
    names = [f"{kind}:{eve.personal_team_id}" for kind in ("inventory", "team", "audit", "presence")]
    said = conversations(dialect, [*names, f"user:{eve.id}", f"notifications:{eve.id}"])
    frames = wires(conversations(dialect, names).map(lambda one: one.messages[0][1]))

    async def messages(drawn: Any) -> None:
        await converse(served.url, eve.token, dialect, drawn)
        await other.still_served()

    async def bytes_(drawn: Any) -> None:
        await wired(served.url, dialect, drawn)
        await other.still_served()

    return [
        (f"{dialect.name} messages", MESSAGES_A_ROUND, said, messages),
        (f"{dialect.name} frames", WIRES_A_ROUND, st.lists(frames, min_size=20, max_size=30), bytes_),
    ]


async def _play(
    verdict: Verdict, round_: tuple[str, int, st.SearchStrategy[Any], Check], served: Product
) -> None:
    name, examples, strategy, check = round_
    number = random.getrandbits(32)
    loop = asyncio.get_running_loop()

    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(drawn=strategy)
    def examine(drawn: Any) -> None:
        logged = served.process.errors()
        asyncio.run_coroutine_threadsafe(check(drawn), loop).result(EXAMPLE_WITHIN_S)
        assert served.process.errors() == logged, served.process.errors()[len(logged) :]

    verdict.total += 1
    try:
        with warnings.catch_warnings():
            # Our loop goes on in its own thread, and may throw dice: that is not the strategies' doing.
            warnings.simplefilter("ignore", HypothesisDeprecationWarning)
            await asyncio.to_thread(examine)
        verdict.passed += 1
    except Exception as failure:  # whatever it is, the next round may find something else
        told = "\n    ".join([f"{failure!r}", *getattr(failure, "__notes__", [])])
        verdict.notes.append(f"{name}, seed {number}: {told}")
