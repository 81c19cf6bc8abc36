"""CSV that programs and spreadsheets read alike: RFC 4180, UTF-8, and no cell that a spreadsheet carries out.

A text that begins with one of FORMULAS gets an apostrophe in front, which spreadsheets take for "this is
text" (OWASP, CSV injection). Numbers of ours are no text.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

# The full-width forms are read as the others in Japanese and Chinese settings.
FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - see above


def lines(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as lines; None is an empty cell."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def cell(value: Any) -> Any:
    """A value that is safe to open."""
    if isinstance(value, str) and value.lstrip(" ").startswith(FORMULAS):
        return f"'{value}"
    return value
