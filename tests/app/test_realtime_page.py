"""docs/realtime.md says what the code says: channels, codes, limits, and the programs that the tests run."""

import re

import pytest

from app.api.asyncapi import messages, who
from channels import connection, protocol, pulse, relay, wire
from domain import channels, streams
from tests.architecture import ROOT

PAGE = (ROOT / "docs" / "realtime.md").read_text()
KEPT = {"all": f"{streams.KEPT_DAYS} days", "newest": "the newest", "nothing": "no"}


def section(title: str) -> str:
    """What stands under a heading."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without their heads."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines]


def test_the_table_of_channels_is_that_of_the_code() -> None:
    said = list(messages())
    expected = []
    for name, kind in channels.KINDS.items():
        types = ", ".join(f"`{one.type}`" for one in said if name in one.kinds)
        follows = who(kind) + ("; joined at connect" if kind.joined_by_server else "")
        news = types or ("who comes and goes" if kind.presence else "nothing yet")
        shown = name if kind.owner == "staff" else f"{name}:<{kind.owner}Id>"
        expected.append([f"`{shown}`", follows, KEPT[kind.kept], news])
    assert rows(section("The channels"))[1:] == expected


@pytest.mark.parametrize("name", ["listen.mjs", "listen.py"])
def test_the_programs_on_the_page_are_the_ones_that_run(name: str) -> None:
    program = (ROOT / "docs" / "examples" / name).read_text()
    assert f"\n{program}```\n" in PAGE


def test_the_page_explains_every_code_in_the_words_of_the_wire() -> None:
    shown = {int(row[0]): row[1] for row in rows(section("Codes")) if row[0].isdigit()}
    errors = {code: message for code, (message, _) in protocol.ERRORS.items()}
    assert shown == {**errors, **protocol.UNSUBSCRIBED, **protocol.CLOSES}


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    limits = section("Limits")
    for says, limit in {
        r"(\d+) KiB; beyond, the connection": protocol.FRAME_BYTES_MAX / 1024,
        r"(\d+) a connection": protocol.CHANNELS_MAX,
        r"(\d+) bytes \(107\)": protocol.CHANNEL_BYTES_MAX,
        r"within (\d+) s of connecting": pulse.HELLO_WITHIN_S,
        r"within (\d+) s \(3012\)": pulse.PONG_WITHIN_S,
        r"a ping every (\d+) s": pulse.PING_EVERY_S,
        r"(\d+) MiB waiting": wire.BUFFER_BYTES_MAX / 1024**2,
        r"(\d+) entries, or": relay.RECOVERED_MAX,
        r"or (\d+) KiB, of the last": connection.ANSWER_BYTES_MAX / 1024,
    }.items():
        assert [float(found) for found in re.findall(says, limits)] == [limit], says


def test_every_link_leads_somewhere() -> None:
    titles = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"(?m)^##+ (.+)$", PAGE)
    }
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert link.removeprefix("#") in titles or (ROOT / "docs" / link).exists(), link
    assert "(docs/realtime.md)" in (ROOT / "README.md").read_text()
