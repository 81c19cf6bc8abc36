"""What scenarios are made of: a trade, followers who watch it, and the verdict when all is whole again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from tests.faults.checker import KINDS, Verdict, check
from tests.faults.field import Field
from tests.faults.follower import WITHIN_S, Followers
from tests.faults.history import History, read_books, read_log
from tests.faults.trade import BEGAN_WITH, Account, Shop, Trade

SENTINEL_TRIES: Final = 100
COLUMNS: Final = (
    "scenario",
    "faults injected",
    "entries",
    *KINDS,
    "staleness",
    "and",
)


@dataclass(frozen=True)
class Scale:
    """How much of the full size: `part` 0 is the least that means anything (the short tier), 1 is all of it.

    `seed` is that of everything drawn at random.
    """

    part: float = 0.0
    seed: int = 1

    def of(self, full: int, least: int) -> int:
        return max(least, round(full * self.part))

    def seconds(self, full: float, least: float) -> float:
        return max(least, full * self.part)


@dataclass
class Outcome:
    """What came of a scenario. `broken` are promises that do not show in a history; `notes` are figures."""

    scenario: str
    faults: str
    verdict: Verdict
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.verdict.findings and not self.broken

    def row(self) -> list[str]:
        counts = [str(self.verdict.count(kind)) for kind in KINDS]
        staleness = f"{self.verdict.staleness_s:.2f} s"
        said = "; ".join([*self.notes, *(f"BROKEN: {what}" for what in self.broken)])
        return [self.scenario, self.faults, str(self.verdict.committed), *counts, staleness, said]

    def said(self) -> str:
        return "\n".join([self.verdict.said(), *self.broken])


class Play:
    """One scenario under way: shops, who writes in them, who watches."""

    def __init__(self, field_: Field) -> None:
        self.field = field_
        self.trade = Trade(field_)
        self.followers = Followers()
        self.shops: list[Shop] = []
        self.more_channels: list[str] = []

    async def open(self, shops: int, *, items: int = 2, watchers: int = 1) -> None:
        """Shops of owners of their own, each with that many watchers on its channel."""
        for number in range(shops):
            owner = await Account.new(self.field, f"Owner{number}")
            shop = await Shop.open(owner, items=items)
            self.shops.append(shop)
            for watcher in range(watchers):
                await self.followers.add(owner.follower(f"shop {number} watcher {watcher}"), shop.channel)

    @contextlib.asynccontextmanager
    async def trading(self, *, writers: int, pause_s: float = 0.05) -> AsyncIterator[None]:
        """Writers at work until the block ends."""
        done = asyncio.Event()
        going_on = asyncio.create_task(self.trade.go_on(self.shops, done, writers=writers, pause_s=pause_s))
        try:
            yield
        finally:
            done.set()
            await going_on

    async def changes(self, count: int) -> None:
        """Wait until that many more changes were acknowledged."""
        wanted = self.trade.committed() + count
        async with asyncio.timeout(WITHIN_S * 2):
            while self.trade.committed() < wanted:
                await asyncio.sleep(0.02)

    async def level(self, *, within_s: float = WITHIN_S) -> list[str]:
        """Wait until everybody has seen everything; who has not."""
        return await self.followers.level(await self.tops(), within_s=within_s)

    async def tops(self) -> dict[str, int]:
        """Where the log of each channel stands."""
        async with self.field.database() as connection:
            rows = await connection.fetch(
                "SELECT channel, top FROM stream_heads WHERE channel = ANY($1)", self.channels()
            )
        return {row["channel"]: row["top"] for row in rows}

    def channels(self) -> list[str]:
        return [*(shop.channel for shop in self.shops), *self.more_channels]

    async def finish(self, *, within_s: float = WITHIN_S, url: str | None = None) -> Verdict:
        """Make everything whole, let everybody catch up, and hold what they saw against the log.

        One more change in each shop, twice: what would still come after the last one comes before it.
        """
        await self.field.whole()
        for _ in range(2):
            for shop in self.shops:
                await self._sentinel(shop, url)
            await self.level(within_s=within_s)
        await self.followers.disconnect()
        async with self.field.database() as connection:
            log = await read_log(connection, self.channels())
            books = await read_books(connection, [shop.team_id for shop in self.shops], began=BEGAN_WITH)
        return check(History(log, self.trade.writes, self.followers.histories(), books))

    def comebacks(self) -> int:
        """How often connections of followers ended by themselves."""
        return len(self.followers.closes())

    async def _sentinel(self, shop: Shop, url: str | None) -> None:
        for _ in range(SENTINEL_TRIES):
            write = await self.trade.change(shop, shop.items[0], url=url)
            if write.outcome == "committed":
                return
            await asyncio.sleep(0.1)
        raise TimeoutError("no change gets through although everything is whole")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.followers.disconnect()


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The lines of the table, in Markdown."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *(outcome.row() for outcome in outcomes)]
    return ["| " + " | ".join(row) + " |" for row in rows]
