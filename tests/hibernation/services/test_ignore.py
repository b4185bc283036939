"""An instance's rules reach its machine, and what they left out is on its snapshot."""

from __future__ import annotations

import pytest

from hibernation.domain.states import OperationState
from hibernation.models import Snapshot
from tests.hibernation.services.box import tree
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def test_rules_keep_files_out_of_the_copy_and_the_snapshot_says_so(world: World) -> None:
    instance = world.awake(ignore_rules="*.tmp\n!keep.tmp\n")
    workspace = world.box(instance).workspace
    (workspace / "__pycache__").mkdir()
    for name in ("junk.tmp", "keep.tmp", "__pycache__/m.pyc"):
        (workspace / name).write_text("x" * 10)
    before = tree(workspace)
    assert world.run(world.hibernate(instance)).state == OperationState.SUCCEEDED
    report = Snapshot.objects.get(instance=instance).report
    assert {row["path"]: row["bytes"] for row in report["left_out"]} == {"junk.tmp": 10, "__pycache__": 10}
    assert (report["left_out_files"], report["left_out_bytes"]) == (2, 20)
    world.run(world.wake(instance))
    after = tree(world.box(instance).workspace)
    assert before.keys() - after.keys() == {"junk.tmp", "__pycache__/m.pyc"}
    assert after.keys() <= before.keys()


def test_a_copy_that_claims_more_than_its_freeze_reported_is_never_written(world: World) -> None:
    instance = world.asleep()
    Snapshot.objects.filter(instance=instance).update(bytes_logical=1)
    operation = world.run(world.wake(instance))
    assert operation.state == OperationState.FAILED
    assert "it holds" in operation.error
