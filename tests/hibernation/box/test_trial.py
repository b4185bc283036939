"""A machine's test: what it says is checked, and on a real machine it says what is there. And the hook."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hibernation.box.install import install_agent
from hibernation.box.ssh import Box
from hibernation.box.trial import Download, parse_trial, run_hook, try_machine
from hibernation.domain.errors import BoxError
from tests.hibernation.box.conftest import Rental
from tests.hibernation.box.test_fence import FakeShell

GOOD: dict[str, Any] = {
    "gpus": [{"name": "NVIDIA GeForce RTX 4090", "memory_mib": 24564.0}],
    "driver": "570.86",
    "cuda": "12.8",
    "compute": "",
    "download": {"bytes": 50_000_000, "seconds": 0.5},
}


def test_a_good_machine_is_told_in_our_units() -> None:
    trial = parse_trial(GOOD)
    assert trial.gpus == ("NVIDIA GeForce RTX 4090",)
    assert trial.memory_gb == pytest.approx((23.99,), abs=0.01)
    assert (trial.driver, trial.cuda, trial.compute) == ("570.86", "12.8", "")
    assert trial.download_mbps == 800


@pytest.mark.parametrize(
    "download",
    [
        None,
        {"bytes": 0, "seconds": 0.0, "error": "HTTP 403"},
        {"bytes": 7_000_000, "seconds": 0.9},
        {"bytes": 50_000_000, "seconds": 0},
    ],
)
def test_a_download_that_says_nothing_is_no_measurement(download: Any) -> None:
    assert parse_trial({**GOOD, "download": download}).download_mbps is None


def test_a_download_that_took_long_counts_however_little_it_moved() -> None:
    assert parse_trial({**GOOD, "download": {"bytes": 1_000_000, "seconds": 4}}).download_mbps == 2


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"gpus": [], "error": "no driver"},
        {**GOOD, "gpus": []},
        {**GOOD, "gpus": ["RTX 4090"]},
        {**GOOD, "gpus": [{}] * 65},
        {**GOOD, "gpus": [{"name": 5}]},
        {**GOOD, "gpus": [{"name": "x", "memory_mib": -1}]},
        {**GOOD, "gpus": [{"name": "x", "memory_mib": True}]},
        {**GOOD, "driver": []},
        {**GOOD, "download": {"bytes": "many", "seconds": 1}},
    ],
)
def test_an_answer_without_gpus_or_sense_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(BoxError):
        parse_trial(answer)


def test_signed_addresses_are_not_in_the_command() -> None:
    shell = FakeShell(GOOD)
    try_machine(shell, [Download("http://store/x?signature=s3cret", {}, 5)], 1.0)
    assert "s3cret" not in shell.commands[0]


def test_a_machine_that_prints_no_exit_code_ran_no_hook() -> None:
    with pytest.raises(BoxError):
        run_hook(FakeShell({"a": 1}), "true", "/workspace", 5)


@pytest.fixture(scope="module")
def ready(rental: Rental) -> Rental:
    """With the agent on it."""
    install_agent(
        rental.box,
        instance_id="local_1",
        control_url="http://127.0.0.1:9",
        token="t",
        interval=30,
        workspace=rental.machine.workspace,
    )
    return rental


def test_a_real_machine_tells_its_gpus_and_its_driver(ready: Rental) -> None:
    trial = try_machine(ready.box, [], 1.0)
    assert trial.gpus == (ready.machine.gpu_type,) * ready.machine.gpu_count
    assert (trial.driver, trial.cuda, trial.compute) == ("550.54.15", "12.4", "")
    assert trial.download_mbps is None


def test_a_machine_without_gpus_says_why(ready: Rental) -> None:
    file = ready.provider.gpu_file(ready.machine.contract_id)
    before = file.read_text()
    file.write_text("broken\n")
    try:
        with pytest.raises(BoxError, match="cannot be read"):
            try_machine(ready.box, [], 1.0)
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("echo it\\'s here > made; cat made", 0, "it's here"),
        ("echo no >&2; exit 3", 3, "no"),
        ("pwd", 0, "workspace"),
        ("true", 0, ""),
        ("sleep 9", 124, ""),
        ("sleep 9 & echo on its way", 0, "on its way"),
        ("yes | head -c 100000; printf end", 0, "end"),
    ],
)
def test_a_hook_runs_in_the_workspace_for_a_bounded_time(
    ready: Rental, line: str, code: int, said: str
) -> None:
    ran = run_hook(ready.box, line, ready.machine.workspace, 1.0)
    assert ran.code == code
    assert said in ran.output
    assert len(ran.output) <= 2000
    assert json.dumps(ran.output)


def test_a_hook_that_reads_gets_nothing(box: Box, rental: Rental) -> None:
    assert run_hook(box, "cat; exit 4", rental.machine.workspace, 5.0).code == 4
