from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from dumont.embedded import checks, testing
from dumont.embedded.environment import PROJECT
from dumont.embedded.processes import StartFailed

from .conftest import commands_naming, eventually


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What would be run, instead of running it and its services; a command that contains ``fails`` fails."""
    calls: list[tuple[str, ...]] = []

    def call(arguments: tuple[str, ...], env: dict[str, str]) -> int:
        calls.append(tuple(arguments))
        return 3 if "fails" in arguments else 0

    for module in (testing, checks):
        monkeypatch.setattr(module, "call", call)
        monkeypatch.setattr(module, "services", lambda: contextlib.nullcontext({"DUMONT_STATE": "/state"}))
    return calls


def test_without_arguments_the_chaos_suite_comes_last(called: list[tuple[str, ...]]) -> None:
    assert testing.main([]) == 0
    assert [call[-2:] for call in called] == [
        ("-m", "not chaos and not conformance and not browser and not slow"),
        ("-m", "chaos"),
    ]


def test_arguments_reach_pytest_as_they_are_and_its_status_comes_back(called: list[tuple[str, ...]]) -> None:
    assert testing.main(["-x", "fails"]) == 3
    assert [call[-2:] for call in called] == [("-x", "fails")]


def test_the_services_exist_only_for_the_run() -> None:
    with testing.services() as env:
        host, port, name, user = (env[f"DUMONT_DB_{key}"] for key in ("HOST", "PORT", "NAME", "USER"))
        psycopg2.connect(host=host, port=port, dbname=name, user=user).close()
    assert not Path(env["DUMONT_STATE"]).exists()
    assert not commands_naming(Path(env["DUMONT_STATE"]))


def test_a_service_that_does_not_start_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(testing.tempfile, "mkdtemp", lambda **_: str(tmp_path / "state"))
    monkeypatch.setattr("dumont.embedded.valkey._binary", lambda: Path("/bin/false"))
    with pytest.raises(StartFailed), testing.services():
        pytest.fail("it started")
    assert not commands_naming(tmp_path)
    assert not (tmp_path / "state").exists()


def test_a_call_sees_the_environment_and_returns_the_status(tmp_path: Path) -> None:
    code = "import os, sys; sys.exit(int(os.environ['DUMONT_STATUS']))"
    assert testing.call(("-c", code), {"DUMONT_STATUS": "7"}) == 7


def test_a_terminated_run_interrupts_what_it_called_and_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import sys
from dumont.embedded.processes import signals_as_exits
from dumont.embedded.testing import call
with signals_as_exits():
    call(("-c", "import time; print('up', flush=True); time.sleep(600)", {str(tmp_path)!r}), {{}})
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout
        assert run.stdout.readline() == b"up\n"
        run.send_signal(signal.SIGTERM)
    assert run.returncode == 128 + signal.SIGTERM
    eventually(lambda: not commands_naming(tmp_path))


def test_every_check_runs_before_one_that_fails_is_named(
    called: list[tuple[str, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert checks.main({"first": ("fails",), "second": ("works",)}) == 1
    assert called == [("fails",), ("works",)]
    assert "Failed: first." in capfd.readouterr().err


def test_the_check_of_a_deployment_sees_one_over_https(
    called: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[tuple[str, ...], dict[str, str]] = {}
    monkeypatch.setattr(
        checks, "call", lambda arguments, env: seen.update({tuple(arguments): dict(env)}) or 0
    )
    assert checks.main() == 0
    deployed = [env for arguments, env in seen.items() if "--deploy" in arguments]
    assert [env["DUMONT_BASE_URL"] for env in deployed] == ["https://dumont.example.org"]
    assert sum("DUMONT_BASE_URL" in env for env in seen.values()) == 1


def test_checks_that_all_pass_return_zero(called: list[tuple[str, ...]]) -> None:
    assert checks.main({"only": ("works",)}) == 0


def test_caches_go_elsewhere_when_the_checkout_is_not_ours(
    called: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    testing.main(["-q"])
    assert any(argument.startswith("cache_dir=") for argument in called[0])
