"""What clients of the tests are answered: every code of a problem document, held against docs/errors.md.

tests/error_codes.py reads the codes where they are raised; this sees them where they arrive, however they
were made. Each process of the test run looks at what its own clients were answered.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import httpx

from tests import error_codes

PROBLEM: Final = "application/problem+json"


@contextlib.contextmanager
def noted() -> Iterator[set[str]]:
    """The codes that httpx is answered until the block ends, those in `errors` too."""
    codes: set[str] = set()
    send = httpx.AsyncClient.send

    async def sent(self: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        answer = await send(self, request, **options)
        is_problem = answer.headers.get("content-type", "").startswith(PROBLEM)
        if is_problem and answer.is_stream_consumed and answer.content:  # a HEAD has none
            codes.update(_codes(answer.json()))
        return answer

    httpx.AsyncClient.send = sent  # type: ignore[method-assign]  # of all clients, whoever makes them
    try:
        yield codes
    finally:
        httpx.AsyncClient.send = send  # type: ignore[method-assign]


@contextlib.contextmanager
def all_listed(page: str) -> Iterator[None]:
    """No code is answered until the block ends that this page (docs/errors.md) does not have."""
    with noted() as codes:
        yield
    missing = error_codes.unlisted(codes, page)
    assert not missing, f"answered, and not in docs/errors.md: {missing}"


def _codes(problem: Any) -> Iterator[str]:
    yield problem["code"]
    for field in problem.get("errors", ()):
        yield field["code"]
