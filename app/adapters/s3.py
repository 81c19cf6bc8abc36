"""S3, or whatever speaks its protocol: files by name, in one bucket.

One client a process, made on first use (it takes a quarter of a second). Every call is bounded, tried again
by botocore while that makes sense, and left alone for a while when half of them fail.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

import aioboto3
from botocore.config import Config as Options
from botocore.exceptions import BotoCoreError, ClientError

from app.adapters.breaker import Breaker
from app.config_s3 import Bucket
from domain.errors import Unavailable

CONNECT_S: Final = 3
READ_S: Final = 10
WITHIN_S: Final = 30
_OPTIONS: Final = Options(
    connect_timeout=CONNECT_S,
    read_timeout=READ_S,
    retries={"mode": "standard", "total_max_attempts": 3},
    signature_version="s3v4",
)


class S3:
    """A bucket; close it at the end."""

    def __init__(self, bucket: Bucket, *, breaker: Breaker | None = None) -> None:
        self._bucket = bucket
        self._breaker = breaker or Breaker()
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._client: Any = None

    async def close(self) -> None:
        await self._stack.aclose()

    async def put(self, name: str, content: bytes, *, content_type: str) -> None:
        """Write a file that is not there yet; one that is there is never written over.

        That it is there with this content is fine: an earlier try got through. Raises FileExistsError where
        it has another one, and Unavailable `s3_unavailable`.
        """
        if not self._breaker.lets():
            raise Unavailable("The file storage fails too often just now.", code="s3_unavailable")
        well = False
        try:
            async with asyncio.timeout(WITHIN_S):
                client = await self._opened()
                found = await self._put_or_read(client, name, content, content_type)
            well = True
        except (BotoCoreError, ClientError, TimeoutError) as error:
            said = f"The file storage refused {name}: {error or type(error).__name__}"
            raise Unavailable(said, code="s3_unavailable") from error
        finally:
            self._breaker.done(well)
        if found != content:
            raise FileExistsError(f"the file storage has another {name} already")

    async def _put_or_read(self, client: Any, name: str, content: bytes, content_type: str) -> bytes:
        """What the file has in it from now on: what is given, or what was there."""
        try:
            await client.put_object(
                Bucket=self._bucket.name, Key=name, Body=content, ContentType=content_type, IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
        else:
            return content
        answer = await client.get_object(Bucket=self._bucket.name, Key=name)
        async with answer["Body"] as body:
            found: bytes = await body.read()
        return found

    async def _opened(self) -> Any:
        async with self._opening:
            if self._client is None:
                session = aioboto3.Session(
                    aws_access_key_id=self._bucket.access_key,
                    aws_secret_access_key=self._bucket.secret_key,
                    region_name=self._bucket.region,
                )
                client = session.client("s3", endpoint_url=self._bucket.endpoint, config=_OPTIONS)
                self._client = await self._stack.enter_async_context(client)
        return self._client
