"""What the process has measured is for those who run it."""

import httpx

from tests.factories import Api


async def test_only_staff_and_listed_addresses_read_metrics(api: Api, http: httpx.AsyncClient) -> None:
    ann = await api.person()
    assert (await http.get("/api/metrics")).status_code == 401
    assert (await ann.get("/metrics")).json()["code"] == "staff_only"
