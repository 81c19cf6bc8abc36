"""The keys of a process: given by the configuration, installed where the domain looks for them."""

from app.config import Config
from domain import crypto, keys


def install(config: Config) -> None:
    """Sign, derive and seal with these from now on. What is needed was asked for when they were read."""
    assert config.jwt_secret is not None, "the shell checks what is needed (app/config.py)"
    keys.install(config.jwt_secret, config.jwt_secret_previous)
    given = [config.encryption_key, config.encryption_key_previous]
    current, *previous = [crypto.parsed(key) for key in given if key is not None]
    assert current is not None, "the shell checks that keys are keys (app/config.py)"
    crypto.install(current, *filter(None, previous))
