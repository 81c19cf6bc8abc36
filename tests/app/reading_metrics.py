"""Reading metrics: what a scrape says, before and after something was done."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from domain import db
from tests.factories import Api

WITHIN_S: Final = 20
PREFIX: Final = "maycole_"
LOOKED_AT: Final[set[str]] = set()


def not_of_vendors(names: set[str]) -> set[str]:
    """Those that have nothing to do with outgoing calls, which are tested beside them."""
    return {name for name in names if not name.startswith((f"{PREFIX}outgoing_", f"{PREFIX}breaker_"))}


class Read:
    """What one scrape said."""

    def __init__(self, text: str) -> None:
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def of(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels; 0 where there is none."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
        )


class Scraper:
    """Somebody who may read metrics; which ones were looked at is noted in LOOKED_AT."""

    def __init__(self, http: httpx.AsyncClient, token: str | None = None) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def at(self, http: httpx.AsyncClient) -> "Scraper":
        """The same person, who asks another server."""
        return Scraper(http, self._headers["Authorization"].removeprefix("Bearer "))

    async def read(self) -> Read:
        answer = await self._http.get("/api/metrics", headers=self._headers)
        assert answer.status_code == 200, answer.text
        return Read(answer.text)

    async def value(self, name: str, **labels: str) -> float:
        return (await self.values(name, labels))[0]

    async def values(self, name: str, *labels: dict[str, str]) -> list[float]:
        """One for each of those labels, of one scrape."""
        LOOKED_AT.add(PREFIX + name.removesuffix("_count"))
        said = await self.read()
        return [said.of(name, **each) for each in labels]


async def staff_scraper(api: Api) -> Scraper:
    """A member of the platform's staff."""
    person = await api.person("Sam")
    await db.execute("UPDATE users SET is_staff = true WHERE id = $1", person.id)
    return Scraper(api.http, person.token)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it. Raises TimeoutError."""
    async with asyncio.timeout(WITHIN_S):
        while not await condition():
            await asyncio.sleep(0.05)
