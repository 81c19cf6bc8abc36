"""Bugs reported to Sentry, or to what speaks its protocol, where SENTRY_DSN is set.

What is told is written out here, and it is all: the kind of exception and where in our code it was raised,
the route's template or the job's name, and the request id, under which the log has the rest. No message (it
may quote what somebody sent), no variables, no request, no user, no address. A thread of the client's own
sends it; what it cannot send in time is dropped, and no request waits.
"""

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from app.commit import commit
from app.config import Config
from domain import bugs
from domain.bugs import Circumstances

if TYPE_CHECKING:
    from sentry_sdk import Client

FLUSH_WITHIN_S: Final = 2.0
_KEPT: Final = ("event_id", "timestamp", "platform", "level", "release", "environment", "tags", "transaction")
_KEPT_OF_ERROR: Final = ("type", "module", "mechanism")
_KEPT_OF_FRAME: Final = ("filename", "function", "module", "lineno", "in_app", "context_line")


def installed(config: Config) -> "Client | None":
    """Tell of bugs from now on, if somebody is to be told; what does it, to be flushed at the end."""
    if config.front.sentry_dsn is None:
        bugs.install(None)
        return None
    from sentry_sdk import Client  # its import takes a while, which only who uses it should wait
    from sentry_sdk.utils import event_from_exception

    client = Client(
        dsn=config.front.sentry_dsn,
        release=f"maycole@{version('maycole')}+{commit(config.front.commit)}",
        before_send=only_what_is_ours,
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        send_client_reports=False,
        auto_session_tracking=False,
        shutdown_timeout=FLUSH_WITHIN_S,
    )

    def tell(error: BaseException, where: Circumstances) -> None:
        event, hint = event_from_exception(error, client_options=client.options)
        event["transaction"] = where.where
        event["tags"] = {"request_id": where.request_id} if where.request_id else {}
        client.capture_event(event, hint)

    bugs.install(tell)
    return client


async def flushed(client: "Client | None") -> None:
    """Send what is left, for FLUSH_WITHIN_S at most."""
    if client is not None:
        bugs.install(None)
        await asyncio.to_thread(client.close, FLUSH_WITHIN_S)


def only_what_is_ours(event: Any, hint: Any) -> Any:
    """The event, made of what stands above. It is Sentry's own form, hence Any."""
    kept = {name: event[name] for name in _KEPT if name in event}
    errors = [_error(error) for error in event.get("exception", {}).get("values", ())]
    return {**kept, "exception": {"values": errors}}


def _error(error: Any) -> dict[str, Any]:
    frames = (error.get("stacktrace") or {}).get("frames", ())
    said = {name: error[name] for name in _KEPT_OF_ERROR if name in error}
    said["stacktrace"] = {
        "frames": [{name: frame[name] for name in _KEPT_OF_FRAME if name in frame} for frame in frames]
    }
    return said
