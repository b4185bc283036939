"""A thaw with the wrong keys: it fails by name, and not a byte is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.snapshot.errors import SnapshotError
from agents.snapshot.spec import ThawSpec, parse_spec
from tests.agents.snapshot.harness import KEYS, Box, Cloud, picture

pytestmark = pytest.mark.network
ID, CIPHER = KEYS.id.hex(), (KEYS.cipher or b"").hex()
WRONG = "f" * 64


def thaw(box: Box, frozen: dict[str, Any], keys: dict[str, Any]) -> None:
    spec = parse_spec(box.thaw_spec(frozen) | {"keys": keys})
    assert isinstance(spec, ThawSpec)
    box._run(spec, "thaw")


@pytest.mark.parametrize(
    "keys",
    [
        {"id": ID, "cipher": WRONG},
        {"id": WRONG, "cipher": CIPHER},
        {"id": WRONG, "cipher": WRONG},
        {"id": ID, "cipher": None},
    ],
    ids=["cipher", "id", "both", "none"],
)
def test_nothing_is_written_with_a_wrong_key(tmp_path: Path, cloud: Cloud, keys: dict[str, Any]) -> None:
    source = Box(tmp_path / "source", cloud)
    (source.workspace / "notes.txt").write_text("hello")
    (source.workspace / "big.bin").write_bytes(bytes(range(256)) * 8192)
    frozen = source.freeze("one")
    target = Box(tmp_path / "target", cloud)
    empty = picture(target.workspace)
    cloud.gets.clear()
    with pytest.raises(SnapshotError) as failure:
        thaw(target, frozen, keys)
    assert failure.value.code == "snapshot_unproven"
    assert picture(target.workspace) == empty
    assert not target.state_file.exists()
    assert cloud.gets == [frozen["manifest"]["key"]]
