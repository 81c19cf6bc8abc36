"""Errors of the database without the values they are about, which may be somebody's address or secret."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

_ARGUMENT: Final = re.compile(r"(query argument \$\d+): .*", re.DOTALL)


@contextmanager
def without_values() -> Iterator[None]:
    """Let errors pass, without values."""
    try:
        yield
    except Exception as error:
        forget_values(error)
        raise


def forget_values(error: BaseException | None) -> None:
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        # Of a key that exists already it says which, and of an argument that is of another type what it is.
        error.detail = None
        error.args = tuple(_ARGUMENT.sub(r"\1", str(said)) for said in error.args)
