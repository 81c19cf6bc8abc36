"""Tokens that nobody of ours has signed, by the classes in which libraries have failed before.

The classes are those of Wycheproof's JSON web signature vectors, of RFC 8725 and of what was found since;
each is made from a good token here, so that nothing but what it says is wrong with it.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

FORMS = {"PEM": serialization.Encoding.PEM, "DER": serialization.Encoding.DER}
HEADER = {"alg": "HS256", "typ": "at+jwt"}
NONES = ("none", "None", "NONE", "nOnE", " none", "none ", "n\u200bone", "", None, [], {}, ["none"], 0, False)


def forged(good: str, secret: str) -> Iterator[tuple[str, str]]:
    """What is wrong, and the token; `good` was signed with `secret` and would be accepted."""
    claims = json.loads(decoded(good.split(".")[1]))
    for made in (_algorithms, _confused, _signatures, _spelled, _shapes):
        yield from made(good, claims, secret)
    yield from _headers(claims, secret)
    yield from _claims(claims, secret)


def signed(header: Any, payload: Any, secret: str | bytes, *, raw: bool = False) -> str:
    """Signed as ours are, whatever is signed; `raw` is text, which need be no JSON."""
    parts = [part if raw else json.dumps(part) for part in (header, payload)]
    said = ".".join(encoded(part.encode()) for part in parts)
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{said}.{encoded(hmac.digest(key, said.encode(), 'sha256'))}"


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _algorithms(good: str, claims: Any, secret: str) -> Iterator[tuple[str, str]]:
    payload, mac = good.split(".")[1:]
    for none in NONES:
        head = encoded(json.dumps({**HEADER, "alg": none}).encode())
        for name, signature in (("no", ""), ("an old", mac), ("a null", encoded(b"\0" * 32))):
            yield f"alg {none!r} with {name} signature", f"{head}.{payload}.{signature}"
    for name in (
        "hs256",
        "HS256 ",
        "HS1",
        "HS384",
        "HS512",
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
        "dir",
        "A128KW",
    ):
        yield f"alg {name!r} over our own MAC", signed({**HEADER, "alg": name}, claims, secret)
    for name in ("sha384", "sha512", "sha1", "md5"):
        said = good.rpartition(".")[0]
        yield f"a MAC by {name}", f"{said}.{encoded(hmac.digest(secret.encode(), said.encode(), name))}"


def _confused(good: str, claims: Any, secret: str) -> Iterator[tuple[str, str]]:
    """Another key's public half as the secret; another key, brought along; a signature for a MAC."""
    rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    for name, key in (("RSA", rsa_key), ("EC", ec_key)):
        for written, form in FORMS.items():
            public = key.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
            yield f"a MAC by a public {name} key in {written}", signed(HEADER, claims, public)
    jwk = {"kty": "oct", "k": encoded(b"k" * 32), "alg": "HS256"}
    yield "a key that it brings along", signed({**HEADER, "jwk": jwk}, claims, "k" * 32)
    for alg, key in (("RS256", rsa_key), ("ES256", ec_key)):
        said = f"{encoded(json.dumps({**HEADER, 'alg': alg}).encode())}.{good.split('.')[1]}"
        if isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(said.encode(), padding.PKCS1v15(), SHA256())
        else:
            r, s = decode_dss_signature(key.sign(said.encode(), ec.ECDSA(SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        yield f"signed by a key of our own, {alg}", f"{said}.{encoded(signature)}"
    said = f"{encoded(json.dumps({**HEADER, 'alg': 'ES256'}).encode())}.{good.split('.')[1]}"
    yield "the signature of noughts (CVE-2022-21449)", f"{said}.{encoded(bytes(64))}"


def _signatures(good: str, claims: Any, secret: str) -> Iterator[tuple[str, str]]:
    said, _, mac = good.rpartition(".")
    raw = decoded(mac)
    for size in (0, 1, 16, 31):
        yield f"the first {size} bytes of its MAC", f"{said}.{encoded(raw[:size])}"
    yield "a byte more than its MAC", f"{said}.{encoded(raw + b'0')}"
    yield "its MAC twice", f"{said}.{encoded(raw * 2)}"
    yield "its MAC in hex", f"{said}.{raw.hex()}"
    yield "its MAC with one bit changed", f"{said}.{encoded(bytes([raw[0] ^ 1]) + raw[1:])}"
    yield "a MAC of nothing", f"{said}.{encoded(hmac.digest(secret.encode(), b'', 'sha256'))}"
    yield (
        "a MAC of its claims",
        f"{said}.{encoded(hmac.digest(secret.encode(), said.split('.')[1].encode(), 'sha256'))}",
    )
    yield "a hash without a key", f"{said}.{encoded(hashlib.sha256(said.encode()).digest())}"
    for key in (
        "",
        "0",
        "secret",
        "null",
        "x" * 32,
        secret.upper(),
        secret[:-1],
        encoded(secret.encode()),
    ):
        yield f"a MAC by {key[:6]!r}…, {len(key)} long", signed(HEADER, claims, key)
    yield "another header", f"{encoded(json.dumps({**HEADER, 'kid': '1'}).encode())}.{good.split('.', 1)[1]}"
    yield (
        "another subject",
        f"{good.split('.')[0]}.{encoded(json.dumps({**claims, 'sub': 'user_2'}).encode())}.{mac}",
    )


def _spelled(good: str, claims: Any, secret: str) -> Iterator[tuple[str, str]]:
    """A good token, spelled otherwise: each has one spelling."""
    head, payload, mac = good.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    yield "its unused bits set", f"{good[:-1]}{last[last.index(good[-1]) ^ 1]}"
    for pad in ("=", "==", "===", "%3D"):
        yield f"padded with {pad}", good + pad
        yield f"its header padded with {pad}", f"{head}{pad}.{payload}.{mac}"
        yield f"its claims padded with {pad}", f"{head}.{payload}{pad}.{mac}"
    for name, odd in (
        ("space", " "),
        ("tab", "\t"),
        ("letter of no alphabet", "!"),
        ("e acute", "\u00e9"),
        ("line", "\\n"),
    ):
        yield f"a {name} in its MAC", f"{head}.{payload}.{mac[:9]}{odd}{mac[9:]}"
        yield f"a {name} in its claims", f"{head}.{payload[:9]}{odd}{payload[9:]}.{mac}"
    yield "a full width dot", good.replace(".", "\uff0e")
    yield "a dot too many", good + "."
    yield "a dot before", "." + good
    yield "a fourth part", f"{good}.{mac}"
    yield "two dots", good.replace(".", "..", 1)
    yield "upper case", good.upper()
    yield "quoted", f'"{good}"'
    yield "Bearer twice", f"Bearer {good}"


def _shapes(good: str, claims: Any, secret: str) -> Iterator[tuple[str, str]]:
    """Other things that are written as tokens are, or are JSON."""
    head, payload, mac = good.split(".")
    yield "no header", f".{payload}.{mac}"
    yield "no claims", f"{head}..{mac}"
    yield "no MAC", f"{head}.{payload}."
    yield "no MAC and no dot", f"{head}.{payload}"
    yield "its MAC alone", mac
    yield "dots alone", "...."
    yield "JSON serialization", json.dumps({"payload": payload, "protected": head, "signature": mac})
    general = {"payload": payload, "signatures": [{"protected": head, "signature": mac}]}
    yield "general JSON serialization", json.dumps(general)
    yield (
        "the shape of a JWE",
        ".".join([encoded(b'{"alg":"dir","enc":"A256GCM"}'), "", *[encoded(b"x" * 12)] * 3]),
    )
    yield "a token in a token", signed({**HEADER, "cty": "JWT"}, good, secret)
    yield "a token in the claims", signed({**HEADER, "cty": "JWT"}, good, secret, raw=False)
    for text in ("null", "1", '""', "[]", "true", "{", "NaN", "[" * 3000, '{"a":' * 3000, "\ufeff{}"):
        yield f"claims {text[:6]!r}, signed", signed(json.dumps(HEADER), text, secret, raw=True)
        yield f"a header {text[:6]!r}, signed", signed(text, json.dumps(claims), secret, raw=True)
    yield "bytes that are no text", f"{head}.{encoded(bytes([0xFF, 0xFE]))}.{mac}"


def _headers(claims: Any, secret: str) -> Iterator[tuple[str, str]]:
    """Signed with another key, which the header asks us to fetch, or to find."""
    for name, value in {
        "jku": "http://127.0.0.1:1/keys.json",
        "x5u": "http://127.0.0.1:1/cert.pem",
        "x5c": ["MIIB"],
        "jwk": {"kty": "oct", "k": encoded(b"x" * 32)},
        "kid": "../../../../dev/null",
        "kid of SQL": "x' UNION SELECT 'x",
        "kid of a shell": "|/bin/true",
        "kid that is a list": ["a"],
    }.items():
        for key in ("", "x" * 32, "\0"):
            yield f"{name}, signed by {key[:2]!r}", signed({**HEADER, name.split()[0]: value}, claims, key)
    for crit in (["exp"], ["b64"], [], "exp", None, [1], ["unheard-of"]):
        yield f"crit {crit!r}", signed({**HEADER, "crit": crit, "unheard-of": 1}, claims, secret)
    yield "b64 false", signed({**HEADER, "b64": False, "crit": ["b64"]}, claims, secret)
    for typ in ("JWT", "jwt", "refresh+jwt", "AT+JWT", "application/at+jwt", "", None, 1, ["at+jwt"]):
        yield f"typ {typ!r}", signed({**HEADER, "typ": typ}, claims, secret)
    double = '{"alg":"none","alg":"HS256","typ":"JWT"}'
    yield "alg twice, and no typ of ours", signed(double, json.dumps(claims), secret, raw=True)


def _claims(claims: Any, secret: str) -> Iterator[tuple[str, str]]:
    """Signed with our own key, and yet nothing that we would say."""
    present = int(time.time())
    wrong: dict[str, list[Any]] = {
        "exp": [
            "soon",
            "",
            None,
            -1,
            0,
            present - 60,
            [present + 60],
            {"a": 1},
            float("nan"),
            float("-inf"),
            False,
        ],
        "iat": [present + 3600, "now", None, [1], float("nan"), float("inf"), 2**70],
        "nbf": [present + 3600, "later", None, float("inf")],
        "sub": [1, None, [], ["user_1"], {"a": 1}, True],
        "sid": [1, None, [], ["sess_1"], {"a": 1}, True],
        "iss": ["elsewhere", "", None, [], ["maycole"], "MAYCOLE", "maycole ", 1],
        "aud": ["elsewhere", "", None, [], ["elsewhere"], {"maycole": 1}, "maycol", 1],
    }
    for name, values in wrong.items():
        for value in values:
            yield f"{name} {value!r}", signed(HEADER, {**claims, name: value}, secret)
    for name in ("exp", "iat", "sub", "sid", "iss", "aud"):
        left = {other: value for other, value in claims.items() if other != name}
        yield f"without {name}", signed(HEADER, left, secret)
        yield f"with {name.upper()} for {name}", signed(HEADER, {**left, name.upper(): claims[name]}, secret)
    yield "huge claims", signed(HEADER, {**claims, "more": "x" * 50_000}, secret)
    yield (
        "a number without end",
        signed(
            json.dumps(HEADER),
            json.dumps({**claims, "exp": 0}).replace('"exp": 0', f'"exp": {"9" * 5000}'),
            secret,
            raw=True,
        ),
    )
    yield (
        "exp beyond every number",
        signed(
            json.dumps(HEADER),
            json.dumps({**claims, "exp": 0}).replace('"exp": 0', '"exp": 1e400'),
            secret,
            raw=True,
        ),
    )
