"""`make errors`: docs/errors.md, from the code itself.

Codes are read where they are raised: `Conflict("…", code="…")`, the `code` of a class, and the two tables of
what others raise (app/pipeline/errors.py: CODES, channels/refusals.py: REFUSALS). A code that is written so
that this cannot tell whose it is (`kind("…", code="…")`) is refused; tests/answered.py sees what is answered.
Codes are stable: one that the page has and the code has not is refused, too.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

import app.main  # noqa: F401 - with it every class of ours is known
from app.pipeline.errors import CODES, STATUS
from channels.refusals import REFUSALS
from domain.errors import DomainError

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "errors.md"
PACKAGES: Final = ("app", "channels", "domain")
BEGIN: Final = "<!-- made by `make errors` from here on -->"


class Known(NamedTuple):
    """One way in which a code is answered; `says` is what people read, with … for what varies."""

    code: str
    status: int
    kind: str
    says: str


def classes() -> dict[str, type[DomainError]]:
    """Every class of ours by its name."""
    found, left = {}, [DomainError]
    while left:
        one = left.pop()
        found[one.__name__] = one
        left += one.__subclasses__()
    return found


def known() -> list[Known]:
    """Every code of a problem document, by code and then by status; the first words of each.

    Raises ValueError for a code that cannot be read from where it is written.
    """
    found = [*_raised(), *_others()]
    first: dict[tuple[str, int], Known] = {}
    for one in found:
        first.setdefault((one.code, one.status), one)
    return [first[key] for key in sorted(first)]


def fields() -> dict[str, str]:
    """The codes in `errors`, about one field each, and what they say."""
    found: dict[str, str] = {}
    for call in _calls():
        name = _name(call.func)
        if name == "FieldError" or (
            name.startswith("_") and len(call.args) == 3 and _is_pointer(call.args[0])
        ):
            says = _text(call.args[2]) if len(call.args) > 2 else ""
        elif name == "_refusal" and len(call.args) == 2:
            says = _text(call.args[1])  # domain/auth/passwords.py
        else:
            continue
        code = call.args[0 if name == "_refusal" else 1]
        for part in ast.walk(code):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and _is_code(part.value):
                found.setdefault(part.value, says)
    return dict(sorted(found.items()))


def table() -> str:
    """The part of the page that is made."""
    lines = ["", "## Problems", "", "| code | status | class | says |", "|---|---|---|---|"]
    lines += [f"| `{one.code}` | {one.status} | {one.kind} | {one.says} |" for one in known()]
    lines += ["", "## Fields", "", "In `errors`, each with the pointer of its field.", ""]
    lines += ["| code | says, for one |", "|---|---|"]
    lines += [f"| `{code}` | {says} |" for code, says in fields().items()]
    return "\n".join(lines) + "\n"


def listed(page: str) -> set[str]:
    """The codes that a page has."""
    return set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))


def written(page: str) -> str:
    """The page with the table as it is now. Raises ValueError where a code would be lost."""
    made = table()
    if lost := listed(page) - listed(made):
        raise ValueError(f"codes are stable, and these are gone: {', '.join(sorted(lost))}")
    return page.partition(BEGIN)[0] + BEGIN + "\n" + made


def unlisted(codes: Iterable[str], page: str) -> list[str]:
    """Those that a page does not have; its … stand for what varies."""
    patterns = [code.replace("…", "*") for code in listed(page)]
    return sorted(code for code in codes if not any(fnmatchcase(code, pattern) for pattern in patterns))


def unattributed(call: ast.Call) -> str | None:
    """What is wrong with how a code is given here; None if it can be read, or if there is none."""
    given = next((word.value for word in call.keywords if word.arg == "code"), None)
    if given is None:
        return None
    is_literal = isinstance(given, ast.JoinedStr) or (
        isinstance(given, ast.Constant) and isinstance(given.value, str)
    )
    is_ours = _name(call.func) in classes()
    if is_literal == is_ours:
        return None
    what = "is not written out" if is_ours else "cannot be attributed to a class"
    return f"line {call.lineno}: the code of {ast.unparse(call.func)}(…) {what}"


def _raised() -> Iterator[Known]:
    kinds = classes()
    for name, kind in kinds.items():
        if kind is not DomainError:
            summary = (kind.__doc__ or "").split("\n")[0]
            yield Known(kind.code, _status(kind), _family(kind), summary)
            assert name, "a class has a name"
    for call in _calls():
        if wrong := unattributed(call):
            raise ValueError(wrong)
        kind = kinds.get(_name(call.func))
        code = next((word.value for word in call.keywords if word.arg == "code"), None)
        if kind is not None and code is not None:
            yield Known(_text(code), _status(kind), _family(kind), _text(call.args[0]))


def _others() -> Iterator[Known]:
    for status, code in CODES.items():
        yield Known(code, status, "HTTP", "The status says it; `detail` may say more.")
    for code, refusal in REFUSALS.items():
        yield Known(code, refusal.status, "HTTP", refusal.detail)


def _status(kind: type[DomainError]) -> int:
    return next(STATUS[one] for one in kind.__mro__ if one in STATUS)


def _family(kind: type[DomainError]) -> str:
    """Which of the seven it is: the one right below DomainError."""
    return kind.__mro__[kind.__mro__.index(DomainError) - 1].__name__


def _calls() -> Iterator[ast.Call]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "client_pb2.py":
                yield from calls_in(ast.parse(path.read_text()))


def calls_in(tree: ast.Module) -> Iterator[ast.Call]:
    """In the order of their lines; a name that was given to a text shortly before stands for it."""
    texts: dict[str, ast.expr] = {}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call | ast.Assign | ast.AnnAssign)]
    for node in sorted(nodes, key=lambda node: (node.lineno, isinstance(node, ast.Call))):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            [target, *_] = node.targets if isinstance(node, ast.Assign) else [node.target]
            if isinstance(target, ast.Name) and isinstance(node.value, ast.Constant | ast.JoinedStr):
                texts[target.id] = node.value
        else:
            node.args = [texts.get(arg.id, arg) if isinstance(arg, ast.Name) else arg for arg in node.args]
            yield node


def _name(called: ast.expr) -> str:
    if isinstance(called, ast.Attribute):
        return called.attr
    return called.id if isinstance(called, ast.Name) else ""


def _text(said: ast.expr) -> str:
    """A literal, with … for what is filled in; empty for what is not written where it is raised."""
    if isinstance(said, ast.JoinedStr):
        return re.sub("…( ?…)*", "…", "".join(_text(part) or "…" for part in said.values))
    if isinstance(said, ast.Constant) and isinstance(said.value, str):
        return said.value.replace("|", "\\|")
    return ""


def _is_pointer(said: ast.expr) -> bool:
    return _text(said).startswith("/")


def _is_code(text: str) -> bool:
    return re.fullmatch(r"[a-z][a-z0-9_]*", text) is not None


if __name__ == "__main__":
    try:
        PAGE.write_text(written(PAGE.read_text()))
    except ValueError as lost:
        sys.exit(str(lost))
