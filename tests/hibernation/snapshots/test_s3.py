"""What is particular to the S3 store: its signatures, its errors in our words, and the connections that break."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agents.snapshot.checksum import crc32_of
from hibernation.domain.errors import StoreError
from hibernation.snapshots.s3 import S3Config, S3Failure, S3Store
from hibernation.snapshots.store import ObjectInfo
from tests.fakes.s3 import Bucket, Stored, config_of, serve_s3
from tests.fakes.s3_auth import Account, Asked, Refused, check_signature

pytestmark = pytest.mark.network

MINUTE = timedelta(minutes=1)
DATA = b"0123456789" * 1000
CRC32 = crc32_of([DATA])


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Bucket, S3Store]]:
    with serve_s3() as bucket, closing(S3Store(config_of(bucket))) as store:
        yield bucket, store


@pytest.fixture
def bucket(served: tuple[Bucket, S3Store]) -> Bucket:
    bucket = served[0]
    bucket.objects.clear()
    bucket.asked.clear()
    bucket.denied.clear()
    bucket.skew, bucket.page = timedelta(), 1000
    return bucket


@pytest.fixture
def store(served: tuple[Bucket, S3Store], bucket: Bucket) -> S3Store:
    return served[1]


def reason(act: Callable[[], object]) -> str:
    with pytest.raises(S3Failure) as failure:
        act()
    return failure.value.reason


def everything(store: S3Store) -> list[Callable[[], object]]:
    return [
        lambda: list(store.list("")),
        lambda: store.head("k"),
        lambda: store.open("k"),
        lambda: store.read("k", 0, 1),
        lambda: store.delete("k"),
    ]


def test_a_signed_put_binds_length_bytes_and_being_the_first(store: S3Store) -> None:
    signed = store.sign_put("k", size=len(DATA), crc32=CRC32, expires_in=MINUTE)
    names = parse_qs(urlsplit(signed.url).query)["X-Amz-SignedHeaders"][0].split(";")
    assert names == ["content-length", "host", "if-none-match", "x-amz-checksum-crc32"]
    digest = base64.b64encode(bytes.fromhex(CRC32)).decode()
    assert signed.headers == {"x-amz-checksum-crc32": digest, "If-None-Match": "*"}


def test_without_promises_only_the_length_is_bound() -> None:
    with closing(S3Store(S3Config("b", "eu", "id", "secret", crc32=False, write_once=False))) as store:
        signed = store.sign_put("k", size=1, crc32=CRC32, expires_in=MINUTE)
    assert signed.headers == {}
    assert "X-Amz-SignedHeaders=content-length%3Bhost&" in signed.url


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"region": "eu-central-1"}, "https://packs.s3.eu-central-1.amazonaws.com/k?"),
        (
            {"region": "auto", "endpoint": "https://r2.example", "path_style": True},
            "https://r2.example/packs/k?",
        ),
        ({"region": "auto", "endpoint": "https://r2.example"}, "https://packs.r2.example/k?"),
        (
            {"region": "eu", "endpoint": "https://b2.example", "prefix": "/a/b/"},
            "https://packs.b2.example/a/b/k?",
        ),
    ],
)
def test_the_address_follows_endpoint_style_and_prefix(
    options: dict[str, Any], start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere.example")
    config = S3Config(bucket="packs", access_key_id="id", secret_access_key="secret", **options)
    with closing(S3Store(config)) as store:
        assert store.sign_get("k", expires_in=MINUTE).url.startswith(start)


def test_the_secret_is_not_shown() -> None:
    config = S3Config("b", "eu", "id", "the-secret")
    assert "the-secret" not in repr(config)


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(days=8)])
def test_a_lifetime_that_s3_does_not_know_is_refused(store: S3Store, lifetime: timedelta) -> None:
    with pytest.raises(StoreError, match="seven days"):
        store.sign_get("k", expires_in=lifetime)


@pytest.mark.parametrize("options", [{"endpoint": "nonsense"}, {"endpoint": "https://"}])
def test_settings_without_sense_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(S3Failure, match="make no sense"):
        S3Store(S3Config("b", "eu", "id", "secret", **options))


def test_a_prefix_that_is_no_key_is_refused() -> None:
    with pytest.raises(StoreError, match="is not an object key"):
        S3Store(S3Config("b", "eu", "id", "secret", prefix="a/../b"))


def test_head_tells_the_hash_that_the_bucket_attests(bucket: Bucket, store: S3Store) -> None:
    digest = base64.b64encode(bytes.fromhex(CRC32)).decode()
    told = {"k": digest, "parts": f"{digest}-2", "odd": "AAAA"}
    bucket.objects = {key: Stored(DATA, claim) for key, claim in told.items()}
    assert store.head("k") == ObjectInfo("k", len(DATA), CRC32)
    assert store.head("parts") == ObjectInfo("parts", len(DATA), None)
    assert store.head("odd") == ObjectInfo("odd", len(DATA), None)


def test_a_list_goes_over_all_pages_and_keeps_to_the_prefix(bucket: Bucket) -> None:
    names = [f"mine/p/{number}" for number in range(7)]
    for name in [*names, "mine/folder/", "mine/with space", "other/p/1", "minefield"]:
        bucket.put(name, b"x")
    bucket.page = 3
    with closing(S3Store(config_of(bucket, prefix="mine"))) as store:
        assert [info.key for info in store.list("p/")] == [f"p/{number}" for number in range(7)]
        assert [info.key for info in store.list("")] == [f"p/{number}" for number in range(7)]


def test_a_missing_bucket_is_no_missing_object(bucket: Bucket) -> None:
    with closing(S3Store(config_of(bucket, bucket="nobody"))) as store:
        assert [reason(act) for act in everything(store)] == ["NoSuchBucket"] * 5


@pytest.mark.parametrize(
    ("options", "code", "head"),
    [
        ({"access_key_id": "nobody"}, "InvalidAccessKeyId", "403"),
        ({"secret_access_key": "wrong"}, "SignatureDoesNotMatch", "403"),
        ({"region": "mars"}, "AuthorizationHeaderMalformed", "400"),
    ],
)
def test_wrong_credentials_are_named(bucket: Bucket, options: dict[str, Any], code: str, head: str) -> None:
    with closing(S3Store(config_of(bucket, **options))) as store:
        assert [reason(act) for act in everything(store)] == [code, head, code, code, code]


def test_a_wrong_clock_is_named(bucket: Bucket, store: S3Store) -> None:
    bucket.skew = timedelta(hours=-1)
    assert reason(lambda: list(store.list(""))) == "RequestTimeTooSkewed"


def test_a_missing_permission_is_named(bucket: Bucket, store: S3Store) -> None:
    bucket.put("k", DATA)
    bucket.denied = {"s3:GetObject", "s3:DeleteObject"}
    with pytest.raises(S3Failure, match=r"refused to read k: AccessDenied \(Access Denied\)"):
        store.open("k")
    assert reason(lambda: store.delete("k")) == "AccessDenied"
    assert [info.key for info in store.list("")] == ["k"]


def test_nobody_there_is_named_without_the_secret() -> None:
    config = S3Config("b", "eu", "id", "the-secret", endpoint="http://127.0.0.1:1", path_style=True)
    with closing(S3Store(config)) as store, pytest.raises(S3Failure) as failure:
        store.delete("k")
    assert failure.value.reason == "EndpointConnectionError"
    assert "the-secret" not in "".join(traceback.format_exception(failure.value))


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client does not wait between its tries."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("hurry")
def test_what_passes_is_tried_again(bucket: Bucket, store: S3Store) -> None:
    bucket.put("k", DATA)
    bucket.faults.extend(["slow down", "drop"])
    assert store.read("k", 0, 4) == DATA[:4]
    assert bucket.asked == [("GET", "k")] * 3


@pytest.mark.usefixtures("hurry")
def test_what_lasts_is_an_error(bucket: Bucket, store: S3Store) -> None:
    bucket.faults.extend(["slow down"] * 4)
    assert reason(lambda: store.read("k", 0, 4)) == "SlowDown"


def test_a_body_cut_short_is_an_error_and_never_a_short_object(bucket: Bucket, store: S3Store) -> None:
    bucket.put("k", DATA)
    for act in (lambda: store.read("k", 0, len(DATA)), lambda: store.open("k").read()):
        bucket.faults.append("cut")
        with pytest.raises(StoreError, match="could not read k"):
            act()


def test_a_body_that_is_not_read_to_its_end_frees_its_connection(bucket: Bucket, store: S3Store) -> None:
    bucket.put("k", b"x" * 5_000_000)
    for _ in range(40):
        with store.open("k") as file:
            assert file.read(1) == b"x"


def test_a_provider_without_checksums_is_never_asked_for_them() -> None:
    with serve_s3(plain=True) as bucket:
        bucket.put("k", DATA)
        plain = config_of(bucket, crc32=False, write_once=False)
        with closing(S3Store(plain)) as store, closing(S3Store(config_of(bucket))) as eager:
            assert store.head("k") == ObjectInfo("k", len(DATA), None)
            assert reason(lambda: eager.head("k")) == "400"


def test_the_server_of_these_tests_does_not_take_an_unsigned_header(bucket: Bucket, store: S3Store) -> None:
    url = store.sign_get("k", expires_in=MINUTE).url
    headers = {"host": urlsplit(url).netloc}
    check_signature(bucket.account, Asked("GET", url, headers), bucket.now())
    with pytest.raises(Refused, match="AccessDenied"):
        check_signature(bucket.account, Asked("GET", url, {**headers, "x-amz-acl": "x"}), bucket.now())
    with pytest.raises(Refused, match="SignatureDoesNotMatch"):
        check_signature(Account("AKIDTEST", "other", "auto"), Asked("GET", url, headers), bucket.now())
