"""The text of an API key: what a scanner, a typo and a thief can make of it."""

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.auth import key_text

DIGITS = string.ascii_letters + string.digits


def test_a_key_says_its_id_and_has_256_random_bits_and_no_two_are_alike() -> None:
    key_id = ids.new("key")
    texts = {key_text.new(key_id) for _ in range(500)}
    assert len(texts) == 500
    for text in texts:
        assert key_text.is_one(text)
        assert key_text.id_of(text) == key_id
        assert text.startswith(key_text.shown(key_id) + "_")
        live, form, _, secret = text.split("_")
        assert (f"{live}_{form}_", len(secret)) == (key_text.PREFIX, 43 + 6)
        assert set(secret) <= set(DIGITS)
    assert 62**key_text.SECRET_CHARS > 2**256, "the secret has room for all its bits"


def test_what_is_kept_of_a_key_is_the_hash_of_the_whole() -> None:
    text = key_text.new(ids.new("key"))
    assert key_text.hashed(text) == hashlib.sha256(text.encode()).hexdigest()


@given(st.integers(0, 83), st.sampled_from(DIGITS))
def test_one_wrong_character_is_noticed_without_a_look_up(place: int, other: str) -> None:
    text = key_text.new(ids.new("key"))
    wrong = text[:place] + other + text[place + 1 :]
    assert (key_text.id_of(wrong) is None) == (wrong != text)


def test_two_characters_that_changed_places_are_noticed() -> None:
    text = key_text.new(ids.new("key"))
    for place in range(len(key_text.PREFIX), len(text) - 1):
        swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        assert swapped == text or key_text.id_of(swapped) is None


@pytest.mark.parametrize(
    "wrong",
    ["{}\n", " {}", "{}0", "MK{}", "mk_live_", "mk_", "", "mk_test_1", "mk_live_" + "0" * 76, "{}{}", "٣{}"],
)
def test_what_is_no_key_is_none(wrong: str) -> None:
    assert key_text.id_of(wrong.replace("{}", key_text.new(ids.new("key")))) is None


@given(st.text(max_size=200))
def test_whatever_text_it_is_nothing_is_raised(text: str) -> None:
    assert key_text.id_of(text) is None
    assert key_text.id_of(key_text.PREFIX + text) is None
