from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hibernation.providers.local.faults import set_faults, take
from hibernation.providers.local.files import remove_tree
from hibernation.providers.local.ledger import billing_now, write_line
from hibernation.providers.local.records import FIRST_CONTRACT, Record, Records


def record(contract_id: str) -> Record:
    return Record(contract_id, "label", "GPU", 1, "EU", "0.5", "key", "marker", "2026-01-01T00:00:00+00:00")


def test_what_its_owner_made_unwritable_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    (folder / "sealed" / "deeper").mkdir(parents=True)
    (folder / "sealed" / "file").write_text("x")
    (folder / "link").symlink_to("/etc")
    (folder / "sealed").chmod(0o000)
    remove_tree(folder)
    remove_tree(folder)
    assert not folder.exists()
    assert Path("/etc/passwd").exists()


def test_contracts_are_never_numbered_twice(tmp_path: Path) -> None:
    records = Records(tmp_path)
    first = records.add(record)
    assert first.contract_id == str(FIRST_CONTRACT)
    assert records.remove(first.contract_id)
    assert not records.remove(first.contract_id)
    assert records.add(record).contract_id == str(FIRST_CONTRACT + 1)


def test_an_ended_rental_cannot_be_changed(tmp_path: Path) -> None:
    records = Records(tmp_path)
    contract_id = records.add(record).contract_id
    assert records.change(contract_id, pid=5, pid_started=6)
    assert records.remove(contract_id)
    assert not records.change(contract_id, pid=7)
    assert records.all() == []


def test_a_counted_fault_hits_that_many_calls_of_all_threads(tmp_path: Path) -> None:
    set_faults(tmp_path, list_fails=3)
    hits: list[bool] = []
    threads = [threading.Thread(target=lambda: hits.append(take(tmp_path, "list_fails"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(hits) == 3


def test_arming_one_fault_keeps_the_others(tmp_path: Path) -> None:
    set_faults(tmp_path, list_fails=1)
    set_faults(tmp_path, offer_gone=1)
    assert take(tmp_path, "list_fails")
    assert take(tmp_path, "offer_gone")
    assert not take(tmp_path, "offer_gone")


def test_a_fault_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="list_failz"):
        set_faults(tmp_path, list_failz=1)


def test_what_was_launched_and_not_ended_bills(tmp_path: Path) -> None:
    assert billing_now(tmp_path) == []
    for contract_id in ("1", "2", "3"):
        write_line(tmp_path, "launched", contract_id, "label", "0.5")
    write_line(tmp_path, "destroy_called", "1")
    write_line(tmp_path, "destroyed", "2")
    write_line(tmp_path, "vanished", "3")
    assert billing_now(tmp_path) == ["1"]
