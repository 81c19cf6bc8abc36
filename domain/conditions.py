"""Conditions of a statement: only what is asked for stands in it.

`$2 IS NULL OR category = $2` would be the same rows, and one statement for all filters; but Postgres keeps a
plan for a statement, and one that must fit a filter that may be there or not fits neither: measured, a page
of a team's items read all of them.
"""

from typing import Any


class Conditions:
    """`where` is SQL over `args`. Columns and operators are ours; values never stand in it."""

    def __init__(self, condition: str, *values: Any) -> None:
        self.args: list[Any] = []
        self._parts: list[str] = []
        self.must(condition, *values)

    def must(self, condition: str, *values: Any) -> None:
        """`condition` has `{}` where a value belongs, in their order; nothing is asked for None."""
        if None not in values:
            self._parts.append(condition.format(*(self.place(value) for value in values)))

    def place(self, value: Any) -> str:
        """Where a value stands that belongs to another part of the statement, such as its LIMIT."""
        self.args.append(value)
        return f"${len(self.args)}"

    @property
    def where(self) -> str:
        return " AND ".join(self._parts)
