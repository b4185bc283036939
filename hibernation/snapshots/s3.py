"""A store in an S3 bucket (R2, AWS, B2, MinIO), read with the bucket's key; machines talk to it through presigned URLs.

Nothing is written with the key itself: every object arrives through a URL that binds its length and, where the
provider can, its CRC-32 and that it is the first under its key.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.response import StreamingBody
from urllib3.exceptions import HTTPError

from hibernation.domain.errors import StoreError
from hibernation.snapshots.store import (
    ObjectInfo,
    ObjectMissing,
    Promises,
    SignedRequest,
    check_content,
    check_key,
    check_range,
    is_key,
)

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CopySourceTypeDef, HeadObjectOutputTypeDef

_BLOCK = 1 << 20
# No key begins with a dot.
_INCOMING = ".incoming/"
# What SigV4 allows.
_LONGEST = timedelta(days=7)


class S3Failure(StoreError):
    """The bucket did not do it. ``reason`` is S3's error code, or the name of what broke on the way to it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class S3Config:
    """A bucket, how to reach it, and what its provider can promise. No ``endpoint`` means AWS."""

    bucket: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    endpoint: str = ""
    prefix: str = ""
    path_style: bool = False
    crc32: bool = True
    write_once: bool = True


class S3Store:
    """Objects of one bucket, below ``prefix``. One client for the process: making one takes longer than most calls.

    Where a URL cannot promise to be the first under its key, it leads to another place, and ``settle`` copies from
    there: whoever holds it can replace what he sent, and never the object.
    """

    def __init__(self, config: S3Config) -> None:
        self._bucket = config.bucket
        self._prefix = f"{check_key(config.prefix.strip('/'))}/" if config.prefix else ""
        self.promises = Promises(crc32=config.crc32, once=config.write_once)
        try:
            self._client = _client(config)
        except (BotoCoreError, ValueError) as error:
            raise S3Failure(type(error).__name__, f"the S3 settings make no sense: {error}") from error

    def sign_put(self, key: str, *, size: int, crc32: str, expires_in: timedelta) -> SignedRequest:
        check_content(size, crc32)
        bound = {}
        if self.promises.crc32:
            bound["ChecksumCRC32"] = base64.b64encode(bytes.fromhex(crc32)).decode()
        if self.promises.once:
            bound["IfNoneMatch"] = "*"
        url = self._sign("put_object", self._arrival(key), {"ContentLength": size, **bound}, expires_in)
        names = {"ChecksumCRC32": "x-amz-checksum-crc32", "IfNoneMatch": "If-None-Match"}
        return SignedRequest(url, {names[name]: value for name, value in bound.items()})

    def settle(self, key: str) -> None:
        if self.promises.once or self.head(key) is not None:
            return
        source: CopySourceTypeDef = {"Bucket": self._bucket, "Key": self._arrival(key)}
        try:
            with _told(f"copy {key}"):
                self._client.copy_object(Bucket=self._bucket, Key=self._name(key), CopySource=source)
        except ObjectMissing:
            return
        self._delete(self._arrival(key))

    def sign_get(self, key: str, *, expires_in: timedelta) -> SignedRequest:
        return SignedRequest(self._sign("get_object", self._name(key), {}, expires_in), {})

    def head(self, key: str) -> ObjectInfo | None:
        name = self._name(key)
        try:
            with _told(f"head {key}"):
                # A provider without checksums refuses the very question.
                found = (
                    self._client.head_object(Bucket=self._bucket, Key=name, ChecksumMode="ENABLED")
                    if self.promises.crc32
                    else self._client.head_object(Bucket=self._bucket, Key=name)
                )
        except S3Failure as failure:
            if failure.reason not in ("404", "NotFound"):
                raise
            self._check_bucket(name)
            return None
        return ObjectInfo(key, found["ContentLength"], _attested(found))

    def open(self, key: str) -> BinaryIO:
        with _told(f"read {key}"):
            found = self._client.get_object(Bucket=self._bucket, Key=self._name(key))
        return io.BufferedReader(_Body(found["Body"], key), _BLOCK)

    def read(self, key: str, start: int, size: int) -> bytes:
        check_range(start, size)
        span = f"bytes={start}-{start + size - 1}"
        with _told(f"read {key}"):
            found = self._client.get_object(Bucket=self._bucket, Key=self._name(key), Range=span)
            with closing(found["Body"]) as body:
                if found["ContentLength"] != size:
                    raise StoreError(f"{key} has no {size} bytes from {start}")
                return body.read()

    def delete(self, key: str) -> None:
        for name in {self._name(key), self._arrival(key)}:
            self._delete(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2")
        with _told("list"):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for one in page.get("Contents", ()):
                    key = one["Key"].removeprefix(self._prefix)
                    if is_key(key):
                        yield ObjectInfo(key, one["Size"], None, one["LastModified"])

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _delete(self, name: str) -> None:
        try:
            with _told(f"delete {name}"):
                self._client.delete_object(Bucket=self._bucket, Key=name)
        except ObjectMissing:
            return

    def _sign(self, operation: str, name: str, bound: dict[str, str | int], expires_in: timedelta) -> str:
        if not timedelta(seconds=1) <= expires_in <= _LONGEST:
            raise StoreError(f"a URL lives between a second and seven days, not {expires_in}")
        params = {"Bucket": self._bucket, "Key": name, **bound}
        with _told(f"sign for {name}"):
            return self._client.generate_presigned_url(
                operation, Params=params, ExpiresIn=int(expires_in.total_seconds())
            )

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _arrival(self, key: str) -> str:
        """Where the URL to store ``key`` leads."""
        return self._name(key) if self.promises.once else f"{self._prefix}{_INCOMING}{check_key(key)}"

    def _check_bucket(self, name: str) -> None:
        """A HEAD's 404 does not say whether the object is missing or the whole bucket, which proves nothing."""
        with _told("list"):
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=name, MaxKeys=1)


class _Body(io.RawIOBase):
    """An object's bytes as they arrive. A connection that breaks is a ``StoreError``, never a short object."""

    def __init__(self, body: StreamingBody, key: str) -> None:
        self._body = body
        self._key = key

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        with _told(f"read {self._key}"):
            block = self._body.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._body.close()
        super().close()


def _client(config: S3Config) -> S3Client:
    """Only from ``config``: what lies in ``~/.aws`` or the environment of the process does not choose the bucket."""
    session = Session(
        aws_access_key_id=config.access_key_id,
        aws_secret_access_key=config.secret_access_key,
        region_name=config.region,
    )
    return session.client(
        "s3",
        endpoint_url=config.endpoint or None,
        config=Config(
            signature_version="s3v4",
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 4},
            max_pool_connections=32,
            tcp_keepalive=True,
            ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # missing in the stubs
            # The default adds a CRC-32 of its own, also of the body that a presigned URL does not have yet.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if config.path_style else "virtual"},
        ),
    )


def _attested(found: HeadObjectOutputTypeDef) -> str | None:
    """The CRC-32 of the whole object, in hex. A multipart upload's may be one of other checksums."""
    told = found.get("ChecksumCRC32")
    if not told or found.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return None
    try:
        digest = base64.b64decode(told, validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 4 else None


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Every failure below S3 in our own words. They carry S3's code and message, which never hold a secret."""
    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        reason, message = answer.get("Code", "Unknown"), answer.get("Message", "")
        if reason == "NoSuchKey":
            raise ObjectMissing(f"{what}: there is no such object") from error
        raise S3Failure(reason, f"the bucket refused to {what}: {reason} ({message})") from error
    except (BotoCoreError, HTTPError) as error:
        raise S3Failure(type(error).__name__, f"could not {what}: {error}") from error
