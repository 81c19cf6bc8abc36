"""The HTTP client of the harness: a connection that is cut, whenever that is, is a lost one."""

from typing import Any

import httpx


class _Transport(httpx.AsyncHTTPTransport):
    """httpx's, which says so as well of a socket that is cut between connecting and its first use.

    anyio asks a transport of uvloop's for its socket then, and what it gets is None.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except AttributeError as cut:
            if cut.name != "getpeername":
                raise
            # Nothing was sent yet.
            raise httpx.ConnectError("cut as soon as it was connected", request=request) from cut


def client(*, base_url: str = "", timeout: float, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    """A client."""
    given: dict[str, Any] = {"base_url": base_url, "timeout": timeout, "headers": headers}
    return httpx.AsyncClient(transport=_Transport(), **given)
