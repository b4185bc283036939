"""The script that machines run: how it finds out which rental it is on, and that it lets nobody in too early."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hibernation.box.enrol import enrol_script

KEY = "ssh-ed25519 AAAA it's us"
_CURL = """#!/bin/sh
printf '%s\\n' "$@" >"$HOME/asked"
printf '%s' "$CURL_SAYS"
exit "$CURL_EXITS"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "curl").write_text(_CURL)
    (folder / "curl").chmod(0o755)
    return tmp_path


def run(
    home: Path, *arguments: str, says: str = '{"operation": 1} 202', exits: int = 0, **env: str
) -> subprocess.CompletedProcess[str]:
    around = {
        "HOME": str(home),
        "PATH": f"{home}/bin:/usr/bin:/bin",
        "CURL_SAYS": says,
        "CURL_EXITS": str(exits),
    }
    return subprocess.run(
        ["sh", "-s", "--", *arguments],
        input=enrol_script("https://dumont.example", KEY),
        env={**around, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def keys(home: Path) -> list[str]:
    file = home / ".ssh" / "authorized_keys"
    return [line for line in file.read_text().splitlines() if line] if file.exists() else []


def test_it_shows_its_token_and_lets_us_in(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "authorized_keys").write_text("ssh-ed25519 BBBB without an end")
    for _ in range(2):
        done = run(home, "dme_x", CONTAINER_ID="555")
        assert done.returncode == 0, done.stderr
    asked = (home / "asked").read_text()
    assert "Authorization: Bearer dme_x\n" in asked
    assert '{"contract_id": "555"}\nhttps://dumont.example/api/enrolments/claim\n' in asked
    assert keys(home) == ["ssh-ed25519 BBBB without an end", KEY]
    assert (home / ".ssh" / "authorized_keys").stat().st_mode & 0o777 == 0o600


def test_the_rental_may_be_told_or_found_in_a_file(home: Path) -> None:
    (home / ".vast_containerlabel").write_text("C.777\n")
    assert "machine 777 " in run(home, "dme_x").stdout
    assert "machine 888 " in run(home, "dme_x", "888").stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "usage"),
        (("dme_x",), "does not know its rental"),
        (("dme_x", '5"5'), "is no id"),
        (("dme_x", "../5"), "is no id"),
    ],
)
def test_without_what_it_needs_it_asks_nobody(home: Path, arguments: tuple[str, ...], why: str) -> None:
    done = run(home, *arguments)
    assert done.returncode == 1
    assert why in done.stderr
    assert not (home / "asked").exists()


@pytest.mark.parametrize(
    ("says", "exits", "why"),
    [
        ('{"error": {"code": "forbidden"}} 403', 0, "forbidden"),
        ("", 7, "does not answer"),
        (" 500", 0, "not enrolled"),
    ],
)
def test_nobody_is_let_in_who_was_refused(home: Path, says: str, exits: int, why: str) -> None:
    done = run(home, "dme_x", "555", says=says, exits=exits)
    assert done.returncode == 1
    assert why in done.stderr
    assert keys(home) == []


def test_half_a_script_does_nothing(home: Path) -> None:
    whole = enrol_script("https://dumont.example", KEY)
    half = whole[: whole.rindex("main")]
    subprocess.run(
        ["sh", "-s", "--", "dme_x", "5"], input=half, env={"HOME": str(home)}, text=True, check=True
    )
    assert not (home / "asked").exists()
