"""ID tokens: one that is right is believed, and every one that is forged, stolen or stale is not."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.app.company import problem
from tests.doubles.issuer import CLIENT, Issuer, Json, Key, half_hash
from tests.doubles.world import World

OTHERS = {algorithm: Key(algorithm, f"other-{algorithm}") for algorithm in ("RS256", "ES256", "EdDSA")}


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def unsigned(issuer: Issuer, claims: Json) -> str:
    return f"{part({'alg': 'none', 'kid': issuer.key.kid})}.{part(claims)}."


def hs256(secret: Callable[[Issuer], bytes]) -> Callable[[Issuer, Json], str]:
    """Signed with something that is public, as if it were a secret."""

    def sign(issuer: Issuer, claims: Json) -> str:
        import hashlib
        import hmac

        head = f"{part({'alg': 'HS256', 'kid': issuer.key.kid})}.{part(claims)}"
        mac = hmac.new(secret(issuer), head.encode(), hashlib.sha256).digest()
        return f"{head}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    return sign


def pem(issuer: Issuer) -> bytes:
    key: bytes = issuer.key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key


def named(kid: str | None) -> Callable[[Issuer, Json], str]:
    """Signed by another key, under this name."""
    headers = {} if kid is None else {"kid": kid}
    return lambda issuer, claims: jwt.encode(claims, OTHERS["RS256"].private, "RS256", headers=headers)


def with_own_key(issuer: Issuer, claims: Json) -> str:
    other = OTHERS["RS256"]
    headers = {
        "kid": "first",
        "jwk": other.public,
        "jku": "http://127.0.0.1:9/keys",
        "x5u": "http://127.0.0.1:9/",
    }
    return jwt.encode(claims, other.private, "RS256", headers=headers)


def tampered(issuer: Issuer, claims: Json) -> str:
    head, _, signature = issuer.key.sign(claims).split(".")
    return f"{head}.{part({**claims, 'sub': 'somebody else'})}.{signature}"


FORGED: dict[str, Callable[[Issuer, Json], str]] = {
    "not signed": unsigned,
    "an algorithm in capitals": lambda issuer, claims: unsigned(issuer, claims).replace(
        part({"alg": "none", "kid": "first"}), part({"alg": "NONE", "kid": "first"})
    ),
    "HS256 with the public key": hs256(pem),
    "HS256 with the published key": hs256(lambda issuer: json.dumps(issuer.key.public).encode()),
    "HS256 with the client's secret": hs256(lambda issuer: b"s3cret:with/odd+characters"),
    "another key": named("first"),
    "a key that nobody has published": named("unknown"),
    "another key without a name": named(None),
    "a key that it brings along": with_own_key,
    "changed": tampered,
    "without its signature": lambda issuer, claims: issuer.key.sign(claims).rpartition(".")[0] + ".",
    "an algorithm of the same key that is not accepted": lambda issuer, claims: jwt.encode(
        claims, issuer.key.private, "PS256", headers={"kid": "first"}
    ),
    "no token": lambda issuer, claims: "x",
    "nothing": lambda issuer, claims: "",
    "nested": lambda issuer, claims: f"{base64.urlsafe_b64encode(b'[' * 5000).decode().rstrip('=')}.e30.AA",
    "no object": lambda issuer, claims: jwt.api_jws.encode(
        b"[]", issuer.key.private, "RS256", headers={"kid": "first"}
    ),
}
CLAIMS: dict[str, Json] = {
    "another issuer": {"iss": "https://accounts.evil.example"},
    "the issuer with a slash": {"iss": "+/"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "somebody else"},
    "no audience": {"aud": None},
    "an empty audience": {"aud": []},
    "us and somebody else, without a party": {"aud": [CLIENT, "somebody else"]},
    "us and somebody else, for them": {"aud": [CLIENT, "somebody else"], "azp": "somebody else"},
    "us, for somebody else": {"azp": "somebody else"},
    "expired": {"exp": int(time.time()) - 3600},
    "without an end": {"exp": None},
    "from the future": {"iat": int(time.time()) + 3600},
    "not yet": {"nbf": int(time.time()) + 3600},
    "another nonce": {"nonce": "x" * 32},
    "no nonce": {"nonce": None},
    "a nonce that is no text": {"nonce": 7},
    "another access token": {"at_hash": half_hash("another")},
    "a hash that is no text": {"at_hash": 7},
    "nobody": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject that is no text": {"sub": 7},
    "a subject that is too long": {"sub": "x" * 256},
    "a subject with NUL": {"sub": "a\0b"},
    "half a character": {"sub": "a\ud800"},
}


@pytest.fixture
def google(here: World, email: str) -> Issuer:
    here.google.is_at(email=email, email_verified=True)
    return here.google


@pytest.mark.parametrize("what", FORGED)
async def test_a_token_that_the_issuer_has_not_signed_is_refused(
    here: World, google: Issuer, what: str
) -> None:
    assert (await here.browser().sign_in("google")).status_code == 200, "an honest one is believed"
    google.sign = lambda claims: FORGED[what](google, claims)
    problem(await here.browser().sign_in("google"), 502, "oauth_failed")


@pytest.mark.parametrize("what", CLAIMS)
async def test_a_token_that_says_what_it_must_not_is_refused(here: World, google: Issuer, what: str) -> None:
    def lie(claims: Json) -> Json:
        told = {**claims, **CLAIMS[what]}
        if str(told["iss"]).startswith("+"):
            told["iss"] = google.url + told["iss"][1:]
        return {name: value for name, value in told.items() if value is not None}

    google.claims = lie
    # PyJWT would not sign some of it.
    google.sign = lambda claims: jwt.api_jws.encode(
        json.dumps(claims).encode(), google.key.private, "RS256", headers={"kid": "first"}
    )
    problem(await here.browser().sign_in("google"), 502, "oauth_failed")
    google.claims = lambda claims: claims
    assert (await here.browser().sign_in("google")).status_code == 200, "the rest of it is right"


@pytest.mark.parametrize("algorithm", OTHERS)
async def test_each_accepted_algorithm_works_with_the_hash_that_belongs_to_it(
    here: World, google: Issuer, algorithm: str
) -> None:
    google.key = OTHERS[algorithm]
    google.published = [google.key.public, Key("ES256", "beside").public]
    if algorithm == "EdDSA":
        google.claims = lambda claims: {
            **claims,
            "at_hash": half_hash(next(reversed(google.access)), "sha512"),
        }
    answer = await here.browser().sign_in("google")
    assert answer.status_code == 200, answer.text


async def test_an_algorithm_that_the_issuer_does_not_announce_is_refused(here: World, google: Issuer) -> None:
    google.discovery = {"id_token_signing_alg_values_supported": ["ES256", "HS256", "none"]}
    problem(await here.browser().sign_in("google"), 502, "oauth_failed")
    for forge in (unsigned, hs256(pem)):
        google.sign = lambda claims, forge=forge: forge(google, claims)
        problem(await here.browser().sign_in("google"), 502, "oauth_failed")


async def test_a_key_that_is_not_for_signing_is_not_used(here: World, google: Issuer) -> None:
    for wrong in ({"use": "enc"}, {"alg": "RS512"}, {"kty": "oct", "k": "c2VjcmV0"}):
        await here.reset()
        google.is_at(email="someone@example.org", email_verified=True)
        google.published = [{**google.key.public, **wrong}]
        problem(await here.browser().sign_in("google"), 502, "oauth_failed")


async def test_what_an_issuer_says_of_itself_is_asked_once_and_a_new_key_is_looked_for(
    here: World, google: Issuer
) -> None:
    for _ in range(3):
        assert (await here.browser().sign_in("google")).status_code == 200
    assert google.asked["/.well-known/openid-configuration"] == google.asked["/keys"] == 1
    google.key = OTHERS["RS256"]
    google.published = [google.key.public]
    assert (await here.browser().sign_in("google")).status_code == 200, "keys are rotated"
    assert google.asked["/keys"] == 2
    google.sign = lambda claims: named("made up")(google, claims)
    for _ in range(3):
        problem(await here.browser().sign_in("google"), 502, "oauth_failed")
    assert google.asked["/keys"] == 2, "made-up keys do not make us ask again and again"


async def test_a_token_for_somebody_else_is_no_use_in_another_flow(here: World, google: Issuer) -> None:
    """Two issuers, one of them hostile: it hands out what the honest one has signed for us."""
    stolen: list[str] = []
    honest = google.sign
    google.sign = lambda claims: stolen.append(honest(claims)) or stolen[-1]
    assert (await here.browser().sign_in("google")).status_code == 200
    here.acme.is_at(email="x@example.org", email_verified=True)
    here.acme.sign = lambda claims: stolen[0]
    here.acme.published = [google.key.public]
    problem(await here.browser().sign_in("acme"), 502, "oauth_failed")
    google.sign = lambda claims: stolen[0]
    problem(await here.browser().sign_in("google"), 502, "oauth_failed")


async def test_userinfo_speaks_of_the_same_person_or_is_not_believed(here: World, google: Issuer) -> None:
    person = dict(google.person)
    google.discovery = {"userinfo_endpoint": f"{google.url}/userinfo"}
    google.claims = lambda claims: {
        name: value for name, value in claims.items() if not name.startswith("email")
    }
    answer = await here.browser().sign_in("google")
    assert answer.json()["data"]["user"]["email"] == person["email"]
    google.grant = lambda grant: (
        google.access.update({grant["access_token"]: {**person, "sub": "somebody else"}}) or grant
    )
    problem(await here.browser().sign_in("google"), 502, "oauth_failed")
