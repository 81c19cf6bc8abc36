"""Config: every environment variable, read once, in one typed Struct. Nothing else reads the environment.

A wrong or missing variable is one message that names all of them (ConfigError).
"""

import os
import re
from collections.abc import Iterator, Mapping
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from app import config_eyes, config_front, config_oauth, config_proxies, config_s3, config_stopping
from app.config_eyes import Eyes
from app.config_front import Front
from app.config_oauth import Provider
from app.config_s3 import Bucket
from app.failed import CommandFailed
from domain import crypto, keys, parked_for

MAIL_FROM = "Maycole <no-reply@localhost>"
LOG_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")


class ConfigError(CommandFailed):
    """What is wrong with the environment, one line each."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """How this process is set up.

    `port` 0 takes a free one. `allowed_origins` are exact, such as `https://app.example`; they hold for CORS
    and for websockets. `trusted_proxies` are the networks whose `X-Forwarded-For` is believed. `public_url`
    is where people reach the server. With `require_verified_email` nobody is let in before their address is
    confirmed, and registering tells nobody who has an account. `mail_from` is whom our mail is from. Jobs
    that failed for good are kept for `jobs_parked_days`. A server that is to stop says so for
    `shutdown_delay_s` before it does. `runs_jobs` comes from no variable: a server does jobs where it is the
    only process (`maycole up`).
    """

    database_url: str | None = None
    redis_url: str | None = None
    jwt_secret: str | None = None
    jwt_secret_previous: str | None = None
    encryption_key: str | None = None
    encryption_key_previous: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str | None = None
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    front: Front = Front()
    oauth: tuple[Provider, ...] = ()
    bucket: Bucket | None = None
    log_level: str = "INFO"
    eyes: Eyes = Eyes()
    breaches_asked: bool = False
    breaches_base: str | None = None
    data_dir: Path = Path(".maycole")
    mail_from: str = MAIL_FROM
    require_verified_email: bool = False
    jobs_parked_days: int = parked_for.KEPT_DAYS
    shutdown_delay_s: float = 0.0
    runs_jobs: bool = False

    def __repr__(self) -> str:
        """Without secrets, and without URLs that have a password in them."""
        shown = (name for name in self.__struct_fields__ if name not in _SECRET)
        return f"Config({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def links_base(self) -> str:
        """What links in mails begin with: never what a request says of its host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"


def read(environ: Mapping[str, str] | None = None, *, need: tuple[str, ...] = ()) -> Config:
    """The configuration.

    `need` names the variables that must be set. Raises ConfigError naming all that is wrong.
    """
    given = os.environ if environ is None else environ
    env = {**_DEFAULTS, **{name: value for name, value in given.items() if value != ""}}
    env["LOG_LEVEL"] = env["LOG_LEVEL"].upper().replace("WARNING", "WARN")
    origins = tuple(origin.strip() for origin in env["ALLOWED_ORIGINS"].split(",") if origin.strip())
    oauth, wrong_oauth = config_oauth.read(env)
    bucket, wrong_bucket = config_s3.read(env)
    eyes, wrong_eyes = config_eyes.read(env)
    front, wrong_front = config_front.read(env)
    shutdown_delay_s, wrong_delay = config_stopping.read(env)
    proxies, wrong_proxies = config_proxies.read(env)
    verified, wrong_verified = _switch(env, "AUTH_REQUIRE_VERIFIED_EMAIL")
    online, wrong_online = _switch(env, "PASSWORDS_ONLINE_CHECK")
    wrong = [f"{name} is not set: {_WHAT[name]}" for name in need if name not in env]
    wrong += [*_wrong_keys(env), *_wrong_values(env, origins), *wrong_oauth, *wrong_bucket, *wrong_eyes]
    wrong += [*wrong_front, *wrong_delay, *wrong_proxies, *wrong_verified, *wrong_online]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return Config(
        database_url=env.get("DATABASE_URL"),
        redis_url=env.get("REDIS_URL"),
        jwt_secret=env.get("JWT_SECRET"),
        jwt_secret_previous=env.get("JWT_SECRET_PREVIOUS"),
        encryption_key=env.get("ENCRYPTION_KEY"),
        encryption_key_previous=env.get("ENCRYPTION_KEY_PREVIOUS"),
        host=env["HOST"],
        port=int(env["PORT"]),
        public_url=env.get("PUBLIC_URL"),
        allowed_origins=origins,
        trusted_proxies=proxies,
        front=front,
        oauth=oauth,
        bucket=bucket,
        log_level=env["LOG_LEVEL"],
        eyes=eyes,
        breaches_asked=online,
        breaches_base=env.get("PASSWORDS_ONLINE_BASE"),
        data_dir=Path(env["MAYCOLE_DATA_DIR"]),
        mail_from=env["SENDGRID_FROM_EMAIL"],
        require_verified_email=verified,
        jobs_parked_days=int(env["JOBS_PARKED_DAYS"]),
        shutdown_delay_s=shutdown_delay_s,
    )


def _wrong_keys(env: Mapping[str, str]) -> Iterator[str]:
    secrets = [env.get("JWT_SECRET"), env.get("JWT_SECRET_PREVIOUS")]
    if any(secret is not None and len(secret.encode()) < keys.BYTES_MIN for secret in secrets):
        yield f"JWT_SECRET and JWT_SECRET_PREVIOUS need at least {keys.BYTES_MIN} bytes"
    for name in ("ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS"):
        if name in env and crypto.parsed(env[name]) is None:
            yield f"{name} must be {crypto.KEY_BYTES} random bytes, in base64 or hex"


def _wrong_values(env: Mapping[str, str], origins: tuple[str, ...]) -> Iterator[str]:
    port, level, days = env["PORT"], env["LOG_LEVEL"], env["JOBS_PARKED_DAYS"]
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        yield f"PORT is {port!r}: use a number from 0 (any free port) to 65535"
    if level not in LOG_LEVELS:
        yield f"LOG_LEVEL is {level!r}: use one of {', '.join(LOG_LEVELS)}"
    for name, schemes in _SCHEMES.items():
        if name in env and _split(env[name]).scheme not in schemes:
            yield f"{name} must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    for origin in origins:
        if not _is_origin(origin):
            yield f"ALLOWED_ORIGINS has {origin!r}: use scheme://host[:port]"
    sender = env["SENDGRID_FROM_EMAIL"]
    if not _is_sender(sender):
        yield f"SENDGRID_FROM_EMAIL is {sender!r}: use name@example.org or Name <name@example.org>"
    if not re.fullmatch(r"[1-9][0-9]{0,3}", days):
        yield f"JOBS_PARKED_DAYS is {days!r}: use a number of days from 1 to 9999"


def _switch(env: Mapping[str, str], name: str) -> tuple[bool, list[str]]:
    said = env.get(name, "off").lower()
    return said == "on", [] if said in ("on", "off") else [f"{name} is {said!r}: use on or off"]


def relying_party(config: Config) -> tuple[str | None, tuple[str, ...]]:
    """The domain that passkeys belong to, and the origins that pages may use them from.

    The domain is that of PUBLIC_URL, or else of the first of ALLOWED_ORIGINS; origins are those of the two
    that are in it. None where that is no name: browsers make no passkeys for an address.
    """
    ours = (*([_origin(config.public_url)] if config.public_url else []), *config.allowed_origins)
    domain = _split(ours[0]).hostname if ours else None
    if domain is None or re.fullmatch(r"[0-9.]+|.*:.*", domain):
        return None, ()
    hosts = {origin: _split(origin).hostname or "" for origin in ours}
    inside = (origin for origin, host in hosts.items() if host == domain or host.endswith(f".{domain}"))
    return domain, tuple(inside)


def tell_workers(name: str, value: str) -> None:
    """Processes that this one starts from now on find it in their environment."""
    os.environ[name] = value


def database_url() -> str | None:
    """For Piccolo's own command line (piccolo_conf.py)."""
    return os.environ.get("DATABASE_URL")


_WHAT = {
    "DATABASE_URL": "where Postgres is, such as postgresql://user:password@host/maycole",
    "REDIS_URL": "where Redis or Valkey is, such as redis://host:6379",
    "JWT_SECRET": f"what access tokens are signed with, at least {keys.BYTES_MIN} random bytes",
    "ENCRYPTION_KEY": f"what secrets at rest are encrypted with, {crypto.KEY_BYTES} random bytes in base64",
}
NEEDED = tuple(_WHAT)  # to serve
_DEFAULTS = {
    "HOST": "127.0.0.1",
    "PORT": "8000",
    "ALLOWED_ORIGINS": "",
    "LOG_LEVEL": "INFO",
    "MAYCOLE_DATA_DIR": ".maycole",
    "SENDGRID_FROM_EMAIL": MAIL_FROM,
    "JOBS_PARKED_DAYS": str(parked_for.KEPT_DAYS),
}
_SECRET = (
    "database_url",
    "redis_url",
    "jwt_secret",
    "jwt_secret_previous",
    "encryption_key",
    "encryption_key_previous",
)
_SCHEMES = {
    "DATABASE_URL": ("postgresql", "postgres"),
    "REDIS_URL": ("redis", "rediss", "unix"),
    "PUBLIC_URL": ("http", "https"),
    "PASSWORDS_ONLINE_BASE": ("http", "https"),
}


def _split(url: str) -> SplitResult:
    """The parts of a URL; none at all of what is not one (urlsplit raises for some)."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _is_sender(text: str) -> bool:
    """Whether it is one address, with or without a name."""
    found = getaddresses([text])
    try:
        [(name, address)] = found
        Address(name, addr_spec=address)
    except (ValueError, HeaderParseError):
        return False
    return text.isprintable() and "@" in address


def _origin(url: str) -> str:
    """The origin of a URL, as browsers write it: without the port that its scheme has anyway."""
    parts = _split(url)
    usual = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower().removesuffix(usual)}"


def _is_origin(text: str) -> bool:
    parts = _split(text)
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        # `*` would be a pattern to CORS and a plain character to the websocket.
        and not set("*@") & set(text)
        and text == f"{parts.scheme}://{parts.netloc}"
    )
