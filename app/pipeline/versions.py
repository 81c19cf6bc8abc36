"""Which version of the API a request is for: the `API-Version` it names, else its key's, else the newest."""

from typing import Any, Final

from litestar import Request

from channels.headers import only, sent
from domain.errors import Malformed
from domain.versions import NEWEST, SUPPORTED

HEADER: Final = b"api-version"
PINNED: Final = "api_version_pinned"


async def choose(request: Request[Any, Any, Any]) -> None:
    """A before_request step, for what has been counted. Raises Malformed, which says what there is."""
    asked, state = only(request.scope, HEADER), request.scope["state"]
    if asked is not None:
        state["api_version"] = _known(asked.decode("latin-1").strip())
    elif PINNED in state:
        _known(state[PINNED])


def pinned(scope: Any, version: str | None) -> None:
    """Remember what was pinned where nothing was asked for. Where it is gone, `choose` says so."""
    if version is not None and sent(scope, HEADER) is None:
        scope["state"][PINNED] = version
        if version in SUPPORTED:
            scope["state"]["api_version"] = version


def chosen(scope: Any) -> str:
    """What this request is answered in."""
    version: str = scope.get("state", {}).get("api_version", NEWEST)
    return version


def _known(version: str) -> str:
    if version not in SUPPORTED:
        raise Malformed(
            "There is no such version of the API: `supported` has those there are.",
            code="unknown_api_version",
            supported=list(SUPPORTED),
        )
    return version
