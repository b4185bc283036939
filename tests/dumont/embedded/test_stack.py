from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dumont.embedded.environment import PROJECT, free_port
from dumont.embedded.folders import StateInUse
from dumont.embedded.processes import Program, StartFailed
from dumont.embedded.programs import Surroundings, Table, project_table
from dumont.embedded.stack import Stack

from .conftest import commands_naming, eventually

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SETUP = "import os, sys; open(sys.argv[1], 'a').write(os.environ['DUMONT_DB_NAME'])"


def dummy_table(around: Surroundings) -> Table:
    """Stands in for Django: a setup step that leaves a trace, a web that is live, and one sleeper per queue."""
    state = around.env["DUMONT_STATE"]
    setup = program(around, "migrate", SETUP, f"{state}/migrated")
    sleepers = (program(around, queue, "import time; time.sleep(600)", state) for queue in around.workers)
    return Table((setup,), (program(around, "web", SERVER, str(around.port), state), *sleepers))


def program(around: Surroundings, name: str, code: str, *arguments: str) -> Program:
    argv = (sys.executable, "-S", "-c", code, *arguments)
    return Program(name, argv, around.logs / f"{name}.log", env=around.env)


def test_it_starts_serves_stops_and_starts_again(tmp_path: Path) -> None:
    stack = Stack(tmp_path, table=dummy_table)
    for _ in range(2):
        with stack:
            stack.wait_ready()
            assert all(stack.pid(name) for name in ("postgres", "valkey", "web", "control", "transfer"))
        assert not commands_naming(tmp_path)
    stack.stop()
    assert (tmp_path / "migrated").read_text() == "dumontdumont"


def test_what_is_killed_comes_back_unless_paused(tmp_path: Path) -> None:
    with Stack(tmp_path, workers=("control",), table=dummy_table) as stack:
        pids = {name: stack.pid(name) for name in ("postgres", "valkey", "web")}
        stack.pause_restart("control")
        for name in (*pids, "control"):
            stack.kill(name)
        eventually(lambda: all(stack.pid(name) not in (None, pid) for name, pid in pids.items()))
        stack.wait_ready()
        assert stack.pid("control") is None
        stack.resume_restart("control")
        eventually(lambda: stack.pid("control"))


def test_programs_are_told_where_everything_is(tmp_path: Path) -> None:
    stack = Stack(
        tmp_path, port=free_port(), env={"DUMONT_DEBUG": "1", "DUMONT_EXTRA": "x"}, table=dummy_table
    )
    with stack:
        env = stack.env
        assert env["DUMONT_BASE_URL"] == stack.base_url
        assert env["DUMONT_BROKER_URL"] == stack.valkey.url
        assert (env["DUMONT_DEBUG"], env["DUMONT_EXTRA"]) == ("1", "x")
        assert env["DUMONT_STORE_ROOT"] == str(tmp_path / "store")
        assert Path(env["DUMONT_SSH_KEY_FILE"]).exists()


def test_a_second_stack_on_the_same_state_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    with Stack(tmp_path, table=dummy_table) as stack:
        with pytest.raises(StateInUse):
            Stack(tmp_path, table=dummy_table).start()
        stack.wait_ready()


def test_a_failed_setup_stops_everything(tmp_path: Path) -> None:
    def table(around: Surroundings) -> Table:
        return Table((program(around, "migrate", "raise SystemExit('no such column')"),), ())

    with pytest.raises(StartFailed, match="no such column"):
        Stack(tmp_path, table=table).start()
    assert not commands_naming(tmp_path)


def test_a_web_that_does_not_come_up_is_reported(tmp_path: Path) -> None:
    def table(around: Surroundings) -> Table:
        return Table((), (program(around, "web", "raise SystemExit('port taken')"),))

    with Stack(tmp_path, table=table) as stack, pytest.raises(StartFailed, match="port taken"):
        stack.wait_ready()


def test_a_web_that_never_answers_runs_out_of_time(tmp_path: Path) -> None:
    with Stack(tmp_path, table=lambda _: Table((), ())) as stack, pytest.raises(StartFailed, match="livez"):
        stack.wait_ready(timeout=0.1)


PARENT = """
import sys, time
from pathlib import Path
from dumont.embedded.processes import signals_as_exits
from dumont.embedded.stack import Stack
from tests.dumont.embedded.test_stack import dummy_table
with signals_as_exits(), Stack(Path(sys.argv[1]), table=dummy_table) as stack:
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_parent_ended_by_a_signal_leaves_nothing_and_the_next_start_works(
    tmp_path: Path, number: signal.Signals
) -> None:
    with start_parent(tmp_path) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"up\n"
        # A process between its fork and its program has no command line for a moment.
        eventually(lambda: len(commands_naming(tmp_path)) >= 6)
        parent.send_signal(number)
    with Stack(tmp_path, table=dummy_table) as stack:
        stack.wait_ready()
    eventually(lambda: not commands_naming(tmp_path))


@pytest.mark.parametrize("after", [0.3, 0.45, 0.6, 0.8, 1.0])
def test_a_parent_ended_while_it_starts_leaves_nothing(tmp_path: Path, after: float) -> None:
    with start_parent(tmp_path) as parent:
        try:
            parent.wait(after)
        except subprocess.TimeoutExpired:
            parent.send_signal(signal.SIGTERM)
    eventually(lambda: not commands_naming(tmp_path))


@contextlib.contextmanager
def start_parent(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Waits for its end; a test that fails before it signalled ends it, so that it fails instead of hanging."""
    command = [sys.executable, "-c", PARENT, str(state)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        try:
            yield parent
        except BaseException:
            parent.kill()
            raise


def test_the_project_runs_web_beat_and_a_worker_per_queue(tmp_path: Path) -> None:
    env = {"A": "b", "DUMONT_STATE": str(tmp_path)}
    table = project_table(Surroundings(env, tmp_path, 8123, ("control", "transfer")))
    assert [program.name for program in table.services] == ["web", "beat"]
    assert [program.name for program in table.early] == ["control", "transfer"]
    assert [program.name for program in table.setup] == ["migrate", "static"]
    assert "8123" in table.services[0].argv
    programs = (*table.setup, *table.services, *table.early)
    assert all(program.env["A"] == "b" and program.cwd == PROJECT for program in programs)


def test_a_checkout_of_somebody_elses_is_not_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    table = project_table(Surroundings({"DUMONT_STATE": str(tmp_path)}, tmp_path, 8123, ()))
    assert all(program.env["PYTHONDONTWRITEBYTECODE"] == "1" for program in table.services)
