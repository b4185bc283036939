from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hibernation.box.jobs import (
    JobError,
    job_status,
    parse_answer,
    parse_progress,
    start_job,
    stop_job,
)
from hibernation.box.ssh import Shell
from hibernation.domain.errors import BoxError

RUNNING: dict[str, Any] = {
    "job": "op-1", "kind": "freeze", "state": "running", "phase": "upload", "bytes_done": 5, "bytes_total": 9,
    "files_done": 1, "files_total": 2, "rate_bps": 2.5, "eta_seconds": 1.6, "error": None, "result": None,
}  # fmt: skip


class FakeShell:
    """Answers each command the same, and remembers what it was told."""

    def __init__(self, answer: object) -> None:
        self.answer = json.dumps(answer)
        self.commands: list[str] = []
        self.files: dict[str, tuple[bytes, int]] = {}

    def run(self, command: str, *, timeout: float, input: str | None = None) -> str:
        self.commands.append(command)
        return self.answer + "\n"

    def put_bytes(self, data: bytes, remote_path: str, mode: int) -> None:
        self.files[remote_path] = (data, mode)

    @contextmanager
    def connected(self) -> Iterator[Shell]:
        yield self


def test_starting_puts_the_spec_where_only_its_owner_reads_it() -> None:
    shell = FakeShell(RUNNING)
    progress = start_job(shell, "op-1", {"kind": "freeze", "key": "00"})
    assert shell.files == {"~/.dumont/jobs/op-1/spec.json": (b'{"kind": "freeze", "key": "00"}', 0o600)}
    assert shell.commands[-1].endswith("job start --dir ~/.dumont/jobs/op-1")
    assert (progress.bytes_done, progress.bytes_total, progress.eta_seconds) == (5, 9, 1.6)


def test_progress_tells_the_network_and_when_work_can_begin() -> None:
    answer = RUNNING | {"kind": "thaw", "bytes_moved": 3, "usable": False, "usable_eta_seconds": 0.5}
    progress = job_status(FakeShell(answer), "op-1")
    assert (progress.bytes_moved, progress.usable, progress.usable_eta_seconds) == (3, False, 0.5)


def test_a_failed_job_starts_again_only_when_asked_to() -> None:
    shell = FakeShell(RUNNING)
    start_job(shell, "op-1", {}, again=True)
    assert shell.commands[-1].endswith("--dir ~/.dumont/jobs/op-1 --again")


@pytest.mark.parametrize("job", ["", "../op", "a b", "a;b", "-x", "x" * 101])
def test_a_name_that_a_shell_could_misread_is_refused(job: str) -> None:
    with pytest.raises(BoxError, match="cannot name a job"):
        job_status(FakeShell(RUNNING), job)


def test_stop_asks_the_agent() -> None:
    shell = FakeShell({**RUNNING, "state": "failed"})
    assert stop_job(shell, "op-1").state == "failed"
    assert shell.commands[-1].endswith("agents.pyz job stop --dir ~/.dumont/jobs/op-1")


def test_a_failure_carries_its_code_and_message() -> None:
    failed = {**RUNNING, "state": "failed", "error": {"code": "disk_full", "message": "No space."}}
    assert parse_progress(failed, "op-1").error == JobError("disk_full", "No space.")


def test_a_job_that_never_started_is_unknown() -> None:
    assert parse_progress({"job": "op-1", "state": "unknown"}, "op-1").state == "unknown"


def test_only_a_plain_true_is_usable() -> None:
    assert parse_progress({**RUNNING, "kind": "thaw", "usable": True}, "op-1").usable
    assert not parse_progress({**RUNNING, "kind": "thaw", "usable": "yes"}, "op-1").usable


@pytest.mark.parametrize(
    "change",
    [
        {"job": "op-2"},
        {"kind": "melt"},
        {"kind": ["freeze"]},
        {"state": "splendid"},
        {"state": None},
        {"phase": 3},
        {"bytes_done": -1},
        {"bytes_done": True},
        {"bytes_total": 1.5},
        {"files_done": "2"},
        {"files_total": 10**30},
        {"rate_bps": "fast"},
        {"rate_bps": -1},
        {"eta_seconds": False},
        {"error": "no"},
        {"error": {"code": 5}},
        {"result": []},
    ],
)
def test_progress_of_a_wrong_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BoxError):
        parse_progress({**RUNNING, **change}, "op-1")


@pytest.mark.parametrize(
    "output",
    ["", "\n", "hello", "[]", "3", '{"a": NaN}', '{"a": 1e999}', "[" * 100_000, '{"a": ' * 5000, '{"a": 1}}'],
)
def test_an_answer_that_is_no_json_object_is_refused(output: str) -> None:
    with pytest.raises(BoxError, match="JSON"):
        parse_answer(output)


def test_lines_of_a_login_script_are_skipped() -> None:
    assert parse_answer('Welcome!\n{"a": [1, 2.5]}\n') == {"a": [1, 2.5]}


def test_text_that_no_database_takes_is_replaced() -> None:
    assert parse_answer('{"a\\u0000": ["\\udcff", {"b": "x\\u0000"}]}') == {
        "a\ufffd": ["\ufffd", {"b": "x\ufffd"}]
    }


def test_long_texts_are_cut() -> None:
    assert len(parse_progress({**RUNNING, "phase": "x" * 9000}, "op-1").phase) == 2000
