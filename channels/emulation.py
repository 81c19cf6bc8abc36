"""POST /emulation: what comes up from a client whose transport only goes down (channels/http_stream.py).

The connect result tells such a client its `session`, which nobody can guess, and the `node` that holds it. An
uplink may reach any process; where that is another one, it goes on over the bus.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError
from litestar import Request, post
from litestar.exceptions import HTTPException

from channels import client_pb2 as pb
from channels.budget import too_many
from channels.bus import TORN
from channels.connection import Connection
from channels.endpoint import carry_out
from channels.live import Live
from channels.protocol import FRAME_BYTES_MAX, Uplink
from channels.relay import Relay
from domain.errors import Malformed, NotFound, Unavailable

log = logging.getLogger("maycole.emulation")

INBOX_FRAMES_MAX: Final = 64
INBOX_BYTES_MAX: Final = 4 * FRAME_BYTES_MAX
UPLOAD_BYTES_MAX: Final = 3 * FRAME_BYTES_MAX  # a frame as a JSON string is longer than the frame
UPLOAD_WITHIN_S: Final = 10
# `opt` of the ways in: what is said on them is counted, command by command (channels/budget.py).
LIMITED_BY_COMMAND: Final[dict[str, Any]] = {"limits": ()}
RETRY_AFTER_S: Final = 1
PROTOBUF: Final = "application/octet-stream"


class Inbox:
    """What came up for one connection, carried out frame by frame."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._bytes = 0

    def put(self, frame: bytes) -> None:
        if self._frames.qsize() >= INBOX_FRAMES_MAX or self._bytes + len(frame) > INBOX_BYTES_MAX:
            # It says more than we carry out, or does not read the answers: it may come back.
            self._connection.hang_up(3004)
            return
        self._bytes += len(frame)
        self._frames.put_nowait(frame)

    async def serve(self) -> None:
        """Until the connection is gone."""
        while not self._connection.gone:
            frame = await self._frames.get()
            await carry_out(self._connection, frame)
            self._bytes -= len(frame)


class _Passed(msgspec.Struct):
    """An uplink on its way to the process that holds its session."""

    session: str
    frame: bytes


_passed = msgspec.json.Decoder(_Passed)


class Emulation:
    """The sessions that this process holds, by their secret names; `node` is its own name on the bus."""

    def __init__(self, relay: Relay) -> None:
        self.node = secrets.token_urlsafe(12)
        self._bus = relay.bus
        self._inboxes: dict[str, Inbox] = {}
        relay.on_uplink = self._passed

    async def listen(self) -> None:
        """Hear of uplinks that reach other processes."""
        await self._bus.subscribe(f"node:{self.node}")

    @contextmanager
    def session(self, connection: Connection) -> Iterator[Inbox]:
        """A session for this connection, of which it is told in its connect result."""
        connection.uplink = Uplink(secrets.token_urlsafe(24), self.node)
        inbox = self._inboxes[connection.uplink.session] = Inbox(connection)
        try:
            yield inbox
        finally:
            del self._inboxes[connection.uplink.session]

    async def deliver(self, node: str, session: str, frame: bytes) -> bool:
        """Whether somebody holds that session, as far as can be told. Raises what is in bus.GONE."""
        if node == self.node:
            return self._put(session, frame)
        passed = msgspec.json.encode(_Passed(session, frame))
        return await self._bus.deliver(f"node:{node}", passed) > 0

    def _put(self, session: str, frame: bytes) -> bool:
        inbox = self._inboxes.get(session)
        if inbox is not None:
            inbox.put(frame)
        return inbox is not None

    def _passed(self, body: bytes) -> None:
        try:
            passed = _passed.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            log.warning("cannot read an uplink: %r", body[:100])
            return
        self._put(passed.session, passed.frame)


class _Uploaded(msgspec.Struct):
    """An uplink as JSON; `data` is the frame."""

    node: str
    session: str
    data: str


_uploaded = msgspec.json.Decoder(_Uploaded)


async def frame_of(request: Request[Any, Any, Any]) -> bytes:
    """The body. Raises HTTPException 408 where it takes longer than UPLOAD_WITHIN_S."""
    try:
        async with asyncio.timeout(UPLOAD_WITHIN_S):
            return await request.body()
    except TimeoutError as slow:
        raise HTTPException(
            status_code=408, detail=f"The frame took more than {UPLOAD_WITHIN_S} s."
        ) from slow


async def as_it_is(request: Request[Any, Any, Any]) -> None:
    """Instead of the steps of a REST request: what comes up here is a frame."""


@post(
    "/emulation",
    before_request=as_it_is,
    opt=LIMITED_BY_COMMAND,
    request_max_body_size=UPLOAD_BYTES_MAX,
    include_in_schema=False,
    status_code=204,
)
async def emulation(request: Request[Any, Any, Any]) -> None:
    """A frame for a session.

    Raises NotFound where nobody holds it, RateLimited too often, Unavailable where nobody can tell.
    """
    live: Live = request.app.state.live
    try:
        node, session, frame = _read(await frame_of(request), is_protobuf=is_protobuf(request))
    except (DecodeError, msgspec.DecodeError, UnicodeError, RecursionError) as malformed:
        raise Malformed("This is no frame for a session.", code="malformed_frame") from malformed
    if len(frame) > FRAME_BYTES_MAX:
        raise HTTPException(status_code=413, detail=f"A frame has {FRAME_BYTES_MAX} bytes at most.")
    try:
        found = await live.emulation.deliver(node, session, frame)
    except TORN as lost:
        log.warning("cannot pass an uplink on: %s", lost)
        raise Unavailable("Sessions elsewhere cannot be reached now.", retryAfter=RETRY_AFTER_S) from lost
    if not found:
        client = request.client
        taken = await live.budget.failed(client.host if client else None)
        if not taken.granted:
            raise too_many("public", taken, request.scope["state"])
        raise NotFound.of("session")


def is_protobuf(request: Request[Any, Any, Any]) -> bool:
    """Whether the body is Protobuf: JSON may come under any other name."""
    return request.headers.get("content-type") == PROTOBUF


def _read(body: bytes, *, is_protobuf: bool) -> tuple[str, str, bytes]:
    if is_protobuf:
        message = pb.EmulationRequest.FromString(body)
        return message.node, message.session, message.data
    uploaded = _uploaded.decode(body)
    return uploaded.node, uploaded.session, uploaded.data.encode()
