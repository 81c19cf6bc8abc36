"""docs/errors.md has every code that a client may see, and loses none."""

import ast
import re

import httpx
import pytest

from app.pipeline.errors import STATUS
from domain.errors import DomainError
from tests import answered, error_codes


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


@pytest.mark.parametrize(
    "said",
    [
        'kind("Not right.", code="wrong_code")',
        'super().__init__("Wait.", code="too_many_attempts")',
        'Problem(code=f"{name}_unavailable")',
        'Conflict("It cannot be.", code=given)',
    ],
)
def test_a_code_that_cannot_be_read_where_it_is_raised_is_refused(said: str) -> None:
    [wrong] = filter(None, map(error_codes.unattributed, error_codes.calls_in(ast.parse(said))))
    assert "code" in wrong


@pytest.mark.parametrize("said", ['Conflict("No.", code="a_code")', "Problem(code=Conflict.code)", "call(1)"])
def test_a_code_that_can_be_read_is_not(said: str) -> None:
    assert [*map(error_codes.unattributed, error_codes.calls_in(ast.parse(said)))] == [None]


async def test_a_code_that_is_answered_and_not_on_the_page_is_found() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        problem = {"code": "invalid", "errors": [{"pointer": "/a", "code": "required", "detail": "Say it."}]}
        return httpx.Response(422, json=problem, headers={"Content-Type": answered.PROBLEM})

    page = "".join(error_codes.PAGE.read_text().partition("| `required` |")[::2])
    with pytest.raises(AssertionError, match=r"\['required'\]"), answered.all_listed(page):
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            await client.get("http://server/")


def test_a_code_with_a_name_in_it_is_on_the_page_once_for_all_names() -> None:
    page = error_codes.PAGE.read_text()
    assert error_codes.unlisted({"s3_unavailable", "wrong_code", "rate_limited"}, page) == []
    assert error_codes.unlisted({"wrong_codes"}, page) == ["wrong_codes"]
