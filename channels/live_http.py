"""uvicorn's HTTP engine, and a way to cut off a client that does not read its stream to the end.

uvicorn closes a transport and lets it flush for as long as the client likes (docs/decisions/0006).
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from channels.http_stream import ABORT


class LiveHttp(HttpToolsProtocol):
    """Puts `transport.abort` into the scope's extensions."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {ABORT: self.transport.abort}
        self.scope["extensions"] = extensions
