"""What mails look like: a text and an HTML template for each kind, in templates/, around one layout.

The subject is a block of the text template. In HTML every value is escaped; a value that a template asks for
and nobody gave is an error.
"""

from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from domain.mail import Letter, Mail

TEMPLATES: Final = Path(__file__).parent / "templates"
SUBJECT_CHARS_MAX: Final = 150


def render(letter: Letter) -> Mail:
    """The mail that this letter is. Raises jinja2.TemplateError where its kind has no templates."""
    text = _environment().get_template(f"{letter.kind}.txt")
    html = _environment().get_template(f"{letter.kind}.html")
    subject = "".join(text.blocks["subject"](text.new_context(dict(letter.context))))
    return Mail(
        id=letter.id,
        at=letter.at,
        to=letter.to,
        kind=letter.kind,
        subject=_one_line(subject),
        text=text.render(letter.context),
        html=html.render(letter.context),
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(enabled_extensions=("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )


def _one_line(text: str) -> str:
    """Without what would end the header: names in a subject are people's own."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:SUBJECT_CHARS_MAX]
