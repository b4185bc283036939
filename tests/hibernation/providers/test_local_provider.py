from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hibernation.domain.errors import (
    BoxUnreachable,
    NotFound,
    OfferGone,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
)
from hibernation.providers.base import OfferFilter, Phase
from hibernation.providers.local import LocalProvider, billing_now, read_ledger, set_faults
from hibernation.providers.local.processes import is_alive, kill_machine, members
from tests.hibernation.providers.renting import (
    box_of,
    eventually,
    make_key,
    marker_of,
    only_machine,
    processes_of,
    running,
    spec,
)

REPOSITORY = Path(__file__).resolve().parents[3]


def count(provider: LocalProvider, event: str) -> int:
    return sum(line["event"] == event for line in read_ledger(provider.root))


def test_a_machine_can_be_labelled_anew(provider: LocalProvider, key_file: Path) -> None:
    contract_id = provider.launch(spec(provider, key_file, "my own"))
    for _ in range(2):
        provider.set_label(contract_id, "dumont-7")
    assert only_machine(provider).label == "dumont-7"
    with pytest.raises(NotFound):
        provider.set_label("777", "dumont-7")


def test_a_machine_is_launched_listed_used_and_destroyed(provider: LocalProvider, key_file: Path) -> None:
    contract_id = provider.launch(spec(provider, key_file, "dumont-7", HELLO="a b"))
    machine, marker = running(provider, contract_id), marker_of(provider, contract_id)
    assert (machine.label, machine.gpu_type, machine.ssh[0].user) == ("dumont-7", "RTX 3090", "root")
    assert box_of(machine, key_file).run('echo "$HELLO"', timeout=10) == "a b\n"
    assert billing_now(provider.root) == [contract_id]
    provider.destroy(contract_id)
    assert provider.list_machines() == []
    assert members(None, marker) == set()
    assert not provider.machine_folder(contract_id).exists()
    assert billing_now(provider.root) == []


def test_destroying_what_is_gone_is_success_and_ends_the_bill_once(
    provider: LocalProvider, key_file: Path
) -> None:
    contract_id = provider.launch(spec(provider, key_file))
    provider.destroy(contract_id)
    provider.destroy(contract_id)
    assert count(provider, "destroy_called") == 2
    assert count(provider, "destroyed") == 1


@pytest.mark.parametrize("contract_id", ["..", "../victim", "", "vast_1", "٣"])
def test_destroying_what_was_never_ours_touches_nothing(provider: LocalProvider, contract_id: str) -> None:
    victim = provider.root / "victim"
    victim.mkdir(parents=True)
    provider.destroy(contract_id)
    assert victim.is_dir()


def test_destroying_at_once_catches_a_machine_that_still_boots(
    provider: LocalProvider, key_file: Path
) -> None:
    contract_id = provider.launch(spec(provider, key_file))
    marker = marker_of(provider, contract_id)
    provider.destroy(contract_id)
    assert members(None, marker) == set()


def test_an_offer_is_rented_several_times_at_once_under_distinct_contracts(
    provider: LocalProvider, key_file: Path
) -> None:
    wanted = spec(provider, key_file)
    with ThreadPoolExecutor(3) as pool:
        contracts = {future.result() for future in [pool.submit(provider.launch, wanted) for _ in range(3)]}
    assert len(contracts) == 3
    assert {machine.contract_id for machine in provider.list_machines()} == contracts
    assert len({machine.ssh[0].port for machine in provider.list_machines()}) == 3


def test_a_machine_outlives_the_process_that_launched_it(provider: LocalProvider, key_file: Path) -> None:
    script = (
        "from pathlib import Path; import sys\n"
        "from tests.hibernation.providers.renting import LocalProvider, spec\n"
        "provider = LocalProvider(Path(sys.argv[1]))\n"
        "print(provider.launch(spec(provider, Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", script, str(provider.root), str(key_file)]
    launched = subprocess.run(
        command, cwd=REPOSITORY, env={}, capture_output=True, check=True, text=True, timeout=30
    )
    machine = running(provider, launched.stdout.strip())
    assert box_of(machine, key_file).run("echo here", timeout=10) == "here\n"


def test_a_machine_whose_processes_died_is_offline_and_still_bills(
    provider: LocalProvider, key_file: Path
) -> None:
    contract_id = provider.launch(spec(provider, key_file))
    kill_machine(None, marker_of(provider, contract_id))
    assert only_machine(provider).phase is Phase.OFFLINE
    assert billing_now(provider.root) == [contract_id]
    assert provider.reap_strays() == [contract_id]
    assert provider.list_machines() == []
    assert billing_now(provider.root) == []


def test_reaping_leaves_live_machines_and_ends_those_no_rental_knows(
    provider: LocalProvider, key_file: Path
) -> None:
    kept, lost = [provider.launch(spec(provider, key_file)) for _ in range(2)]
    marker = marker_of(provider, lost)
    provider._records.remove(lost)
    assert provider.reap_strays() == [lost]
    assert members(None, marker) == set()
    assert only_machine(provider).contract_id == kept
    assert processes_of(provider, kept)


def test_a_machine_whose_folder_is_removed_ends_by_itself(provider: LocalProvider, key_file: Path) -> None:
    contract_id = provider.launch(spec(provider, key_file))
    running(provider, contract_id)
    marker = marker_of(provider, contract_id)
    (provider.machine_folder(contract_id) / "machine.json").unlink()
    eventually(lambda: members(None, marker) == set())


def test_gpus_start_idle_and_are_told_by_the_real_library(provider: LocalProvider, key_file: Path) -> None:
    machine = running(provider, provider.launch(spec(provider, key_file)))
    assert provider.gpu_file(machine.contract_id).read_text().startswith("RTX 3090, 24576, 0")
    script = (
        "from pynvml import *; nvmlInit(); "
        "print(nvmlDeviceGetUtilizationRates(nvmlDeviceGetHandleByIndex(0)).gpu)"
    )
    assert box_of(machine, key_file).run(f'python3 -c "{script}"', timeout=20) == "0\n"


def test_only_the_given_key_is_let_in(provider: LocalProvider, key_file: Path, tmp_path: Path) -> None:
    machine = running(provider, provider.launch(spec(provider, key_file)))
    with pytest.raises(BoxUnreachable, match="does not accept our key"):
        box_of(machine, make_key(tmp_path)).run("true", timeout=10)


def test_a_key_attached_later_opens_at_once_and_the_first_still_does(
    provider: LocalProvider, key_file: Path, tmp_path: Path
) -> None:
    machine, second = running(provider, provider.launch(spec(provider, key_file))), make_key(tmp_path)
    for _ in range(2):
        provider.attach_key(machine.contract_id, second.with_suffix(".pub").read_text())
    for key in (key_file, second):
        box_of(machine, key).run("true", timeout=10)
    assert len(provider.keys_file(machine.contract_id).read_text().splitlines()) == 2


def test_a_stopped_machine_keeps_its_files_and_its_host_key_and_runs_again(
    provider: LocalProvider, key_file: Path
) -> None:
    wanted = replace(spec(provider, key_file, HELLO="again"), onstart='echo "$HELLO" >> ~/starts')
    contract_id = provider.launch(wanted)
    before = running(provider, contract_id)
    box_of(before, key_file).run(f"echo kept > {before.workspace}/file", timeout=10)
    for _ in range(2):
        provider.stop(contract_id)
    assert only_machine(provider).phase is Phase.STOPPED
    assert not processes_of(provider, contract_id)
    assert provider.reap_strays() == []
    for _ in range(2):
        provider.start(contract_id)
    after = running(provider, contract_id)
    assert (after.host_key, after.started_at) == (before.host_key, before.started_at)
    box = box_of(after, key_file)
    assert box.run(f"cat {after.workspace}/file", timeout=10) == "kept\n"
    eventually(lambda: box.run("cat ~/starts", timeout=10) == "again\nagain\n")


@pytest.mark.parametrize("act", ["stop", "start"])
def test_what_is_gone_can_neither_be_stopped_nor_started(provider: LocalProvider, act: str) -> None:
    with pytest.raises(NotFound):
        getattr(provider, act)("30000001")


@pytest.mark.parametrize("key", ["", "ssh-ed25519", "ssh-ed25519 AAAA\nssh-ed25519 BBBB"])
def test_a_malformed_public_key_is_refused_before_anything_is_rented(
    provider: LocalProvider, key_file: Path, key: str
) -> None:
    with pytest.raises(ProviderRefused, match="SSH public key"):
        provider.launch(replace(spec(provider, key_file), ssh_public_key=key))
    assert read_ledger(provider.root) == []


def test_more_disk_than_offered_is_refused(provider: LocalProvider, key_file: Path) -> None:
    with pytest.raises(ProviderRefused, match="250 GB"):
        provider.launch(replace(spec(provider, key_file), disk_gb=251))


def test_an_offer_no_longer_listed_is_gone(provider: LocalProvider, key_file: Path) -> None:
    offer = replace(provider.search_offers(OfferFilter())[0], offer_id="999")
    with pytest.raises(OfferGone):
        provider.launch(replace(spec(provider, key_file), offer=offer))


def test_fault_offer_gone_rents_nothing(provider: LocalProvider, key_file: Path) -> None:
    set_faults(provider.root, offer_gone=1)
    with pytest.raises(OfferGone):
        provider.launch(spec(provider, key_file))
    assert provider.list_machines() == []
    assert billing_now(provider.root) == []


@pytest.mark.parametrize("fault", ["launch_answer_lost", "launch_error"])
def test_fault_lost_answers_leave_a_machine_to_be_found_by_label(
    provider: LocalProvider, key_file: Path, fault: str
) -> None:
    set_faults(provider.root, **{fault: 1})
    with pytest.raises(ProviderError) as raised:
        provider.launch(spec(provider, key_file, "dumont-lost"))
    assert not isinstance(raised.value, ProviderRefused)
    assert only_machine(provider).label == "dumont-lost"
    assert len(billing_now(provider.root)) == 1


def test_a_machine_that_cannot_start_may_exist(
    provider: LocalProvider, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    with pytest.raises(ProviderError, match="did not start"):
        provider.launch(spec(provider, key_file))
    assert only_machine(provider).phase is Phase.LOADING
    assert len(billing_now(provider.root)) == 1


def test_fault_slow_boot_opens_the_port_late(provider: LocalProvider, key_file: Path) -> None:
    set_faults(provider.root, slow_boot_seconds=2)
    contract_id = provider.launch(spec(provider, key_file))
    machine = only_machine(provider)
    assert machine.phase is Phase.LOADING
    with pytest.raises(BoxUnreachable):
        box_of(machine, key_file).run("true", timeout=5)
    box_of(running(provider, contract_id), key_file).run("true", timeout=5)


def test_fault_never_reachable_hits_the_next_machine_only(provider: LocalProvider, key_file: Path) -> None:
    set_faults(provider.root, never_reachable=1)
    silent, good = [running(provider, provider.launch(spec(provider, key_file))) for _ in range(2)]
    with pytest.raises(BoxUnreachable):
        box_of(silent, key_file).run("true", timeout=5)
    box_of(good, key_file).run("true", timeout=5)


def test_fault_refused_logins_turns_the_first_away(provider: LocalProvider, key_file: Path) -> None:
    set_faults(provider.root, refused_logins=1, login_banner="Welcome.\n")
    machine = running(provider, provider.launch(spec(provider, key_file)))
    with pytest.raises(BoxUnreachable, match="does not accept our key"):
        box_of(machine, key_file).run("true", timeout=10)
    assert box_of(machine, key_file).run("echo in", timeout=10) == "in\n"


def test_fault_destroy_refused_leaves_the_machine(provider: LocalProvider, key_file: Path) -> None:
    contract_id = provider.launch(spec(provider, key_file))
    set_faults(provider.root, destroy_refused=1)
    with pytest.raises(ProviderUnavailable):
        provider.destroy(contract_id)
    assert processes_of(provider, contract_id)
    provider.destroy(contract_id)
    assert provider.list_machines() == []


def test_fault_destroy_ignored_says_yes_and_does_nothing(provider: LocalProvider, key_file: Path) -> None:
    contract_id = provider.launch(spec(provider, key_file))
    set_faults(provider.root, destroy_ignored=1)
    provider.destroy(contract_id)
    assert processes_of(provider, contract_id)
    assert only_machine(provider).contract_id == contract_id
    assert billing_now(provider.root) == [contract_id]


def test_fault_list_fails_is_an_error_and_never_an_empty_list(provider: LocalProvider) -> None:
    set_faults(provider.root, list_fails=1)
    with pytest.raises(ProviderUnavailable):
        provider.list_machines()
    assert provider.list_machines() == []


def test_fault_vanish_takes_the_machine_and_ends_the_bill(provider: LocalProvider, key_file: Path) -> None:
    taken, kept = [provider.launch(spec(provider, key_file)) for _ in range(2)]
    marker = marker_of(provider, taken)
    set_faults(provider.root, vanish=[taken])
    assert only_machine(provider).contract_id == kept
    assert members(None, marker) == set()
    assert billing_now(provider.root) == [kept]
    assert count(provider, "vanished") == 1


def test_a_machine_that_does_not_end_stays_rented(
    provider: LocalProvider, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise TimeoutError("still there")

    contract_id = provider.launch(spec(provider, key_file))
    with monkeypatch.context() as patch:
        patch.setattr("hibernation.providers.local.provider.kill_machine", refuse)
        with pytest.raises(ProviderUnavailable, match="still there"):
            provider.destroy(contract_id)
    assert billing_now(provider.root) == [contract_id]


def test_destroy_all_ends_everything_whatever_is_armed(provider: LocalProvider, key_file: Path) -> None:
    contracts = [provider.launch(spec(provider, key_file)) for _ in range(2)]
    set_faults(provider.root, destroy_refused=9, destroy_ignored=9)
    assert provider.destroy_all() == contracts
    assert provider.destroy_all() == []
    assert billing_now(provider.root) == []


def test_stop_all_ends_the_processes_and_leaves_the_folders_to_look_at(
    provider: LocalProvider, key_file: Path
) -> None:
    contract_id = provider.launch(spec(provider, key_file))
    left = processes_of(provider, contract_id)
    kept = provider.machine_folder(contract_id) / "workspace" / "notes.txt"
    kept.write_text("mine")
    assert provider.stop_all() == [contract_id]
    assert provider.stop_all() == []
    assert not any(is_alive(process) for process in left)
    assert billing_now(provider.root) == []
    assert kept.read_text() == "mine"
    assert provider.reap_strays() == [contract_id]
    assert not kept.exists()
