"""bin/lib.sh, as the scripts source it. Nothing is downloaded: the steps that would are replaced."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dumont.embedded.environment import PROJECT

# Stands in for the slow steps: says what would be done, and makes what they would leave.
FAKES = """
make_venv() { echo made >>"$root/done"; mkdir -p "$venv/bin"; ln -sf "$real" "$venv/bin/python"; }
has_venv() { [ -x "$python" ]; }
install_requirements() { sleep 0.1; echo "installed $1" >>"$root/done"; }
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "a checkout"
    (root / "bin").mkdir(parents=True)
    (root / "requirements").mkdir()
    shutil.copy(PROJECT / "bin" / "lib.sh", root / "bin")
    for name in ("cli", "embedded", "dev"):
        (root / "requirements" / f"{name}.txt").write_text(f"{name} 1\n")
    return root


def shell(root: Path, script: str, **env: str) -> subprocess.CompletedProcess[str]:
    code = f'set -eu; root=$1 real=$2; . "$root/bin/lib.sh"; {FAKES} {script}'
    environment = {"PATH": os.environ["PATH"], "HOME": str(root.parent), **env}
    command = ["sh", "-c", code, "sh", str(root), sys.executable]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def done(root: Path) -> list[str]:
    return (root / "done").read_text().splitlines()


def test_a_second_run_does_nothing(checkout: Path) -> None:
    for _ in range(2):
        assert shell(checkout, "prepare embedded").returncode == 0
    assert done(checkout) == ["made", "installed embedded"]


def test_an_environment_for_the_tests_serves_the_demo_and_the_command_line(checkout: Path) -> None:
    assert shell(checkout, "prepare dev; prepare embedded; prepare cli").returncode == 0
    assert done(checkout) == ["made", "installed dev"]


def test_the_command_lines_environment_grows_into_the_demos_and_stays_so(checkout: Path) -> None:
    assert shell(checkout, "prepare cli; prepare embedded").returncode == 0
    (checkout / "requirements" / "cli.txt").write_text("cli 2\n")
    assert shell(checkout, "prepare cli").returncode == 0
    assert done(checkout) == ["made", "installed cli", "installed embedded", "installed embedded"]


def test_changed_requirements_are_installed_without_losing_the_test_tools(checkout: Path) -> None:
    shell(checkout, "prepare dev")
    (checkout / "requirements" / "embedded.txt").write_text("embedded 2\n")
    shell(checkout, "prepare embedded")
    assert done(checkout) == ["made", "installed dev", "installed dev"]


def test_a_failed_installation_is_tried_again(checkout: Path) -> None:
    failing = "install_requirements() { return 1; }; prepare embedded"
    assert shell(checkout, failing).returncode == 1
    assert shell(checkout, "prepare embedded").returncode == 0
    assert done(checkout) == ["made", "installed embedded"]


def test_two_runs_at_once_build_it_once(checkout: Path) -> None:
    result = shell(checkout, "prepare dev & prepare dev; wait $!")
    assert result.returncode == 0, result.stderr
    assert done(checkout) == ["made", "installed dev"]


def test_an_environment_elsewhere_is_respected(checkout: Path, tmp_path: Path) -> None:
    result = shell(checkout, 'prepare embedded; echo "$python"', DUMONT_VENV=str(tmp_path / "else" / "where"))
    assert result.stdout.strip() == str(tmp_path / "else" / "where" / "bin" / "python")


@pytest.mark.parametrize("kind", ["unwritable", "stale"])
def test_somebody_elses_checkout_gets_an_environment_in_the_cache(checkout: Path, kind: str) -> None:
    # Root may write anywhere, so the question is answered for it.
    script = 'is_writable() { return 1; }; prepare embedded; echo "$python"'
    if kind == "stale":
        shell(checkout, "prepare embedded")
        (checkout / "requirements" / "embedded.txt").write_text("embedded 2\n")
    result = shell(checkout, script)
    assert result.stdout.startswith(f"{checkout.parent}/.cache/dumont/venv-")


def test_no_place_for_an_environment_is_said_plainly(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    script = "is_writable() { return 1; }; prepare embedded; echo not reached"
    result = shell(checkout, script, HOME=str(tmp_path / "file"))
    assert result.returncode != 0
    assert "set DUMONT_VENV" in result.stderr
    assert result.stdout == ""


def test_a_python_that_does_not_run_is_passed_over(checkout: Path, tmp_path: Path) -> None:
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "python3.11").write_text("#!/bin/sh\necho 'command not found' >&2; exit 127\n")
    (shims / "python3.12").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for shim in shims.iterdir():
        shim.chmod(0o755)
    result = shell(checkout, "find_python", PATH=f"{shims}:{os.environ['PATH']}")
    assert result.stdout.strip() == str(shims / "python3.12")


def test_no_python_is_said_plainly(checkout: Path) -> None:
    script = "is_new_enough() { return 1; }; id() { echo 1000; }; find_python"
    result = shell(checkout, script)
    assert result.returncode != 0
    assert "Python 3.11 or newer is needed" in result.stderr


def test_root_installs_python_where_it_can(checkout: Path) -> None:
    fakes = 'is_new_enough() { [ -e "$root/apt" ]; }; apt_install() { touch "$root/apt"; }; id() { echo 0; }'
    result = shell(checkout, f'{fakes}; command() {{ echo "$2"; }}; find_python')
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "python3.11"
