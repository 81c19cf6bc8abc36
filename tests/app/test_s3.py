"""Copies of checkpoints in a bucket, through the real SDK, into a real server (moto's)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aioboto3
import msgspec
import pytest
from moto.server import ThreadedMotoServer

from app import audit_cli
from app.adapters.outgoing import Outgoing
from app.adapters.s3 import S3
from app.background import copying
from app.config import ConfigError, read
from app.config_s3 import Bucket
from domain import db, jobs
from domain.audit_logs import copies, seals
from domain.audit_logs.seals_model import SignedCheckpoint
from domain.errors import Unavailable
from tests.domain.trails import seal_in_steps, trail

KEYS = {"AWS_S3_BUCKET": "kept", "AWS_ACCESS_KEY": "an-id", "AWS_SECRET_KEY": "a-secret-nobody-sees"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
async def looked(server: str) -> AsyncIterator[Any]:
    """A client of the bucket, which is there."""
    session = aioboto3.Session("an-id", "a-secret", region_name="us-east-1")
    async with session.client("s3", endpoint_url=server) as client:
        await client.create_bucket(Bucket="kept")
        yield client


@pytest.mark.usefixtures("url", "sealed_by_hand")
async def test_the_newest_checkpoint_is_copied_and_verification_takes_the_copy(
    looked: Any, server: str, tmp_path: Path
) -> None:
    async with copying(read({**KEYS, "AWS_S3_ENDPOINT": server}), Outgoing()):
        owner, team_id = await trail(5)
        await seal_in_steps(owner, team_id, 3, 4)
        waiting = await db.fetch(
            "SELECT payload FROM pgqueuer WHERE entrypoint = 'audit.copy_checkpoint' AND dedupe_key LIKE $1",
            f"%{team_id}",
        )
        assert len(waiting) == 1, "one for all three"
        await seals.copy(seals.Copy(team_id))
    listed = await looked.list_objects_v2(Bucket="kept", Prefix=f"audit/{team_id}/")
    [found] = listed["Contents"]
    assert found["Key"] == f"audit/{team_id}/000000000003.json"
    answer = await looked.get_object(Bucket="kept", Key=found["Key"])
    text = await answer["Body"].read()
    assert msgspec.json.decode(text, type=SignedCheckpoint) == await seals.newest(team_id)
    file = tmp_path / "copy"
    file.write_bytes(text)
    assert [one.to_seq for one in audit_cli.read(file)] == [12]


async def texts(looked: Any, team_id: str) -> dict[str, bytes]:
    """What is in the bucket of a team, by number."""
    listed = await looked.list_objects_v2(Bucket="kept", Prefix=f"audit/{team_id}/")
    found = {}
    for one in listed.get("Contents", []):
        answer = await looked.get_object(Bucket="kept", Key=one["Key"])
        found[one["Key"].removeprefix(f"audit/{team_id}/")] = await answer["Body"].read()
    return found


@pytest.mark.usefixtures("url", "sealed_by_hand")
async def test_a_copy_is_never_written_over(
    looked: Any, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with copying(read({**KEYS, "AWS_S3_ENDPOINT": server}), Outgoing()):
        owner, team_id = await trail(5)
        await seal_in_steps(owner, team_id)
        await seals.copy(seals.Copy(team_id))
        first = await texts(looked, team_id)
        await seals.copy(seals.Copy(team_id))  # done at least once: the second time, too
        assert list(first) == ["000000000001.json"]
        assert await texts(looked, team_id) == first
        assert "another" not in caplog.text

        other = f"audit/{team_id}/000000000002.json"
        await looked.put_object(Bucket="kept", Key=other, Body=b"of another history")
        await seal_in_steps(owner, team_id, 1)
        with pytest.raises(jobs.GiveUp, match="has another"):
            await seals.copy(seals.Copy(team_id))
        assert await texts(looked, team_id) == {**first, "000000000002.json": b"of another history"}
        assert [
            record.levelname for record in caplog.records if f"has another {other}" in record.getMessage()
        ] == ["CRITICAL"]


@pytest.mark.usefixtures("url", "sealed_by_hand")
async def test_a_checkpoint_that_comes_while_another_is_copied_is_copied_too() -> None:
    written: list[str] = []

    async def keep(name: str, text: bytes) -> None:
        written.append(name[-8:])
        if len(written) == 1:
            await seal_in_steps(owner, team_id, 1)

    owner, team_id = await trail(5)
    await seal_in_steps(owner, team_id)
    copies.install(keep)
    try:
        await seals.copy(seals.Copy(team_id))
    finally:
        copies.install(None)
    newest = await seals.newest(team_id)
    assert newest is not None
    assert len(written) > 1
    assert written[-1] == f"{newest.number:03}.json"


async def test_a_bucket_that_is_not_there_is_said_so(server: str) -> None:
    outgoing = Outgoing()
    missing = S3(Bucket(name="absent", access_key="a", secret_key="b", endpoint=server), outgoing)
    try:
        puts = (missing.put("a", b"x", content_type="text/plain") for _ in range(3))
        refusals = await asyncio.gather(*puts, return_exceptions=True)
    finally:
        await missing.close()
    for refusal in refusals:
        assert isinstance(refusal, Unavailable)
        assert "NoSuchBucket" in str(refusal)
    assert outgoing.standings()[0].newest_failed == 0, "that is an answer"


def test_a_bucket_needs_its_keys_and_shows_none_of_them() -> None:
    assert read({}).bucket is None
    with pytest.raises(ConfigError, match=r"AWS_ACCESS_KEY is not set(.|\n)*AWS_SECRET_KEY is not set"):
        read({"AWS_S3_BUCKET": "kept"})
    with pytest.raises(ConfigError, match="AWS_S3_ENDPOINT must begin"):
        read({**KEYS, "AWS_S3_ENDPOINT": "minio:9000"})
    assert KEYS["AWS_SECRET_KEY"] not in repr(read(KEYS))
