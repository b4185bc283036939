from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dumont.embedded import watchdog
from dumont.embedded.environment import PROJECT
from dumont.embedded.processes import StartFailed, group_members
from dumont.embedded.supervisor import Supervisor

from .conftest import MakeProgram, commands_naming, eventually

STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
FAMILY = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); print('two', flush=True); time.sleep(600)"


def test_a_killed_program_is_restarted(supervisor: Supervisor, make_program: MakeProgram) -> None:
    supervisor.add(make_program())
    first = supervisor.pid("sleeper")
    supervisor.kill("sleeper")
    eventually(lambda: supervisor.pid("sleeper") not in (None, first))


def test_a_program_that_ends_by_itself_takes_its_group_along(
    supervisor: Supervisor, make_program: MakeProgram
) -> None:
    program = make_program(code=FAMILY)
    supervisor.add(program)
    first = supervisor.pid("sleeper")
    assert first
    eventually(lambda: len(group_members(first)) == 2)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: supervisor.pid("sleeper") not in (None, first))
    assert not group_members(first)


def test_a_paused_program_stays_dead_until_it_is_resumed(
    supervisor: Supervisor, make_program: MakeProgram
) -> None:
    supervisor.add(make_program(), make_program("other"))
    supervisor.pause_restart("sleeper")
    other = supervisor.pid("other")
    supervisor.kill("sleeper")
    supervisor.kill("other")
    eventually(lambda: supervisor.pid("other") not in (None, other))
    assert supervisor.pid("sleeper") is None
    supervisor.resume_restart("sleeper")
    eventually(lambda: supervisor.pid("sleeper"))


def test_a_program_that_keeps_dying_is_reported_with_its_log(
    supervisor: Supervisor, make_program: MakeProgram
) -> None:
    supervisor.add(make_program(code="print('no database', flush=True); raise SystemExit(1)"))

    def reported() -> bool:
        try:
            supervisor.check(deaths=2)
        except StartFailed as error:
            return "no database" in error.message
        return False

    eventually(reported)


def test_a_program_that_cannot_be_spawned_is_tried_again(
    supervisor: Supervisor, make_program: MakeProgram, tmp_path: Path
) -> None:
    supervisor.add(make_program(cwd=tmp_path / "missing"))
    assert supervisor.pid("sleeper") is None
    (tmp_path / "missing").mkdir()
    eventually(lambda: supervisor.pid("sleeper"))


def test_adding_twice_runs_it_once(supervisor: Supervisor, make_program: MakeProgram, tmp_path: Path) -> None:
    supervisor.add(make_program())
    supervisor.add(make_program())
    eventually(lambda: len(commands_naming(tmp_path)) == 1)


def test_close_kills_what_does_not_listen_and_may_be_repeated(
    supervisor: Supervisor, make_program: MakeProgram, tmp_path: Path
) -> None:
    program = make_program(code=STUBBORN, patience=0.1)
    supervisor.add(program)
    eventually(lambda: "deaf" in program.log.read_text())
    supervisor.close()
    supervisor.close()
    assert not commands_naming(tmp_path)


def test_a_closed_supervisor_can_be_used_again(supervisor: Supervisor, make_program: MakeProgram) -> None:
    supervisor.add(make_program())
    supervisor.close()
    supervisor.add(make_program())
    assert supervisor.pid("sleeper")


PARENT = """
import sys, time
from pathlib import Path
from dumont.embedded.processes import Program
from dumont.embedded.supervisor import Supervisor
log = Path(sys.argv[1], "family.log")
Supervisor().add(Program("family", (sys.executable, "-c", sys.argv[2], sys.argv[1]), log))
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    family = FAMILY.replace("'600'", f"'600', '{tmp_path}'").replace(
        "'sleep'", "sys.executable, '-c', 'input()'"
    )
    family = family.replace("input()", "import time; time.sleep(600)")
    command = [sys.executable, "-c", PARENT, str(tmp_path), family]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"up\n"
        eventually(lambda: len(commands_naming(tmp_path)) == 3)
        parent.send_signal(number)
    eventually(lambda: not commands_naming(tmp_path))


def test_the_watchdog_forgets_groups_that_ended() -> None:
    assert watchdog.follow(["+10 0.0\n", "+11 5.0\n", "-10\n", "-99\n"]) == {11: 5.0}


def test_the_watchdog_gives_each_group_its_grace() -> None:
    with sleeper() as gentle, sleeper() as other:
        gentle.terminate()
        gentle.wait()
        watchdog.finish({gentle.pid: 60.0, other.pid: 0.0})
    assert gentle.returncode == -signal.SIGTERM
    assert other.returncode == -signal.SIGKILL


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], start_new_session=True)
