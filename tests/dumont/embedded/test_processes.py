from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dumont.embedded import processes
from dumont.embedded.processes import Identity, StartFailed, group_members, run, signals_as_exits, spawn

from .conftest import MakeProgram, commands_naming, eventually, interrupt_after


def test_a_program_leads_a_session_of_its_own(make_program: MakeProgram) -> None:
    process = spawn(make_program())
    try:
        assert os.getsid(process.pid) == process.pid
    finally:
        processes.reap(process)


def test_reaping_takes_the_whole_group(make_program: MakeProgram) -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '600']); sys.exit(3)"
    process = spawn(make_program(code=code))
    eventually(lambda: processes.ended(process))
    assert group_members(process.pid)
    assert processes.reap(process) == 3
    assert processes.wait_for_group(process.pid)


def test_run_returns_when_the_program_succeeds(make_program: MakeProgram) -> None:
    run(make_program(code="print('done')"), timeout=10)


def test_run_shows_the_log_of_a_failure(make_program: MakeProgram) -> None:
    with pytest.raises(StartFailed, match=r"status 3(.|\n)*what went wrong"):
        run(make_program(code="print('what went wrong', flush=True); raise SystemExit(3)"), timeout=10)


def test_run_ends_what_takes_too_long(make_program: MakeProgram, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="longer than"):
        run(make_program(), timeout=0.1)
    assert not commands_naming(tmp_path)


def test_run_interrupted_leaves_nothing(make_program: MakeProgram, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), interrupt_after(0.2):
        run(make_program(), timeout=10)
    assert not commands_naming(tmp_path)


def test_a_large_log_makes_room(
    make_program: MakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_LOG_LIMIT", 3)
    program = make_program(code="print('new')")
    program.log.parent.mkdir()
    program.log.write_text("old lines\n")
    run(program, timeout=10)
    assert program.log.read_text() == "new\n"
    assert program.log.with_suffix(".log.1").read_text() == "old lines\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_becomes_an_exit_and_the_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as left, signals_as_exits():
        os.kill(os.getpid(), number)
    assert left.value.code == 128 + number
    assert signal.getsignal(number) is before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another identity to take")
@pytest.mark.parametrize("identity", [Identity.NAMESPACE, Identity.NOBODY])
def test_root_becomes_nobody(make_program: MakeProgram, identity: Identity) -> None:
    if identity is Identity.NAMESPACE and processes.unprivileged_identity() is not identity:
        pytest.skip("user namespaces are forbidden here")
    program = make_program(code="import os; print(os.getuid(), os.geteuid(), os.getgid())", identity=identity)
    run(program, timeout=10)
    assert program.log.read_text().split() == ["65534"] * 3


def test_a_plain_user_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert processes.unprivileged_identity.__wrapped__() is Identity.SELF
