"""docs/errors.md has every code that a client may see, and loses none."""

import re

import pytest

from app.pipeline.errors import STATUS
from domain.errors import DomainError
from tests import error_codes


def test_the_page_is_what_the_code_says() -> None:
    page = error_codes.PAGE.read_text()
    assert error_codes.written(page) == page, "run `make errors`"


def test_a_code_is_neither_dropped_nor_renamed() -> None:
    page = error_codes.PAGE.read_text()
    assert "insufficient_stock" in error_codes.listed(page)
    with pytest.raises(ValueError, match="a_code_of_old"):
        error_codes.written(page + "| `a_code_of_old` | 409 | Conflict | It was said once. |\n")


def test_every_class_has_a_status_and_every_code_is_one() -> None:
    below = [kind for kind in error_codes.classes().values() if kind is not DomainError]
    assert len(below) > len(STATUS) / 2
    for kind in below:
        assert any(one in STATUS for one in kind.__mro__), kind
    for one in error_codes.known():
        assert re.fullmatch(r"[a-z0-9_…]+", one.code), one
        assert 400 <= one.status <= 504
        assert one.says, f"{one.code} says nothing where it is raised"


def test_seven_classes_are_all_there_are() -> None:
    families = {one.kind for one in error_codes.known()} - {"HTTP"}
    assert families == {
        "Invalid", "Unauthenticated", "Forbidden", "NotFound", "Conflict", "RateLimited", "Unavailable",
    }  # fmt: skip
