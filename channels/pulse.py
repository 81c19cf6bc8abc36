"""The pulse: whether a client is there. It says who it is in time, and answers pings in time."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from channels.protocol import HangUp

HELLO_WITHIN_S: Final = 10.0
PING_EVERY_S: Final = 25
PONG_WITHIN_S: Final = 8.0


class Pulse:
    """One timer at a time.

    `ping` sends one, `hang_up` closes, `busy` tells that a command is under way. Who only listens `answers`
    no ping; there it keeps the line open.
    """

    def __init__(
        self,
        ping: Callable[[], None],
        hang_up: Callable[[int], None],
        busy: Callable[[], bool],
        *,
        answers: bool = True,
    ) -> None:
        self._answers = answers
        self._send_ping = ping
        self._hang_up = hang_up
        self._busy = busy
        self._said_hello = False
        self._awaits_pong = False
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(HELLO_WITHIN_S, hang_up, 3502)

    def hello(self) -> None:
        """It has begun to say who it is: what takes long from here on is ours, so it may come back.

        Saying so again, with a token that is refused again, gains no more time.
        """
        if not self._said_hello:
            self._said_hello = True
            self._in(HELLO_WITHIN_S, lambda: self._hang_up(3004))

    def begin(self) -> None:
        """It is connected: ping it, first at a random moment, so that many are not pinged at once."""
        self._in(PING_EVERY_S * random.uniform(0.5, 1), self._ping)  # noqa: S311 - no secret

    def pong(self) -> None:
        """It has answered a ping. Raises HangUp where none was asked."""
        if not self._awaits_pong:
            raise HangUp(3501)
        self._awaits_pong = False
        self._in(PING_EVERY_S, self._ping)

    def ponged(self) -> None:
        """It has answered a ping of the transport's own; there, an answer to none is no mistake."""
        if self._awaits_pong:
            self.pong()

    def stop(self) -> None:
        self._timer.cancel()

    def _ping(self) -> None:
        self._send_ping()
        if not self._answers:
            self._in(PING_EVERY_S, self._ping)
            return
        self._awaits_pong = True
        self._in(PONG_WITHIN_S, self._no_pong)

    def _no_pong(self) -> None:
        if self._busy():
            # The pong waits behind a command that we are still at.
            self._in(PONG_WITHIN_S, self._no_pong)
        else:
            self._hang_up(3012)

    def _in(self, seconds: float, what: Callable[[], None]) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, what)
