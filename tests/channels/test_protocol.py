"""The protocol as pure functions: whatever bytes come in are commands or end the connection."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import json_format, protobuf_format, protocol
from channels.encoding import WEBSOCKET_JSON, Format, websocket_frame, websocket_payload
from channels.protocol import Command, HangUp
from domain.streams import Entry

ENTRY = Entry("inventory:team_1", "epoch", 17, "evt_1", "inventory.adjusted", '{"a":"é\\n"}')

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
# Things that look like commands, to get past the first check.
almost_commands = st.dictionaries(
    st.sampled_from(["id", *Command.__struct_fields__, "x"]),
    st.integers()
    | json_values
    | st.dictionaries(
        st.sampled_from(["channel", "offset", "epoch", "token", "subs", "limit", "since"]), json_values
    ),
    max_size=4,
)


@given(st.binary(max_size=200) | almost_commands.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_commands_or_end_the_connection(data: bytes) -> None:
    try:
        commands = json_format.commands(data)
    except HangUp:
        return
    assert all(isinstance(command, Command) for command in commands)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"{}\n\n",
        b"{}\n\n{}",
        b"[]",
        b"1",
        b"null",
        b"\xff",
        b'{"id":-1,"connect":{}}',
        b"[" * 5000,
        b'{"id":4294967296,"connect":{}}',
        b'{"id":"1","connect":{}}',
        b'{"id":1,"history":{"limit":9999999999}}',
    ],
)
def test_what_is_no_command_ends_the_connection(data: bytes) -> None:
    with pytest.raises(HangUp):
        json_format.commands(data)


def test_a_frame_holds_several_commands_and_at_most_one_newline_after_them() -> None:
    commands = json_format.commands(b'{"id":1,"connect":{"token":"t","unknown":1}}\n{}\n')
    assert [(command.id, command.request() is None) for command in commands] == [(1, False), (0, True)]


@pytest.mark.parametrize("format_", [json_format, protobuf_format])
def test_a_frame_holds_only_so_many_commands(format_: Format) -> None:
    [pong] = {json_format: [b"{}\n"], protobuf_format: [b"\x00"]}[format_]
    assert len(format_.commands(pong * protocol.COMMANDS_MAX)) == protocol.COMMANDS_MAX
    with pytest.raises(HangUp):
        format_.commands(pong * (protocol.COMMANDS_MAX + 1))


def test_of_several_requests_in_one_command_the_first_in_the_protocols_order_counts() -> None:
    [command] = json_format.commands(b'{"id":1,"history":{"channel":"b"},"subscribe":{"channel":"a"}}')
    request = command.request()
    assert request is not None
    assert request[0] == "subscribe"


def test_an_entry_becomes_a_push_without_its_data_being_encoded_again() -> None:
    pushed = json_format.published(ENTRY.channel, json_format.publication(ENTRY))
    assert ENTRY.data.encode() in pushed
    assert json.loads(pushed) == {
        "push": {"channel": "inventory:team_1", "pub": {"data": {"a": "é\n"}, "offset": 17}}
    }
    assert b"\n" not in pushed, "a raw newline would end the message"
    assert json_format.publication_in(ENTRY.channel, pushed) == json_format.publication(ENTRY)


def test_replies_name_what_they_answer_even_when_there_is_nothing_to_say() -> None:
    assert json_format.reply(6, "unsubscribe") == b'{"id":6,"unsubscribe":{}}'
    assert json.loads(json_format.reply(7, "error", protocol.Error.of(100)))["error"] == {
        "code": 100,
        "message": "internal server error",
        "temporary": True,
    }


def test_what_is_zero_is_left_out_and_what_sdks_index_is_always_there() -> None:
    assert msgspec.json.encode(protocol.Subscribed()) == b"{}"
    assert json.loads(msgspec.json.encode(protocol.Position([], "", 0))) == {
        "publications": [],
        "epoch": "",
        "offset": 0,
    }


@pytest.mark.parametrize("code", protocol.CLOSES)
def test_every_close_code_has_a_reason_that_sdks_can_read(code: int) -> None:
    reason = protocol.CLOSES[code]
    assert 0 < len(reason.encode()) <= 123
    with pytest.raises(json.JSONDecodeError):
        json.loads(reason)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_000])
def test_a_frame_gives_its_payload_back(size: int) -> None:
    framed = websocket_frame(b"x" * size)
    assert websocket_payload(framed) == b"x" * size
    assert len(framed) - size == (2 if size < 126 else 4 if size < 65536 else 10)


@given(st.lists(st.binary(min_size=1, max_size=30_000), max_size=12))
def test_messages_are_packed_in_order_into_frames_of_bounded_size(messages: list[bytes]) -> None:
    messages = [message.replace(b"\n", b" ") for message in messages]
    framed = WEBSOCKET_JSON.frames("channel", messages, None)
    payloads = [websocket_payload(frame) for frame, _ in framed]
    assert [message for payload in payloads for message in payload.split(b"\n")] == messages
    assert sum(count for _, count in framed) == len(messages)
    assert all(len(payload) <= protocol.FRAME_BYTES_MAX for payload in payloads)
