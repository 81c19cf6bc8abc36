"""The bus: Redis pub/sub between processes, as a doorbell. A lost link is never hidden.

What is published is a hint: whoever misses it finds the entry in the log. So publishing never waits, never
retries and drops what it cannot send; and the reading side says at once when it is cut off (`on_link`), and
again when every channel is subscribed anew, so that others can look into the log meanwhile
(channels/relay.py).

redis-py's own PubSub reconnects in silence, and its listen() may end up subscribed to nothing: the reader
here is a bare connection that is thrown away at the first error, and asked for signs of life.

What is said on it and under which names is in channels/bus_format.py.
"""

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from channels import json_format
from channels.bus_format import (
    PREFIX,
    RIGHTS,
    STANDS_FOR,
    TOPS,
    Listener,
    announcement,
    asked_as,
    decoded,
    publication,
    publishing,
)
from channels.tasks import until_any
from domain import tracing
from domain.streams import Entry, Head

log = logging.getLogger("maycole.bus")

CONNECT_WITHIN_S: Final = 2.0
CONFIRMED_WITHIN_S: Final = 2.5
SIGN_OF_LIFE_EVERY_S: Final = 0.2
SILENCES_MAX: Final = 3
TRY_AGAIN_AFTER_S: Final = 0.25
OUTBOX_MAX: Final = 10_000
AT_ONCE: Final = 256

GONE = (RedisError, OSError, TimeoutError)
# And by a link of the pool that broke: what uvloop and asyncio then say redis-py passes on as it is.
TORN = (*GONE, RuntimeError, AttributeError)


class Bus:
    """This process's place on the bus.

    `listening` and `speaking` tell how it fares, `dropped` how many announcements were given up.
    """

    def __init__(self, url: str, listener: Listener) -> None:
        options: dict[str, Any] = {
            "protocol": 2,
            "socket_connect_timeout": CONNECT_WITHIN_S,
            "socket_timeout": CONNECT_WITHIN_S,
            "retry": Retry(NoBackoff(), 0),
        }
        self._listener = listener
        self._reading = ConnectionPool.from_url(url, **options)
        self.redis = Redis(
            connection_pool=BlockingConnectionPool.from_url(
                url, max_connections=4, timeout=CONNECT_WITHIN_S, **options
            )
        )
        # Speaking has a connection of its own: questions must not keep it waiting.
        self._speaking = Redis(
            connection_pool=BlockingConnectionPool.from_url(
                url, max_connections=1, timeout=CONNECT_WITHIN_S, **options
            )
        )
        self._wanted: set[bytes] = set()
        self._confirmed: dict[bytes, asyncio.Future[bool]] = {}
        self._asked: Counter[bytes] = Counter()
        self._connection: AbstractConnection | None = None
        self._to_tell: deque[tuple[bytes, ...]] = deque()
        self._telling: asyncio.Task[None] | None = None
        self._outbox: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue(OUTBOX_MAX)
        self.listening = False
        self.speaking = True
        self.dropped = 0
        self._messages = 0

    async def subscribe(self, *channels: str) -> bool:
        """Hear these channels from now on: True when Redis has confirmed it.

        False while the link is down or does not answer: then what is missed until `on_link` is in the log.
        """
        names = [PREFIX + channel.encode() for channel in channels]
        self._wanted.update(names)
        if self._connection is None:
            return False
        self._ask_for([name for name in names if name not in self._confirmed])
        confirmed = [self._confirmed[name] for name in names]
        done, waiting = await asyncio.wait(confirmed, timeout=CONFIRMED_WITHIN_S)
        return not waiting and all(future.result() for future in done)

    def unsubscribe(self, *channels: str) -> None:
        """Hear these no longer, from now on."""
        names = [PREFIX + channel.encode() for channel in channels]
        for name in names:
            self._wanted.discard(name)
            self._confirmed.pop(name, None)
        for command, of in asked_as(names, b"UNSUBSCRIBE", b"PUNSUBSCRIBE"):
            self._tell(command, *of)

    def announce(self, entries: Sequence[Entry]) -> None:
        """Ring for committed entries. Never waits; what does not fit is found in the log."""
        with tracing.span("announce"):
            traced = tracing.traceparent()
            for entry in entries:
                self._post(PREFIX + entry.channel.encode(), announcement(entry, traced))

    def tell(self, channel: str, pushed: bytes) -> None:
        """Pass on a push that is no entry: whoever does not hear it now never will."""
        self._post(PREFIX + channel.encode(), pushed)

    async def deliver(self, channel: str, body: bytes) -> int:
        """Say it now, and return how many processes hear it. Raises what is in GONE."""
        heard: int = await self.redis.publish(PREFIX + channel.encode(), body)
        return heard

    def announce_rights(self, user_ids: Iterable[str]) -> None:
        """Say whose rights may have changed; who does not hear it remembers them for a moment longer."""
        self._post(RIGHTS, msgspec.json.encode(list(user_ids)))

    def announce_heads(self, heads: Sequence[Head]) -> None:
        """Say where these channels stand; whoever is behind looks into the log."""
        self._post(TOPS, msgspec.json.encode(heads))

    async def run_reader(self) -> None:
        """Listen until cancelled, over as many connections as it takes."""
        while True:
            connection: AbstractConnection = self._reading.make_connection()  # type: ignore[no-untyped-call]  # redis-py
            try:
                await _connect(connection)
                await self._listen(connection)
            except GONE as lost:
                log.warning("the link to Redis is down: %s", lost)
            finally:
                self._down()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(TRY_AGAIN_AFTER_S)

    async def run_publisher(self) -> None:
        """Send what is posted, many at a time, until cancelled."""
        while True:
            batch = [await self._outbox.get()]
            while len(batch) < AT_ONCE and not self._outbox.empty():
                batch.append(self._outbox.get_nowait())
            try:
                await self._publish(batch)
            except TORN as lost:
                log.warning("cannot publish to Redis: %s", lost)
                self.dropped += len(batch)
                self.speaking = False
                await self._answers()
                self.speaking = True
            for _ in batch:
                self._outbox.task_done()

    async def _publish(self, batch: Sequence[tuple[bytes, bytes]]) -> None:
        """In one write, past redis-py's pipeline, which takes as long as all else about an announcement."""
        pool = self._speaking.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py
        try:
            await connection.send_packed_command([b"".join(publishing(*each) for each in batch)])
            async with asyncio.timeout(CONNECT_WITHIN_S):  # one for all of them, not one each
                for _ in batch:
                    await connection.read_response(timeout=math.inf)
        except BaseException:
            # What it has still to say would be taken for the answer to something else.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    async def said(self) -> None:
        """Until what was posted is published. No longer than CONNECT_WITHIN_S: it is in the log too."""
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await self._outbox.join()
        except TimeoutError:
            log.warning("the last news is not announced: others find it in the log")

    async def close(self) -> None:
        for redis in (self.redis, self._speaking):
            await redis.aclose()
            await redis.connection_pool.disconnect()

    async def _answers(self) -> None:
        """Wait until Redis answers. What was posted meanwhile is old news by then: it is found in the log."""
        while True:
            await asyncio.sleep(TRY_AGAIN_AFTER_S)
            try:
                await self._speaking.ping()
            except TORN:
                continue  # said once already; health tells that it lasts
            while not self._outbox.empty():
                self._outbox.get_nowait()
                self._outbox.task_done()
                self.dropped += 1
            return

    def _post(self, name: bytes, body: bytes) -> None:
        if self._outbox.full():
            self.dropped += 1
        else:
            self._outbox.put_nowait((name, body))

    async def _listen(self, connection: AbstractConnection) -> None:
        self._connection = connection
        await until_any(self._read(connection), self._watch(connection))

    async def _read(self, connection: AbstractConnection) -> None:
        missing = {TOPS, RIGHTS, *self._wanted}
        # What was asked for in the turn before this one is under way already.
        self._ask_for([name for name in missing if name not in self._confirmed])
        while True:
            message = await connection.read_response(
                timeout=math.inf, disconnect_on_error=False, disable_decoding=True
            )
            self._messages += 1
            self._heard(message, missing)
            if not self.listening and not missing:
                self.listening = True
                self._listener.on_link(True)

    async def _watch(self, connection: AbstractConnection) -> None:
        """Ask for signs of life. Raises TimeoutError after SILENCES_MAX times of silence, one after another.

        They are counted, not measured: where it is this process that was busy, the answers are waiting.
        """
        silences = 0
        while silences < SILENCES_MAX:
            heard = self._messages
            await _send(connection, b"PING")
            await asyncio.sleep(SIGN_OF_LIFE_EVERY_S)
            silences = silences + 1 if self._messages == heard else 0
        raise TimeoutError(f"silent for {SILENCES_MAX * SIGN_OF_LIFE_EVERY_S:.1f} s")

    def _heard(self, message: Any, missing: set[bytes]) -> None:
        kind, name = message[0], message[1]
        if kind == b"message" and name == TOPS:
            for head in decoded(message[2], list[Head]):
                self._listener.on_head(head)
        elif kind == b"message" and name == RIGHTS:
            for user_id in decoded(message[2], list[str]):
                self._listener.on_rights(user_id)
        elif kind == b"message" and message[2].startswith(b"{"):
            self._listener.on_push(name[len(PREFIX) :].decode(), message[2])
        elif kind == b"message":
            channel = name[len(PREFIX) :].decode()
            epoch, offset, pushed, traced = publication(message[2])
            self._listener.on_publication(channel, epoch, offset, pushed)
            if traced:
                tracing.delivered(channel, offset, traced)
        elif kind == b"pmessage":
            of = STANDS_FOR[name]
            # `<epoch> <offset>\n<push>`, as it is heard by who follows that channel.
            self._listener.on_push(
                of[len(PREFIX) :].decode(),
                json_format.retold(
                    of[len(PREFIX) :].decode(), message[2][len(PREFIX) :].decode(), message[3]
                ),
            )
        elif kind in (b"subscribe", b"psubscribe"):
            name = STANDS_FOR.get(name, name)
            missing.discard(name)
            self._asked[name] -= 1
            confirmed = self._confirmed.get(name)
            # One that was asked for again after it was given up is confirmed by the last answer only.
            if confirmed is not None and not confirmed.done() and not self._asked[name]:
                confirmed.set_result(True)
            if not self._asked[name]:
                del self._asked[name]

    def _ask_for(self, names: Sequence[bytes]) -> None:
        for name in names:
            self._confirmed[name] = asyncio.get_running_loop().create_future()
            self._asked[name] += 1
        for start in range(0, len(names), AT_ONCE):
            for command, of in asked_as(names[start : start + AT_ONCE], b"SUBSCRIBE", b"PSUBSCRIBE"):
                self._tell(command, *of)

    def _tell(self, *command: bytes) -> None:
        """A command on the reading connection, after those before it."""
        if self._connection is not None:
            self._to_tell.append(command)
            if self._telling is None:
                self._telling = asyncio.create_task(self._tell_all())

    async def _tell_all(self) -> None:
        while self._to_tell and self._connection is not None:
            try:
                await _send(self._connection, *self._to_tell.popleft())
            except GONE as lost:
                # The reader notices, and starts over.
                log.warning("the link to Redis broke while subscribing: %s", lost)
        self._telling = None

    def _down(self) -> None:
        self._connection = None
        self._to_tell.clear()
        self._asked.clear()
        waiting, self._confirmed = self._confirmed, {}
        for confirmed in waiting.values():
            if not confirmed.done():
                confirmed.set_result(False)
        if self.listening:
            self.listening = False
            self._listener.on_link(False)


async def _connect(connection: AbstractConnection) -> None:
    """Raises what is in GONE, and nothing else, when there is nobody or the link breaks while it is made."""
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
    except (RuntimeError, AttributeError) as closed:  # see _send
        raise ConnectionError("the link was closed while it was made") from closed


async def _send(connection: AbstractConnection, *command: bytes) -> None:
    """One command on the reading connection. Raises what is in GONE, and nothing else, when the link is down.

    redis-py would connect again by itself, subscribed to nothing; and what its closed transport raises under
    uvloop it does not translate.
    """
    if not connection.is_connected:
        raise ConnectionError("the link is closed")
    try:
        await connection.send_command(*command, check_health=False)
    except (RuntimeError, AttributeError) as closed:
        raise ConnectionError("the link was closed while sending") from closed
