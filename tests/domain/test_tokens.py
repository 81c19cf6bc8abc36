"""Access tokens: only what we signed, for this use, and not yet past its time, is believed."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import keys
from domain.auth import tokens
from domain.errors import Unauthenticated

SESSION = "sess_00000000000000000000000000"
CURRENT = "the current secret of these tests, long enough"
PREVIOUS = "the secret before that one, as long as needed"
FOREIGN = "a secret that we have never had, also long enough"


@pytest.fixture(autouse=True)
def _keys(rotate: Callable[..., None]) -> None:
    rotate(CURRENT, PREVIOUS)


def claims(**other: Any) -> dict[str, Any]:
    """What a good token says; None leaves a claim out."""
    issued = int(time.time())
    good = {
        "sub": "user_1",
        "sid": "sess_1",
        "iat": issued,
        "exp": issued + 600,
        "iss": tokens.ISSUER,
        "aud": tokens.AUDIENCE,
    }
    return {name: value for name, value in {**good, **other}.items() if value is not None}


def signed(secret: str = CURRENT, *, typ: str | None = "at+jwt", alg: str = "HS256", **other: Any) -> str:
    return jwt.encode(claims(**other), secret, algorithm=alg, headers={"typ": typ})


def by_hand(header: Any, payload: Any, *, key: bytes | None = None) -> str:
    """What no library would make: unsigned, or signed with a key that is none."""
    said = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(payload).encode())}"
    signature = b"" if key is None else hmac.digest(key, said.encode(), "sha256")
    return f"{said}.{_base64(signature)}"


def _base64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def refusal(token: str) -> str:
    """The code with which a token is refused."""
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify(token)
    return refused.value.problem


def test_a_token_that_we_signed_says_who_and_which_session() -> None:
    found = tokens.verify(tokens.access("user_1", "sess_1"))
    assert (found.sub, found.sid) == ("user_1", "sess_1")
    assert abs(found.exp - time.time() - tokens.ACCESS_LASTS_S) < 60
    assert tokens.verify(signed()).sub == "user_1", "what the tests below spoil is good before they do"


def test_a_token_says_nothing_of_what_its_bearer_may_do() -> None:
    said = jwt.decode(tokens.access("user_1", "sess_1"), options={"verify_signature": False})
    assert set(said) == {"sub", "sid", "iat", "exp", "iss", "aud"}


def test_a_token_signed_with_the_previous_secret_is_good_and_a_new_one_is_signed_with_the_current() -> None:
    assert tokens.verify(signed(PREVIOUS)).sub == "user_1"
    new = tokens.access("user_1", "sess_1")
    assert jwt.decode(new, CURRENT, ["HS256"], audience=tokens.AUDIENCE)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(new, PREVIOUS, ["HS256"], audience=tokens.AUDIENCE)


def test_after_the_next_change_of_the_secret_an_old_token_is_refused(rotate: Callable[..., None]) -> None:
    old = signed(PREVIOUS)
    assert tokens.verify(old)
    rotate(FOREIGN, CURRENT)
    assert refusal(old) == "invalid_token"


@pytest.mark.parametrize("secret", [CURRENT, PREVIOUS])
def test_an_expired_token_is_refused_as_expired_whichever_secret_signed_it(secret: str) -> None:
    past = int(time.time()) - tokens.LEEWAY_S - 1
    assert refusal(signed(secret, exp=past)) == "token_expired"


def test_an_expired_token_of_a_stranger_is_just_invalid() -> None:
    assert refusal(signed(FOREIGN, exp=1)) == "invalid_token"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda: signed(FOREIGN), id="another secret"),
        pytest.param(
            lambda: by_hand({"alg": "HS256", "typ": "at+jwt"}, claims(), key=b""), id="an empty secret"
        ),
        pytest.param(lambda: signed(typ="JWT"), id="another typ"),
        pytest.param(lambda: signed(typ="refresh+jwt"), id="a typ that says refresh"),
        pytest.param(lambda: signed(typ=None), id="no typ"),
        pytest.param(
            lambda: signed(alg="HS512"), id="another algorithm", marks=pytest.mark.filterwarnings("ignore")
        ),
        pytest.param(lambda: signed(iss="elsewhere"), id="another issuer"),
        pytest.param(lambda: signed(aud="elsewhere"), id="another audience"),
        pytest.param(lambda: signed(sid=7), id="a session that is no text"),
        pytest.param(lambda: signed(sid=["sess_1"]), id="a list of sessions"),
        pytest.param(lambda: signed(iat=int(time.time()) + 3600), id="issued in the future"),
        pytest.param(lambda: signed(nbf=int(time.time()) + 3600), id="not valid yet"),
        pytest.param(lambda: signed(exp="soon"), id="an end that is no number"),
        pytest.param(lambda: tokens.refresh(SESSION), id="a refresh token"),
        pytest.param(lambda: tokens.hashed(tokens.refresh(SESSION)), id="the hash of a refresh token"),
        pytest.param(lambda: by_hand({"alg": "none", "typ": "at+jwt"}, claims()), id="alg none"),
        pytest.param(lambda: by_hand({"alg": "None", "typ": "at+jwt"}, claims()), id="alg None"),
        pytest.param(
            lambda: by_hand({"alg": ["HS256"], "typ": "at+jwt"}, claims()), id="a list of algorithms"
        ),
        pytest.param(lambda: by_hand({"typ": "at+jwt"}, claims()), id="no algorithm"),
        pytest.param(lambda: by_hand([], []), id="lists"),
        pytest.param(lambda: by_hand("[" * 5000, claims()), id="a header that is text"),
        pytest.param(lambda: f"{base64.b64encode(b'[' * 5000).decode()}.e30.", id="a deep header"),
        pytest.param(lambda: signed().rpartition(".")[0] + ".", id="no signature"),
        pytest.param(lambda: "", id="nothing"),
        pytest.param(lambda: "..", id="dots"),
        pytest.param(lambda: "\ud800.\ud800.\ud800", id="half a character"),
    ],
)
def test_a_token_is_refused_that_has(token: Callable[[], str]) -> None:
    assert refusal(token()) == "invalid_token"


@pytest.mark.parametrize("claim", ["sub", "sid", "iat", "exp", "iss", "aud"])
def test_a_token_is_refused_that_lacks(claim: str) -> None:
    assert refusal(signed(**{claim: None})) == "invalid_token"


@given(st.integers(0, 2**31), st.integers(1, 255))
def test_a_token_with_one_changed_byte_is_refused(place: int, change: int) -> None:
    header, payload, signature = signed().split(".")
    said = bytearray(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    said[place % len(said)] ^= change
    altered = base64.urlsafe_b64encode(bytes(said)).decode().rstrip("=")
    assert refusal(f"{header}.{altered}.{signature}") == "invalid_token"


@given(st.text())
def test_whatever_is_sent_as_a_token_is_refused_and_breaks_nothing(text: str) -> None:
    assert refusal(text) == "invalid_token"


def test_a_refresh_token_is_never_twice_the_same_and_is_kept_only_as_its_hash() -> None:
    made = {tokens.refresh(SESSION) for _ in range(100)}
    assert len(made) == 100
    assert not any(token in tokens.hashed(token) or tokens.hashed(token) in token for token in made)


def test_what_a_refresh_token_is_exchanged_for_is_always_the_same_and_only_ours_to_tell(
    rotate: Callable[..., None],
) -> None:
    token = tokens.refresh(SESSION)
    chain = [token]
    for _ in range(5):
        chain.append(tokens.following(chain[-1])[0])
    assert len(set(chain)) == 6
    assert {tokens.session_of(each) for each in chain} == {SESSION}
    assert tokens.following(token)[0] == chain[1]
    rotate(PREVIOUS, CURRENT)
    assert tokens.following(token)[1] == chain[1], "what was told with the key before is told again"
    rotate(FOREIGN)
    assert chain[1] not in tokens.following(token)


def test_a_refresh_token_names_its_session_and_an_altered_or_made_up_one_names_none(
    rotate: Callable[..., None],
) -> None:
    token = tokens.refresh(SESSION)
    assert tokens.session_of(token) == SESSION
    for place in range(len(token)):
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert tokens.session_of(altered) is None
    for made_up in ("", "mrt_", token[4:], token + "=", f"mrt_{'a' * 90}", "ä" * 90):
        assert tokens.session_of(made_up) is None
    rotate(FOREIGN)
    assert tokens.session_of(token) is None


def test_no_key_serves_two_purposes(rotate: Callable[..., None]) -> None:
    used = [*keys.signing(), *keys.derived("cursor"), *keys.derived("something else")]
    assert len(set(used)) == len(used) == 6
    before = keys.derived("cursor")
    rotate(FOREIGN)
    assert keys.derived("cursor") not in (before, before[:1])


def test_a_token_that_was_verified_expires_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    token = signed()
    exp = tokens.verify(token).exp
    monkeypatch.setattr("domain.auth.tokens.time.time", lambda: float(exp + tokens.LEEWAY_S - 1))
    assert tokens.verify(token).exp == exp
    monkeypatch.setattr("domain.auth.tokens.time.time", lambda: float(exp + tokens.LEEWAY_S))
    assert refusal(token) == "token_expired"


def test_a_token_that_was_verified_by_a_key_is_nothing_once_that_key_is_gone(
    rotate: Callable[..., None],
) -> None:
    token = signed(PREVIOUS)
    assert tokens.verify(token).sub == "user_1"
    assert tokens.verify(token).sub == "user_1"
    rotate(CURRENT)
    assert refusal(token) == "invalid_token"


def test_one_character_away_from_a_verified_token_is_refused() -> None:
    token = signed()
    assert tokens.verify(token)
    for place in range(0, len(token) - 1, 7):
        other = "A" if token[place] != "A" else "B"
        assert refusal(token[:place] + other + token[place + 1 :]) == "invalid_token"


def test_of_the_verified_tokens_only_the_last_ones_are_remembered_and_no_token_itself() -> None:
    kept = tokens.Verified(2)
    by = keys.signing()
    said = tokens.verify(signed())
    assert kept.get(b"1", by) is None
    kept.put(b"1", said)
    kept.put(b"2", said)
    assert kept.get(b"1", by) is said, "asked for, so it is not the oldest any more"
    kept.put(b"3", said)
    assert (len(kept), kept.get(b"2", by)) == (2, None)
    assert kept.get(b"1", by) is said
    assert kept.get(b"1", (b"another",)) is None
    assert len(kept) == 0
