"""Puts the agent on a machine and starts its monitor. The machine needs a Python 3.10 and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote

from hibernation.box.bundle import agent_bundle, bundle_sha256
from hibernation.box.ssh import Shell
from hibernation.domain.errors import BoxError

BUNDLE = "~/.dumont/agents.pyz"
PYTHON_FILE = "~/.dumont/python"
TOKEN_FILE = "~/.dumont/token"  # noqa: S105 - where it is, not what it is

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "agent.txt"
_START_MONITOR = Path(__file__).with_name("remote") / "start_monitor.py"
_SHORT, _PIP = 30.0, 200.0  # seconds; both far below the limit of a step

_PREPARE = """\
umask 077
mkdir -p ~/.dumont/jobs && chmod 700 ~/.dumont
sha256sum ~/.dumont/agents.pyz 2>/dev/null | cut -c1-64
"""
_CAN_RUN = "import sys; sys.version_info >= (3, 10) or sys.exit(1)"
_CAN_WORK = f"{_CAN_RUN}; import blake3, cryptography, isal, msgspec, numpy, pathspec, zstandard, pynvml"
_FIND_PYTHON = """\
for python in ~/.dumont/venv/bin/python3 python3 /opt/conda/bin/python3 /usr/local/bin/python3 /usr/bin/python3 \
    python3.14 python3.13 python3.12 python3.11 python3.10; do
    "$python" -c {check}"; print(sys.executable)" 2>/dev/null && exit 0
done
true
"""
_MAKE_VENV = """\
set -e
{python} -m venv --system-site-packages ~/.dumont/venv >&2
~/.dumont/venv/bin/python3 -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes -r ~/.dumont/requirements.txt >&2
~/.dumont/venv/bin/python3 -c {check}
"""


def install_agent(
    box: Shell, *, instance_id: str, control_url: str, token: str, interval: float, workspace: str
) -> None:
    """The machine runs this version of the agent for this instance when it returns. Repeatable.

    The monitor is started anew each time, because its token and address may have changed; an older one ends first.
    ``interval`` is in seconds. ``BoxError`` if there is no usable Python or the monitor ends at once.
    """
    with box.connected() as shell:
        _upload(shell, token)
        python = _find_python(shell) or _make_python(shell)
        shell.put_bytes(f"{python}\n".encode(), PYTHON_FILE, 0o600)
        command = ["monitor", "--instance-id", instance_id, "--control-url", control_url]
        command += ["--interval", f"{interval:g}", "--workspace", workspace]
        _start_monitor(shell, python, command)


def is_current(shell: Shell, workspace: str) -> bool:
    """Whether the machine has a token and this very version of the agent. ``BoxError`` without its workspace.

    A machine rented before this control plane was upgraded speaks an older version's commands.
    """
    look = (
        f"test -d {quote(workspace)} || exit 3; test -s {TOKEN_FILE} && sha256sum {BUNDLE} | cut -c1-64; true"
    )
    return _last_line(shell.run(look, timeout=_SHORT)) == bundle_sha256()


def _upload(shell: Shell, token: str) -> None:
    if _last_line(shell.run(_PREPARE, timeout=_SHORT)) != bundle_sha256():
        shell.put_bytes(agent_bundle(), BUNDLE, 0o644)
    shell.put_bytes(token.encode(), TOKEN_FILE, 0o600)


def _find_python(shell: Shell, check: str = _CAN_WORK) -> str:
    """The absolute path of an interpreter that passes; empty if none does."""
    python = _last_line(shell.run(_FIND_PYTHON.format(check=quote(check)), timeout=_SHORT))
    if python and not python.startswith("/"):
        raise BoxError("The machine's Python does not tell its path.")
    return python


def _make_python(shell: Shell) -> str:
    python = _find_python(shell, _CAN_RUN)
    if not python:
        raise BoxError("The machine has no Python 3.10 or later; choose an image that has one.")
    shell.put_bytes(_REQUIREMENTS.read_bytes(), "~/.dumont/requirements.txt", 0o644)
    shell.run(_MAKE_VENV.format(python=quote(python), check=quote(_CAN_WORK)), timeout=_PIP)
    return _last_line(shell.run('cd ~/.dumont/venv/bin && echo "$PWD/python3"', timeout=_SHORT))


def _start_monitor(shell: Shell, python: str, arguments: list[str]) -> None:
    options = {"home": "~/.dumont", "command": [python, "agents.pyz", *arguments]}
    shell.run(
        f"{quote(python)} - {quote(json.dumps(options))}", timeout=_SHORT, input=_START_MONITOR.read_text()
    )


def _last_line(output: str) -> str:
    """A login script may have printed lines before it."""
    return output.strip().rpartition("\n")[2]
