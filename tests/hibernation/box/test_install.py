"""The agent on a real machine, and the choice of a Python where the machine has none that will do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hibernation.box.fence import fence, resume_writers
from hibernation.box.install import _REQUIREMENTS, install_agent, is_current
from hibernation.box.jobs import job_status, start_job, stop_job
from hibernation.box.ssh import Box, Shell
from hibernation.domain.errors import BoxError
from tests.hibernation.box.conftest import Rental
from tests.hibernation.providers.renting import eventually

MONITOR = "cat ~/.dumont/monitor.pid"


@pytest.fixture(scope="module")
def beats() -> list[tuple[str, dict[str, object]]]:
    """The token and body of each heartbeat received."""
    return []


@pytest.fixture(scope="module")
def control_url(beats: list[tuple[str, dict[str, object]]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            beats.append((self.headers["Authorization"], body))
            reply = {
                "received": True,
                "instance_id": "local_1",
                "status": "running",
                "action": "none",
                "interval": 1,
            }
            data = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def install(rental: Rental, control_url: str, token: str) -> None:
    install_agent(
        rental.box, instance_id="local_1", control_url=control_url, token=token, interval=1,
        workspace=rental.machine.workspace,
    )  # fmt: skip


def test_the_monitor_reports_after_the_session_has_ended(
    rental: Rental, control_url: str, beats: list[tuple[str, dict[str, object]]]
) -> None:
    install(rental, control_url, "secret")
    token, body = eventually(lambda: beats[0] if beats else None)
    assert token == "Bearer secret"
    assert (body["instance_id"], body["gpu_utilization"]) == ("local_1", 0)
    command = rental.box.run(
        "tr '\\0' ' ' < /proc/$(cut -d' ' -f1 ~/.dumont/monitor.pid)/cmdline", timeout=10
    )
    assert f"agents.pyz monitor --instance-id local_1 --control-url {control_url} --interval 1" in command


def test_installing_again_replaces_the_monitor_and_keeps_the_bundle(rental: Rental, control_url: str) -> None:
    install(rental, control_url, "secret")
    look = "stat -c '%i %Y' ~/.dumont/agents.pyz"
    bundle, monitor = rental.box.run(look, timeout=10), rental.box.run(MONITOR, timeout=10)
    install(rental, control_url, "another")
    assert rental.box.run(look, timeout=10) == bundle
    assert rental.box.run(MONITOR, timeout=10) != monitor
    assert rental.box.run("ps ax -o args | grep -c '[a]gents.pyz monitor'", timeout=10) == "1\n"
    assert rental.box.run("cat ~/.dumont/token; stat -c %a ~/.dumont/token", timeout=10) == "another600\n"


def test_a_monitor_that_ends_at_once_is_an_error_with_its_log(rental: Rental) -> None:
    with pytest.raises(BoxError, match=r"(?s)ended at once.*control-url"):
        install(rental, "not a url", "secret")


def test_a_stale_pid_file_ends_nobody(rental: Rental, control_url: str) -> None:
    innocent = rental.box.run("sleep 300 >/dev/null 2>&1 & echo $!", timeout=10).strip()
    rental.box.run(f"echo {innocent} 1 > ~/.dumont/monitor.pid", timeout=10)
    install(rental, control_url, "secret")
    rental.box.run(f"kill -0 {innocent}", timeout=10)


def test_jobs_are_asked_over_ssh(rental: Rental, control_url: str) -> None:
    install(rental, control_url, "secret")
    with rental.box.connected() as shell:
        assert job_status(shell, "op-9").state == "unknown"
        assert start_job(shell, "op-9", {"kind": "freeze", "job": "op-9"}).kind == "freeze"
        eventually(lambda: job_status(shell, "op-9").state == "failed")
        assert job_status(shell, "op-9").error is not None
        stop_job(shell, "op-9")


def test_a_workspace_without_a_snapshot_is_dirty(rental: Rental, control_url: str) -> None:
    install(rental, control_url, "secret")
    rental.box.run(f"touch {rental.machine.workspace}/file", timeout=10)
    report = fence(rental.box, rental.machine.workspace, "~/.dumont/state")
    assert report.changed
    assert report.utilizations == (0.0,)
    resume_writers(rental.box)


def test_a_machine_with_an_older_agent_or_none_is_not_current(rental: Rental, control_url: str) -> None:
    workspace = rental.machine.workspace
    rental.box.run("rm -f ~/.dumont/agents.pyz", timeout=10)
    assert not is_current(rental.box, workspace)
    install(rental, control_url, "secret")
    assert is_current(rental.box, workspace)
    rental.box.run("echo old > ~/.dumont/agents.pyz", timeout=10)
    assert not is_current(rental.box, workspace)
    with pytest.raises(BoxError):
        is_current(rental.box, f"{workspace}/none")


class ScriptedShell:
    """A machine whose answers are written down: the first whose key is in the command."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.commands: list[str] = []
        self.files: dict[str, bytes] = {}

    def run(self, command: str, *, timeout: float, input: str | None = None) -> str:
        self.commands.append(command)
        return next((answer for part, answer in self.answers.items() if part in command), "")

    def put_bytes(self, data: bytes, remote_path: str, mode: int) -> None:
        self.files[remote_path] = data

    @contextmanager
    def connected(self) -> Iterator[Shell]:
        yield self


def install_on(shell: ScriptedShell) -> None:
    install_agent(
        shell, instance_id="i", control_url="http://x", token="t", interval=30, workspace="/workspace"
    )


def test_missing_packages_are_installed_by_hash_beside_the_machines_own() -> None:
    answers = {
        "pynvml'\"; print(sys.executable)": "",
        "print(sys.executable)": "/usr/bin/python3\n",
        'echo "$PWD/python3"': "/root/.dumont/venv/bin/python3\n",
    }
    shell = ScriptedShell(answers)
    install_on(shell)
    assert b"--hash=sha256:" in shell.files["~/.dumont/requirements.txt"]
    assert any("--require-hashes" in command and "-m venv" in command for command in shell.commands)
    assert shell.files["~/.dumont/python"] == b"/root/.dumont/venv/bin/python3\n"
    assert shell.commands[-1].startswith("/root/.dumont/venv/bin/python3 - ")


def test_a_python_that_lacks_any_of_the_packages_is_not_taken() -> None:
    answers = {"print(sys.executable)": "/usr/bin/python3\n"}
    shell = ScriptedShell(answers)
    install_on(shell)
    check = next(command for command in shell.commands if "print(sys.executable)" in command)
    for line in _REQUIREMENTS.with_name("agent.in").read_text().splitlines():
        name = re.split("[~>=]", line)[0]
        if not line.startswith("#"):
            assert {"nvidia-ml-py": "pynvml"}.get(name, name) in check


def test_a_machine_without_python_is_refused_saying_so() -> None:
    with pytest.raises(BoxError, match=r"no Python 3\.10"):
        install_on(ScriptedShell({}))


def test_a_python_that_does_not_tell_its_path_is_refused() -> None:
    with pytest.raises(BoxError, match="does not tell its path"):
        install_on(ScriptedShell({"print(sys.executable)": "; rm -rf /\n"}))


def test_a_box_is_a_shell(box: Box) -> None:
    shell: Shell = box
    assert shell.run("echo ok", timeout=10) == "ok\n"
