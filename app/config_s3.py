"""The part of the configuration that says where files are kept, if not in the data directory."""

from collections.abc import Mapping

import msgspec

REGION = "us-east-1"


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket of S3, or of what speaks its protocol at `endpoint`."""

    name: str
    access_key: str
    secret_key: str
    region: str = REGION
    endpoint: str | None = None

    def __repr__(self) -> str:
        return f"Bucket({self.name})"


def read(env: Mapping[str, str]) -> tuple[Bucket | None, list[str]]:
    """The bucket in these variables (None where there is none), and what is wrong with them."""
    if "AWS_S3_BUCKET" not in env:
        return None, []
    wrong = [
        f"{name} is not set: AWS_S3_BUCKET needs it"
        for name in ("AWS_ACCESS_KEY", "AWS_SECRET_KEY")
        if name not in env
    ]
    endpoint = env.get("AWS_S3_ENDPOINT")
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        wrong.append("AWS_S3_ENDPOINT must begin with http:// or https://")
    if wrong:
        return None, wrong
    return Bucket(
        name=env["AWS_S3_BUCKET"],
        access_key=env["AWS_ACCESS_KEY"],
        secret_key=env["AWS_SECRET_KEY"],
        region=env.get("AWS_REGION", REGION),
        endpoint=endpoint,
    ), []
