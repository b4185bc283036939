"""What the command line refuses before anything is started or emptied."""

from __future__ import annotations

from pathlib import Path

import pytest

from dumont.demo.options import MARK, default_state, parse


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse(list(arguments))
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_new_an_empty_and_a_demos_own_state_are_taken(tmp_path: Path) -> None:
    assert parse(["--state", str(tmp_path / "new")]).state == tmp_path / "new"
    assert parse(["--state", str(tmp_path)]).state == tmp_path
    (tmp_path / MARK).touch()
    assert parse(["--state", str(tmp_path)]).report == tmp_path / "report.json"


def test_a_state_that_holds_anything_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").touch()
    assert "no demo made" in refused(capsys, "--state", str(tmp_path))


def test_a_state_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert "is not a folder" in refused(capsys, "--state", str(tmp_path / "file"))


def test_a_workspace_around_or_below_the_state_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, workspace = tmp_path / "state", tmp_path / "state" / "workspace"
    assert "inside the workspace" in refused(capsys, "--state", str(state), "--workspace", str(tmp_path))
    workspace.mkdir(parents=True)
    (state / MARK).touch()
    assert "inside --state" in refused(capsys, "--state", str(state), "--workspace", str(workspace))


def test_a_workspace_that_is_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--state", str(tmp_path / "state"), "--workspace", str(tmp_path / "nowhere"))
    assert "is not a folder" in refused(capsys, *arguments)


def test_an_unknown_market_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "vast-fake" in refused(capsys, "--provider", "elsewhere")
    assert parse([]).provider == "local"


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "1e9"])
def test_a_senseless_pause_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--idle-seconds" in refused(capsys, "--idle-seconds", seconds)


def test_a_report_without_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--state", str(tmp_path / "state"), "--report", str(tmp_path / "nowhere" / "r.json"))
    assert "--report" in refused(capsys, *arguments)


def test_the_state_is_the_users_where_the_checkout_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_state() == tmp_path / "dumont" / "demo"
