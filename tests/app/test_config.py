"""Settings: one message names everything that is wrong with them."""

import pytest

from app import config
from app.config import NEEDED, ConfigError

GOOD = {
    "DATABASE_URL": "postgresql://user:password@host/maycole",
    "REDIS_URL": "redis://host:6379",
    "JWT_SECRET": "x" * 32,
    "ENCRYPTION_KEY": "x" * 43,
}
PUBLIC = {"PUBLIC_URL": "https://maycole.example"}
GOOGLE = {"OAUTH_GOOGLE_ID": "google-id", "OAUTH_GOOGLE_SECRET": "google-secret"}
# A wrong setting, and what the message says about it.
WRONG = [
    ({"JWT_SECRET": "x" * 31}, "at least 32 bytes"),
    ({"JWT_SECRET_PREVIOUS": "short"}, "at least 32 bytes"),
    ({"ENCRYPTION_KEY": "x" * 42}, "ENCRYPTION_KEY must be 32 random bytes"),
    ({"ENCRYPTION_KEY_PREVIOUS": "no key"}, "ENCRYPTION_KEY_PREVIOUS must be 32 random bytes"),
    ({"PORT": "http"}, "PORT is 'http'"),
    ({"PORT": "65536"}, "PORT is '65536'"),
    ({"PORT": "-1"}, "PORT is '-1'"),
    ({"PORT": "٣"}, "PORT is '٣'"),
    ({"PORT": "9" * 5000}, "PORT is"),
    ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL is 'LOUD'"),
    ({"DATABASE_URL": "mysql://host"}, "DATABASE_URL must begin with postgresql://"),
    ({"DATABASE_URL": "postgresql://[::1/x"}, "DATABASE_URL must begin with postgresql://"),
    ({"REDIS_URL": "host:6379"}, "REDIS_URL must begin with redis://"),
    ({"SENDGRID_FROM_EMAIL": "nobody"}, "SENDGRID_FROM_EMAIL is 'nobody'"),
    ({"SENDGRID_FROM_EMAIL": "a@b.example, c@d.example"}, "SENDGRID_FROM_EMAIL is"),
    ({"SENDGRID_FROM_EMAIL": "a@b.example\nBcc: c@d.example"}, "SENDGRID_FROM_EMAIL is"),
    ({"AUTH_REQUIRE_VERIFIED_EMAIL": "maybe"}, "AUTH_REQUIRE_VERIFIED_EMAIL is 'maybe': use on or off"),
    *(
        ({"JOBS_PARKED_DAYS": days}, f"JOBS_PARKED_DAYS is {days!r}: use a number of days")
        for days in ("0", "-1", "x", "1.5", "99999", "٣")
    ),
    ({"PUBLIC_URL": "app.example"}, "PUBLIC_URL must begin with http://"),
    ({"ALLOWED_ORIGINS": "https://a.example, app.example"}, "ALLOWED_ORIGINS has 'app.example'"),
    ({"ALLOWED_ORIGINS": "https://app.example/"}, "ALLOWED_ORIGINS has 'https://app.example/'"),
    ({"TRUSTED_PROXIES": "10.0.0.0/8, proxy"}, "TRUSTED_PROXIES has 'proxy'"),
    ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES has '10.0.0.1/8'"),
    ({"ALLOWED_ORIGINS": "*"}, "ALLOWED_ORIGINS has '*'"),
    ({"ALLOWED_ORIGINS": "null"}, "ALLOWED_ORIGINS has 'null'"),
    ({"ALLOWED_ORIGINS": "https://[::1"}, "ALLOWED_ORIGINS has 'https://[::1'"),
    ({"OAUTH_GOOGLE_ID": "x"}, "OAUTH_GOOGLE_SECRET is not set, and the other one is"),
    ({"OAUTH_GITHUB_SECRET": "x"}, "OAUTH_GITHUB_ID is not set, and the other one is"),
    ({"OAUTH_GITHUB_ID": "x", "OAUTH_GITHUB_SECRET": "x"}, "PUBLIC_URL is not set"),
    (
        {**PUBLIC, **GOOGLE, "OAUTH_GOOGLE_ISSUER": "http://accounts.google.com"},
        "OAUTH_GOOGLE_ISSUER must be",
    ),
    ({**PUBLIC, **GOOGLE, "OAUTH_GOOGLE_ISSUER": "https://a@b.example"}, "OAUTH_GOOGLE_ISSUER must be"),
    ({**PUBLIC, **GOOGLE, "OAUTH_GOOGLE_ISSUER": "https://[::1"}, "OAUTH_GOOGLE_ISSUER must be"),
    ({"OAUTH_OIDC_ACME_ID": "x", "OAUTH_OIDC_ACME_SECRET": "x"}, "OAUTH_OIDC_ACME_ISSUER is not set"),
    ({"OAUTH_OIDC_ACME_ISSUER": "https://id.example"}, "OAUTH_OIDC_ACME_ID and OAUTH_OIDC_ACME_SECRET"),
    ({"OAUTH_OIDC_GOOGLE_ISSUER": "https://id.example"}, "the name google is taken"),
]


def test_good_settings_are_taken_as_they_are() -> None:
    read = config.read({**GOOD, "ALLOWED_ORIGINS": "https://a.example,http://b.example:8080", "PORT": "0"})
    assert (read.database_url, read.redis_url, read.jwt_secret, read.encryption_key) == tuple(GOOD.values())
    assert read.allowed_origins == ("https://a.example", "http://b.example:8080")
    assert read.port == 0


def test_providers_are_read_by_name_and_do_not_show_their_secrets() -> None:
    acme = {"ISSUER": "http://127.0.0.1:9400", "ID": "acme-id", "SECRET": "acme-secret"}
    others = {f"OAUTH_OIDC_MY_ID_{name}": value for name, value in acme.items()}
    github = {"OAUTH_GITHUB_ID": "github-id", "OAUTH_GITHUB_SECRET": "github-secret"}
    read = config.read({**GOOD, **PUBLIC, **GOOGLE, **github, **others})
    assert [(one.name, one.client_id, one.issuer, one.base, one.api_base) for one in read.oauth] == [
        ("google", "google-id", "https://accounts.google.com", None, None),
        ("github", "github-id", None, "https://github.com", "https://api.github.com"),
        ("my-id", "acme-id", "http://127.0.0.1:9400", None, None),
    ]
    assert "google" in repr(read)
    assert "-secret" not in repr(read) + str(read.oauth)


def test_nothing_is_needed_where_nothing_is_asked_for_and_empty_counts_as_missing() -> None:
    assert config.read({}).port == 8000
    assert config.read({"PORT": "", "LOG_LEVEL": ""}).log_level == "INFO"
    with pytest.raises(ConfigError, match="REDIS_URL is not set"):
        config.read({**GOOD, "REDIS_URL": ""}, need=NEEDED)


def test_links_begin_with_the_public_address_or_else_with_where_it_listens() -> None:
    assert config.read({"PUBLIC_URL": "https://app.example"}).links_base == "https://app.example"
    assert config.read({"HOST": "::1", "PORT": "8080"}).links_base == "http://[::1]:8080"


def test_addresses_are_confirmed_first_only_where_the_operator_says_so() -> None:
    said = {value: config.read({"AUTH_REQUIRE_VERIFIED_EMAIL": value}) for value in ("on", "off", "")}
    assert [read.require_verified_email for read in said.values()] == [True, False, False]


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        config.read({}, need=NEEDED)
    lines = str(refused.value).splitlines()
    assert [line.split()[0] for line in lines] == list(NEEDED)


@pytest.mark.parametrize(("setting", "says"), WRONG)
def test_a_wrong_setting_is_named(setting: dict[str, str], says: str) -> None:
    config.read(GOOD, need=NEEDED)
    with pytest.raises(ConfigError) as refused:
        config.read({**GOOD, **setting}, need=NEEDED)
    assert says in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    for secret in (setting.get("JWT_SECRET"), setting.get("JWT_SECRET_PREVIOUS")):
        assert secret is None or secret not in str(refused.value), "a secret is not repeated"


def test_everything_wrong_is_one_message() -> None:
    everything = {
        "JWT_SECRET": "short",
        "PORT": "x",
        "LOG_LEVEL": "x",
        "REDIS_URL": "x",
        "ALLOWED_ORIGINS": "x",
    }
    with pytest.raises(ConfigError) as refused:
        config.read(everything, need=NEEDED)
    for name in (*everything, "DATABASE_URL"):
        assert name in str(refused.value)


def test_a_configuration_does_not_show_its_secrets_when_it_is_printed() -> None:
    read = config.read(
        {**GOOD, "JWT_SECRET": "SECRET-" * 8, "JWT_SECRET_PREVIOUS": "BEFORE-" * 8, "PORT": "7"}
    )
    for shown in (repr(read), str(read), f"{read}", repr([read])):
        assert "port=7" in shown
        assert not any(secret in shown for secret in ("SECRET-", "BEFORE-", "password", "redis://host"))


@pytest.mark.parametrize(
    ("public_url", "origins", "domain", "usable"),
    [
        ("https://app.example/x", (), "app.example", ("https://app.example",)),
        ("https://me@App.Example:443", (), "app.example", ("https://app.example",)),
        ("http://localhost:8000", ("https://a.example",), "localhost", ("http://localhost:8000",)),
        (
            "https://example.org",
            ("https://app.example.org", "https://evil-example.org", "https://example.org.evil"),
            "example.org",
            ("https://example.org", "https://app.example.org"),
        ),
        (None, ("https://app.example", "https://b.example"), "app.example", ("https://app.example",)),
        (None, (), None, ()),
        ("http://127.0.0.1:8000", ("https://app.example",), None, ()),
        ("http://[::1]:8000", (), None, ()),
    ],
)
def test_passkeys_belong_to_a_domain_and_are_used_from_origins_in_it(
    public_url: str | None, origins: tuple[str, ...], domain: str | None, usable: tuple[str, ...]
) -> None:
    given = config.Config(public_url=public_url, allowed_origins=origins)
    assert config.relying_party(given) == (domain, usable)


def test_for_how_long_a_server_says_that_it_stops_is_a_number_of_seconds() -> None:
    assert config.read({}).shutdown_delay_s == 0
    assert config.read({"SHUTDOWN_DELAY_S": "2.5"}).shutdown_delay_s == 2.5
    for wrong in ("-1", "61", "soon", "1e1"):
        with pytest.raises(ConfigError, match="SHUTDOWN_DELAY_S"):
            config.read({"SHUTDOWN_DELAY_S": wrong})
