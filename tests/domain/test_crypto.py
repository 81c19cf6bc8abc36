"""Encryption at rest: what is sealed for a place opens there, with a key of ours, unaltered; nowhere else."""

import base64
import os
from collections.abc import Iterator

import pytest

from domain import crypto
from domain.crypto import Unopenable
from tests.ground import ENCRYPTION_KEY

OLD, NEW = b"o" * 32, b"n" * 32
PLACE = "mfa_factors/mfa_1/secret"


@pytest.fixture(autouse=True)
def _keys() -> Iterator[None]:
    crypto.install(NEW, OLD)
    yield
    shared = crypto.parsed(ENCRYPTION_KEY)
    assert shared is not None
    crypto.install(shared)


def test_what_is_sealed_opens_and_looks_different_each_time() -> None:
    one, other = crypto.sealed(PLACE, b"secret"), crypto.sealed(PLACE, b"secret")
    assert one != other
    assert b"secret" not in base64.urlsafe_b64decode(one.partition(".")[2])
    assert crypto.opened(PLACE, one) == crypto.opened(PLACE, other) == b"secret"


def test_it_opens_nowhere_else() -> None:
    with pytest.raises(Unopenable):
        crypto.opened("mfa_factors/mfa_2/secret", crypto.sealed(PLACE, b"secret"))


def test_any_altered_byte_is_noticed() -> None:
    name, _, body = crypto.sealed(PLACE, b"secret").partition(".")
    raw = bytearray(base64.urlsafe_b64decode(body))
    for place in range(len(raw)):
        raw[place] ^= 1
        with pytest.raises(Unopenable):
            crypto.opened(PLACE, f"{name}.{base64.urlsafe_b64encode(raw).decode()}")
        raw[place] ^= 1
    assert crypto.opened(PLACE, f"{name}.{base64.urlsafe_b64encode(raw).decode()}") == b"secret"


@pytest.mark.parametrize("text", ["", ".", "x", "no dot", "00000000.AAAA", "é.é", "." * 50])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(Unopenable):
        crypto.opened(PLACE, text)


def test_the_key_before_still_opens_and_the_new_one_seals() -> None:
    crypto.install(OLD)
    before = crypto.sealed(PLACE, b"secret")
    crypto.install(NEW, OLD)
    assert crypto.opened(PLACE, before) == b"secret"
    assert not crypto.is_current(before)
    assert crypto.is_current(crypto.sealed(PLACE, b"secret"))
    crypto.install(NEW)
    with pytest.raises(Unopenable, match="is not installed"):
        crypto.opened(PLACE, before)


def test_keys_are_written_in_hex_or_base64_of_either_alphabet() -> None:
    key = os.urandom(32)
    spellings = [
        key.hex(),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode().rstrip("="),
    ]
    assert {crypto.parsed(text) for text in spellings} == {key}
    assert [crypto.parsed(text) for text in ("", "x", "é" * 43, key.hex()[2:], key.hex() + "00")] == [
        None
    ] * 5
