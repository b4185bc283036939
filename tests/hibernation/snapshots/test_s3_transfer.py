"""The machine's own code moves bytes to and from a bucket, with nothing but what the control plane signed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agents.snapshot.checksum import crc32_of
from agents.snapshot.errors import SnapshotError
from agents.snapshot.transfer import Retry, Transfer
from hibernation.snapshots.s3 import S3Store
from tests.agents.snapshot.harness import TOKEN, serve_cloud
from tests.fakes.s3 import Bucket, config_of, serve_s3

pytestmark = pytest.mark.network

DATA = bytes(range(256)) * 20_000
CRC32 = crc32_of([DATA])


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serve_s3() as bucket:
        yield bucket


@pytest.fixture
def transfer(bucket: Bucket, tmp_path: Path) -> Iterator[Transfer]:
    (tmp_path / "token").write_text(TOKEN)
    with serve_cloud(tmp_path / "unused") as cloud, closing(S3Store(config_of(bucket))) as store:
        cloud.store = store
        retry = Retry(attempts=3, first=0.001)
        with closing(Transfer(cloud.url, tmp_path / "token", "s-1", retry=retry)) as transfer:
            yield transfer


def upload(transfer: Transfer) -> str:
    parts = [DATA[:1_000_000], bytearray(DATA[1_000_000:])]
    return transfer.upload("pack", 0, parts, len(DATA), CRC32)


def test_a_pack_goes_up_and_a_part_of_it_comes_back(bucket: Bucket, transfer: Transfer) -> None:
    key = upload(transfer)
    assert bucket.objects[key].data == DATA
    into = bytearray(5000)
    transfer.download(key, 1234, memoryview(into))
    assert into == DATA[1234:6234]


def test_a_lost_answer_costs_no_second_object(bucket: Bucket, transfer: Transfer) -> None:
    bucket.faults.append("lost")
    key = upload(transfer)
    assert list(bucket.objects) == [key]
    assert bucket.asked == [("PUT", key)] * 2


@pytest.mark.parametrize("fault", ["slow down", "drop"])
def test_what_passes_is_tried_again(bucket: Bucket, transfer: Transfer, fault: str) -> None:
    bucket.faults.append(fault)  # type: ignore[arg-type]
    key = upload(transfer)
    bucket.faults.append(fault)  # type: ignore[arg-type]
    into = bytearray(10)
    transfer.download(key, 0, memoryview(into))
    assert into == DATA[:10]


def test_bytes_that_changed_on_the_way_are_not_stored(bucket: Bucket, transfer: Transfer) -> None:
    with pytest.raises(SnapshotError, match="BadDigest"):
        transfer.upload("pack", 0, [DATA[::-1]], len(DATA), CRC32)
    assert bucket.objects == {}
