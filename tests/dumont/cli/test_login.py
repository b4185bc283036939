"""Logging in: the token is tried, kept for its owner alone, sent to its own server only, and never shown."""

from __future__ import annotations

import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from dumont.cli.kept import Kept, read_kept, write_kept
from tests.dumont.cli.conftest import URL, Terminal

pytestmark = pytest.mark.django_db


@pytest.fixture
def stranger(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Nothing is set and nothing kept."""
    monkeypatch.delenv("DUMONT_URL")
    monkeypatch.delenv("DUMONT_TOKEN")
    return terminal


def login(terminal: Terminal) -> None:
    terminal.run("login", URL + "/", "--token-stdin", typed=f"{terminal.token}\n")


def test_a_token_that_works_is_kept_and_used(stranger: Terminal) -> None:
    login(stranger)
    assert stat.S_IMODE(stranger.config.stat().st_mode) == 0o600
    assert tomllib.loads(stranger.config.read_text()) == {"url": URL, "token": stranger.token}
    assert stranger.json("ls") == {"instances": [], "next": None}


def test_logging_in_tells_who_one_is(stranger: Terminal, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(stranger.token + "\n")
    told = stranger.json("--token-file", str(tmp_path / "token"), "login", URL)
    assert (told["url"], told["user"], told["token"]["name"]) == (URL, "ana", "laptop")


def test_the_token_is_asked_for_without_showing_it(
    stranger: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dumont.cli.logging_in._is_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: stranger.token)
    assert "as ana" in stranger.run("login", URL).stdout


def test_a_token_that_does_not_work_is_not_kept(stranger: Terminal) -> None:
    stranger.run("login", URL, "--token-stdin", typed="dmt_wrong\n", code=4)
    assert not stranger.config.exists()


@pytest.mark.parametrize("typed", ["", "two words\n", "dmt_\x1b[31mred\n", "dmt_ümläut\n"])
def test_what_cannot_be_a_token_is_not_sent(stranger: Terminal, typed: str) -> None:
    result = stranger.run("login", URL, "--token-stdin", typed=typed, code=4)
    assert stranger.wire.requests == []
    assert typed.strip() == "" or typed.strip() not in result.output


def test_where_nobody_can_be_asked_it_says_so(stranger: Terminal) -> None:
    assert "--token-stdin" in stranger.run("login", URL, code=2).stderr


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_may_read_or_change_is_not_used(stranger: Terminal, mode: int) -> None:
    login(stranger)
    stranger.config.chmod(mode)
    stranger.wire.requests.clear()
    assert "chmod 600" in stranger.run("ls", code=2).stderr
    assert stranger.wire.requests == []


def test_a_token_of_somebody_else_is_not_used(stranger: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    login(stranger)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert "somebody else" in stranger.run("ls", code=2).stderr


@pytest.mark.parametrize("content", ["url = 1", "nonsense", "token = 'x'", "url = '\\udcff"])
def test_a_file_that_makes_no_sense_is_said_to_be_so(stranger: Terminal, content: str) -> None:
    login(stranger)
    stranger.config.write_text(content)
    assert "log in again" in stranger.run("ls", code=2).stderr


def test_nobody_logged_in(stranger: Terminal) -> None:
    assert "dumont login" in stranger.run("ls", code=4).stderr


def test_a_kept_token_goes_to_its_own_server_only(stranger: Terminal) -> None:
    login(stranger)
    stranger.wire.requests.clear()
    assert "no token for" in stranger.run("--url", "https://elsewhere.example.org", "ls", code=4).stderr
    assert stranger.wire.requests == []


def test_the_environment_goes_before_what_is_kept_and_an_option_before_it(
    stranger: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    login(stranger)
    (tmp_path / "token").write_text("dmt_of_file")
    monkeypatch.setenv("DUMONT_TOKEN", "dmt_of_environment")
    stranger.run("ls", code=4)
    stranger.run("--token-file", str(tmp_path / "token"), "--url", "http://localhost:1", "ls", code=4)
    sent = [(str(r.url.host), r.headers["Authorization"]) for r in stranger.wire.requests[-2:]]
    assert sent == [("127.0.0.1", "Bearer dmt_of_environment"), ("localhost", "Bearer dmt_of_file")]


def test_a_token_file_that_is_not_there_is_named(terminal: Terminal) -> None:
    assert "none cannot be read" in terminal.run("--token-file", "none", "ls", code=2).stderr


@pytest.mark.parametrize(
    "url", ["http://dumont.example.org", "ftp://x", "https://", "https://a/b", "https://u:p@a", "https://a:x"]
)
def test_a_token_is_not_sent_where_it_could_be_read(stranger: Terminal, url: str) -> None:
    stranger.run("login", url, "--token-stdin", typed=f"{stranger.token}\n", code=2)
    assert stranger.wire.requests == []


def test_plain_http_is_for_those_who_say_so_once(stranger: Terminal) -> None:
    url = "http://dumont.example.org"
    stranger.wire.replies = [httpx.Response(200, json={"user": "ana", "token": None})] * 2
    stranger.run("--insecure", "login", url, "--token-stdin", typed=f"{stranger.token}\n")
    kept = read_kept(stranger.config)
    assert kept == Kept(url, stranger.token, plain_http=True)
    stranger.wire.replies = [httpx.Response(200, json={"instances": [], "next": None})] * 2
    stranger.run("ls")
    stranger.run("--url", url, "ls")


def test_a_token_is_in_no_representation(tmp_path: Path) -> None:
    assert "secret" not in repr(Kept(URL, "secret"))


def test_what_is_kept_replaces_what_was_with_the_right_mode(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("old")
    path.chmod(0o644)
    write_kept(path, Kept(URL, 'a"b\\c'))
    assert read_kept(path) == Kept(URL, 'a"b\\c')
    assert [p.name for p in tmp_path.iterdir()] == ["config.toml"]


def test_it_runs_where_there_is_no_django() -> None:
    blocked = ("django", "celery", "rest_framework", "hibernation", "agents", "psycopg2", "msgspec")
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked})); from dumont.cli.main import app; app()"
    result = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "dumont 0.1.0\n"), result.stderr
