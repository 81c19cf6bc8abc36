"""The limiter: how much is left for a key, counted by all processes together, in Redis.

Promises
  - In any `window_s` seconds, by Redis' own clock, no more than `limit` are let in for a key, however many
    processes ask: each that is let in leaves its time in a list, and is forgotten `window_s` later. (GCRA
    with a burst of `limit` lets nearly twice as many into one minute: docs/decisions/0028.)
  - One Lua call a question, and one for all who ask while another one is under way.
  - While Redis is away, or does not answer within WITHIN_S, this process counts by itself, up to its share:
    `limit` divided by the most processes that there were in the last FORGOTTEN_AFTER_S in which Redis was
    heard of. A process says that it is there before it serves (`look`), and each looks every LOOK_EVERY_S:
    only of one that began less than that before Redis went may the others not know. Nobody waits for Redis
    twice: `run` looks when it is back. A share begins at what this process has let in with Redis; Redis does
    not know of what was let in without it.

On Redis: a list `maycole:limit:<key>` of microseconds, which goes when nothing in it counts any more, and a
sorted set `maycole:processes`, process -> the second it was last heard of.
"""

import asyncio
import logging
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.pipeline.policies import Policy
from channels.bus import TORN
from domain import bugs

log = logging.getLogger("maycole.limiter")

WITHIN_S: Final = 0.5  # a process that has much to do answers itself later than Redis does
AT_ONCE_MAX: Final = 128  # questions in one call, which nobody else can interrupt
CONNECTIONS_MAX: Final = 4
LOOK_EVERY_S: Final = 1.0
FORGOTTEN_AFTER_S: Final = 15  # a process that says nothing, and how many there were
PROCESSES_UNKNOWN: Final = 4  # as many there are thought to be, until Redis was heard of once
KEYS_MAX: Final = 50_000  # in memory, of each kind

_PREFIX: Final = "maycole:limit:"
_PROCESSES: Final = "maycole:processes"

# ARGV has for each question how many keys it has and how many it wants; then for each key, limit and window.
# The answer has for each question how many are granted; then for each key, what is left and in how many
# microseconds that grows. Times are written out: as a number of Lua's they would lose their last digits.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stamp = string.format('%.0f', now)
local answer, key, arg = {}, 0, 1
while arg <= #ARGV do
  local keys, granted = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
  local left, resets = {}, {}
  for i = 1, keys do
    local name, window = KEYS[key + i], ARGV[arg + 2 * i + 1] * 1000000
    local oldest = redis.call('LINDEX', name, 0)
    while oldest and oldest + window <= now do
      redis.call('LPOP', name)
      oldest = redis.call('LINDEX', name, 0)
    end
    left[i] = math.max(0, ARGV[arg + 2 * i] - redis.call('LLEN', name))
    resets[i] = (oldest or now) + window - now
    granted = math.min(granted, left[i])
  end
  answer[#answer + 1] = granted
  for i = 1, keys do
    if granted > 0 then
      for _ = 1, granted do redis.call('RPUSH', KEYS[key + i], stamp) end
      redis.call('PEXPIRE', KEYS[key + i], ARGV[arg + 2 * i + 1] * 1000)
    end
    answer[#answer + 1] = left[i] - granted
    answer[#answer + 1] = resets[i]
  end
  key, arg = key + keys, arg + 2 + 2 * keys
end
return answer
"""
_COUNT: Final = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


class Room(NamedTuple):
    """What is left of a policy, and the seconds until that grows."""

    left: int
    grows_in_s: float


class Verdict(NamedTuple):
    """How many are let in of those that were wanted; with the room in each policy after that."""

    granted: int
    rooms: tuple[Room, ...]


Draws = Sequence[tuple[str, Policy]]  # what is taken from: a key, and its policy


class _Question(NamedTuple):
    draws: Draws
    wanted: int
    answer: asyncio.Future[Verdict]


class Limiter:
    """One a process. `is_shared`: Redis counts; `processes`: how many there are, as far as is known."""

    def __init__(self, redis_url: str) -> None:
        options: dict[str, Any] = {
            "protocol": 2,
            "socket_connect_timeout": WITHIN_S,
            "socket_timeout": WITHIN_S,
            "retry": Retry(NoBackoff(), 0),
        }
        self._redis = Redis(
            connection_pool=BlockingConnectionPool.from_url(
                redis_url, max_connections=CONNECTIONS_MAX, timeout=WITHIN_S, **options
            )
        )
        # Both load themselves anew where Redis has forgotten them.
        self._take = self._redis.register_script(_TAKE)
        self._count = self._redis.register_script(_COUNT)
        self._name = secrets.token_urlsafe(12)
        self._local = LocalCounts()
        self._refused: dict[str, float] = {}
        self._waiting: deque[_Question] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._heard: deque[tuple[float, int]] = deque()  # when, how many processes
        self.is_shared = True
        self.processes = PROCESSES_UNKNOWN

    async def take(self, draws: Draws, wanted: int = 1) -> Verdict:
        """Take as many as there is room for in all of `draws`, at most `wanted`. Raises nothing foreseen."""
        if len(draws) == 1 and (refused := self._still_refused(draws[0][0])) is not None:
            return refused
        if not self.is_shared:
            return self._by_itself(draws, wanted)
        question = _Question(draws, wanted, asyncio.get_running_loop().create_future())
        self._waiting.append(question)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await question.answer

    async def run(self) -> None:
        """Look, again and again. Never returns."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Say that this process is there, count the others, see whether Redis is back.

        Raises nothing foreseen. To be awaited before a process serves: from then on the others leave it its
        share.
        """
        try:
            async with asyncio.timeout(2 * WITHIN_S):
                there_are = await self._count([_PROCESSES], [self._name, FORGOTTEN_AFTER_S])
        except TORN as lost:
            self._lost(lost)
            return
        at = time.monotonic()
        if not self.is_shared:
            # Redis may have come back empty: until all have looked, as many are there as there were.
            self._heard = deque([(at, self.processes)])
        self._heard.append((at, there_are))
        while self._heard[0][0] <= at - FORGOTTEN_AFTER_S:
            self._heard.popleft()
        self.processes = max(count for _, count in self._heard)
        self.is_shared = True

    async def close(self) -> None:
        """The others may have this process's share at once."""
        try:
            async with asyncio.timeout(2 * WITHIN_S):
                await self._redis.zrem(_PROCESSES, self._name)
        except TORN as lost:
            log.warning("the other processes find out by themselves that this one is gone: %s", lost)
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    def _still_refused(self, key: str) -> Verdict | None:
        """Only time makes room, so a refusal holds until then: who does not wait costs Redis nothing."""
        until = self._refused.get(key)
        if until is None:
            return None
        if (wait_s := until - time.monotonic()) > 0:
            return Verdict(0, (Room(0, wait_s),))
        del self._refused[key]
        return None

    async def _ask(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE_MAX))]
                try:
                    verdicts = await self._answers(batch)
                except Exception as bug:
                    log.exception("the limiter failed: this process counts these by itself")
                    bugs.report(bug, where="the limiter")
                    verdicts = [self._by_itself(question.draws, question.wanted) for question in batch]
                for question, verdict in zip(batch, verdicts, strict=True):
                    if not question.answer.done():
                        question.answer.set_result(verdict)
        finally:
            self._asking = None

    async def _answers(self, batch: Sequence[_Question]) -> list[Verdict]:
        if self.is_shared:
            keys = [_PREFIX + key for question in batch for key, _ in question.draws]
            try:
                async with asyncio.timeout(2 * WITHIN_S):
                    said = await self._take(keys, list(_asked(batch)))
            except TORN as lost:
                self._lost(lost)
            else:
                now = time.monotonic()
                return [
                    self._read(question, said, now)
                    for question, said in zip(batch, _split(batch, said), strict=True)
                ]
        return [self._by_itself(question.draws, question.wanted) for question in batch]

    def _read(self, question: _Question, said: Sequence[int], now: float) -> Verdict:
        rooms = tuple(Room(left, us / 1e6) for left, us in zip(said[1::2], said[2::2], strict=True))
        if said[0] == 0 and len(rooms) == 1:
            if len(self._refused) >= KEYS_MAX:
                self._refused.clear()
            self._refused[question.draws[0][0]] = now + rooms[0].grows_in_s
        elif said[0]:
            self._local.note(question.draws, said[0], now)
        return Verdict(said[0], rooms)

    def _by_itself(self, draws: Draws, wanted: int) -> Verdict:
        return self._local.take(draws, wanted, self.processes)

    def _lost(self, why: BaseException) -> None:
        if self.is_shared:
            log.warning("limits are counted by this process alone: %s: %s", type(why).__name__, why)
        self.is_shared = False


class LocalCounts:
    """What this process has let in, with Redis or by itself, in its memory: how many, by the second in which
    they are forgotten. Beyond KEYS_MAX the one that rested longest is forgotten.
    """

    def __init__(self) -> None:
        self._counted: OrderedDict[str, dict[int, int]] = OrderedDict()

    def take(self, draws: Draws, wanted: int, processes: int) -> Verdict:
        """As Limiter.take, up to an equal share of each limit, and at least one."""
        now = time.monotonic()
        left = [
            max(0, max(1, policy.limit // processes) - sum(self._of(key, now).values()))
            for key, policy in draws
        ]
        granted = min(wanted, *left)
        if granted:
            self.note(draws, granted, now)
        rooms = (
            Room(room - granted, next(iter(self._of(key, now)), now + policy.window_s) - now)
            for room, (key, policy) in zip(left, draws, strict=True)
        )
        return Verdict(granted, tuple(rooms))

    def note(self, draws: Draws, granted: int, now: float) -> None:
        """So many were let in just now."""
        for key, policy in draws:
            counted = self._of(key, now)
            until = math.ceil(now) + policy.window_s  # a little too late rather than too soon
            counted[until] = counted.get(until, 0) + granted

    def _of(self, key: str, now: float) -> dict[int, int]:
        counted = self._counted.get(key)
        if counted is None:
            counted = self._counted[key] = {}
            if len(self._counted) > KEYS_MAX:
                self._counted.popitem(last=False)
        else:
            self._counted.move_to_end(key)
        while counted and (first := next(iter(counted))) <= now:
            del counted[first]
        return counted


def _asked(batch: Sequence[_Question]) -> Sequence[int]:
    asked: list[int] = []
    for draws, wanted, _ in batch:
        asked += (len(draws), wanted)
        for _, policy in draws:
            asked += (policy.limit, policy.window_s)
    return asked


def _split(batch: Sequence[_Question], said: list[int]) -> list[list[int]]:
    """One answer for each question."""
    answers, at = [], 0
    for question in batch:
        size = 1 + 2 * len(question.draws)
        answers.append(said[at : at + size])
        at += size
    return answers
