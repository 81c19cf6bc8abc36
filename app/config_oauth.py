"""The part of the configuration that says which providers people can sign in with.

Google and GitHub have names of their own; any other OpenID issuer is `OAUTH_OIDC_<NAME>_ISSUER`, `…_ID` and
`…_SECRET`, and is `<name>` in addresses, in lower case and with `-` for `_`.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

KNOWN: Final = ("google", "github")
GOOGLE: Final = "https://accounts.google.com"
GITHUB: Final = "https://github.com"
GITHUB_API: Final = "https://api.github.com"
_OIDC: Final = re.compile(r"OAUTH_OIDC_([A-Z][A-Z0-9_]{0,30})_(ISSUER|ID|SECRET)")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that is set up: an OpenID issuer, or GitHub, which has two addresses instead."""

    name: str
    client_id: str
    client_secret: str
    issuer: str | None = None
    base: str | None = None
    api_base: str | None = None

    def __repr__(self) -> str:
        return f"Provider({self.name})"


def read(env: Mapping[str, str]) -> tuple[tuple[Provider, ...], list[str]]:
    """The providers in these variables, and what is wrong with them."""
    wrong: list[str] = []
    found: list[Provider] = []
    if keys := _keys(env, "OAUTH_GOOGLE", wrong):
        issuer = _url(env, "OAUTH_GOOGLE_ISSUER", GOOGLE, wrong)
        found.append(Provider(name="google", client_id=keys[0], client_secret=keys[1], issuer=issuer))
    if keys := _keys(env, "OAUTH_GITHUB", wrong):
        found.append(
            Provider(
                name="github",
                client_id=keys[0],
                client_secret=keys[1],
                base=_url(env, "OAUTH_GITHUB_BASE", GITHUB, wrong).rstrip("/"),
                api_base=_url(env, "OAUTH_GITHUB_API_BASE", GITHUB_API, wrong).rstrip("/"),
            )
        )
    for name in sorted({match[1] for match in map(_OIDC.fullmatch, env) if match}):
        prefix = f"OAUTH_OIDC_{name}"
        called = name.lower().replace("_", "-")
        if called in (*KNOWN, "exchange"):
            wrong.append(f"{prefix}_… : the name {called} is taken")
        elif f"{prefix}_ISSUER" not in env:
            wrong.append(f"{prefix}_ISSUER is not set: who issues its tokens, such as https://id.example")
        elif keys := _keys(env, prefix, wrong):
            issuer = _url(env, f"{prefix}_ISSUER", "", wrong)
            found.append(Provider(name=called, client_id=keys[0], client_secret=keys[1], issuer=issuer))
        elif f"{prefix}_ID" not in env:
            wrong.append(f"{prefix}_ID and {prefix}_SECRET are not set")
    if found and "PUBLIC_URL" not in env:
        wrong.append("PUBLIC_URL is not set: where providers send people back to")
    return tuple(found), wrong


def _keys(env: Mapping[str, str], prefix: str, wrong: list[str]) -> tuple[str, str] | None:
    """The id and the secret, if both are there."""
    client_id, secret = env.get(f"{prefix}_ID"), env.get(f"{prefix}_SECRET")
    if client_id is not None and secret is not None:
        return client_id, secret
    if client_id is not None or secret is not None:
        wrong.append(f"{prefix}_{'ID' if client_id is None else 'SECRET'} is not set, and the other one is")
    return None


def _url(env: Mapping[str, str], variable: str, default: str, wrong: list[str]) -> str:
    """An https address; secrets travel there, so http is only for this machine."""
    url = env.get(variable, default)
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        good = good and bool(parts.hostname) and not parts.query and not parts.fragment and "@" not in url
    except ValueError:
        good = False
    if not good:
        wrong.append(f"{variable} must be an https:// address")
    return url
