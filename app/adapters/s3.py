"""S3, or whatever speaks its protocol: files by name, in one bucket.

One client a process, made on first use (it takes a quarter of a second). Trying again is not botocore's
business but that of app/adapters/outgoing.py, as for every vendor.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NotConnected

from app.adapters.outgoing import Outgoing
from app.adapters.retrying import Failure, Policy, of_status
from app.config_s3 import Bucket
from domain.errors import Unavailable

NAME: Final = "s3"
POLICY: Final = Policy(within_s=30.0, try_within_s=10.0, wait_s=0.2, wait_max_s=5.0)
CONNECT_S: Final = 3


class _Once(AIOHTTPSession):  # type: ignore[misc]  # it has no types
    """aiohttp sends a PUT or GET again by itself when the connection breaks, behind everybody's back."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await super()._get_session(proxy_url)
        session._retry_connection = False
        return session


_OPTIONS: Final = AioConfig(
    http_session_cls=_Once,
    connect_timeout=CONNECT_S,
    read_timeout=POLICY.try_within_s,
    retries={"total_max_attempts": 1},
    signature_version="s3v4",
)


class S3:
    """A bucket; close it at the end."""

    def __init__(self, bucket: Bucket, outgoing: Outgoing) -> None:
        self.dependency = outgoing.dependency(NAME, POLICY, judge)
        self._bucket = bucket
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
        try:
            client = await self._opened()
            found = await self.dependency.call(
                lambda: self._put_or_read(client, name, content, content_type), repeatable=True
            )
        except (BotoCoreError, ClientError, TimeoutError) as error:
            raise Unavailable(
                f"The file storage refused {name}: {str(error) or type(error).__name__}",
                code="s3_unavailable",
                retryAfter=self.dependency.retry_after_s(error),
            ) from error
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


def judge(error: Exception) -> Failure | None:
    """What botocore's exceptions mean; NoSuchBucket and the like are answers."""
    if isinstance(error, ClientError):
        if error.response["Error"]["Code"] == "RequestTimeout":
            return Failure(what="RequestTimeout")  # S3's 408 is a 400
        about = error.response["ResponseMetadata"]
        return of_status(about["HTTPStatusCode"], about.get("HTTPHeaders", {}).get("retry-after"))
    # IncompleteReadError and its like have no base of their own.
    if isinstance(error, HTTPClientError | NotConnected | IncompleteReadError | TimeoutError):
        return Failure(what=type(error).__name__)
    return None
