"""uvicorn's HTTP engine, for responses that do not end by themselves (channels/http_stream.py).

A stream is told when the server stops, at its own moment; and a client that does not take its last word can
be cut off: uvicorn would let it flush for as long as it likes (docs/decisions/0006).
"""

from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from channels import drain

EXTENSION: Final = "maycole.http"


class LiveHttp(HttpToolsProtocol):
    """Puts itself into the scope's extensions. `hang_up` ends the stream that it carries, if it does."""

    hang_up: Callable[[int], None] | None = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.hang_up = None
        extensions: dict[str, Any] = {EXTENSION: self}
        self.scope["extensions"] = extensions

    def abort(self) -> None:
        """Cut the client off, whatever it has not taken yet."""
        self.transport.abort()

    def shutdown(self) -> None:
        super().shutdown()
        if self.hang_up is not None:
            self.loop.call_later(drain.moment(len(self.connections)), self.hang_up, 3001)
