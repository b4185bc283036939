from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hibernation.box.ssh import MAX_OUTPUT, Box, parse_host_key, scan_host_key
from hibernation.domain.errors import BoxError, BoxUnreachable, HostKeyChanged
from tests.hibernation.box.conftest import Rental
from tests.hibernation.providers.renting import make_key

ECDSA_KEY = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNu"
    "G5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg="
)


def other_key(tmp_path: Path) -> str:
    return make_key(tmp_path).with_suffix(".pub").read_text()


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """A port that says this and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(answer)
                done.wait(10)

        done = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join()


def test_output_comes_back(box: Box) -> None:
    assert box.run("printf 'a\\nb'", timeout=10) == "a\nb"


def test_input_reaches_the_command(box: Box) -> None:
    assert box.run("wc -c", timeout=10, input="é" * 100_000).strip() == "200000"


def test_a_command_that_reads_no_input_is_judged_by_its_exit(box: Box) -> None:
    with pytest.raises(BoxError, match="Exit 4: enough"):
        box.run("echo enough >&2; exit 4", timeout=10, input="x" * 5_000_000)


def test_a_failing_command_is_an_error_with_the_end_of_what_it_said(box: Box) -> None:
    with pytest.raises(BoxError, match=r"Exit 3: x+\nthe reason$") as raised:
        box.run("head -c 5000 /dev/zero | tr '\\0' x >&2; echo >&2; echo the reason >&2; exit 3", timeout=10)
    assert len(raised.value.message) < 2100
    assert not isinstance(raised.value, BoxUnreachable)


def test_a_failing_command_may_say_why_on_its_output(box: Box) -> None:
    with pytest.raises(BoxError, match="Exit 1: no such job"):
        box.run("echo no such job; exit 1", timeout=10)


def test_output_that_is_not_text_is_read_as_well_as_can_be(box: Box) -> None:
    assert box.run("printf 'a\\377b'", timeout=10) == "a\ufffdb"


def test_too_much_output_is_refused(box: Box) -> None:
    with pytest.raises(BoxError, match=f"more than {MAX_OUTPUT} bytes"):
        box.run("yes", timeout=30)


def test_a_command_over_its_time_is_cut_off(box: Box) -> None:
    start = time.monotonic()
    with pytest.raises(BoxUnreachable, match="does not answer in time"):
        box.run("sleep 60", timeout=0.3)
    assert time.monotonic() - start < 5


def test_output_in_drops_does_not_stretch_the_time(box: Box) -> None:
    with pytest.raises(BoxUnreachable, match="in time"):
        box.run("while :; do echo drop; sleep 0.05; done", timeout=0.5)


def test_several_commands_share_one_connection(box: Box) -> None:
    with box.connected() as shell, shell.connected() as same:
        ports = {same.run('echo "$SSH_CONNECTION$SSH_CLIENT"; echo done', timeout=10) for _ in range(3)}
    assert len(ports) == 1


def test_connections_are_closed(box: Box) -> None:
    with box.connected() as shell:
        shell.run("true", timeout=10)
    with pytest.raises(BoxUnreachable):
        shell.run("true", timeout=10)


def test_a_file_is_replaced_whole_with_its_mode(box: Box) -> None:
    for data in (b"old", bytes(range(256)) * 500):
        box.put_bytes(data, "~/some file", 0o640)
    assert (
        box.run("stat -c '%s %a' ~/'some file'; ls -A ~ | grep -c 'some file'", timeout=10)
        == "128000 640\n1\n"
    )


def test_a_file_that_cannot_be_written_is_an_error_of_the_machine(box: Box) -> None:
    with pytest.raises(BoxError, match="cannot be written") as raised:
        box.put_bytes(b"x", "~/no/such/folder/file", 0o600)
    assert not isinstance(raised.value, BoxUnreachable)


@pytest.mark.parametrize("kind", ["same kind", "other kind"])
def test_another_host_key_is_refused_before_anything_is_sent(
    rental: Rental, tmp_path: Path, kind: str
) -> None:
    pinned = other_key(tmp_path) if kind == "same kind" else ECDSA_KEY
    impostor = replace(rental.box, host_key=pinned)
    with pytest.raises(HostKeyChanged):
        impostor.run("touch ~/was-here", timeout=10)
    assert rental.box.run("ls ~", timeout=10).count("was-here") == 0


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", "ssh-moon AAAA"])
def test_without_a_host_key_no_machine_is_reached(box: Box, line: str) -> None:
    with pytest.raises(BoxError, match="host key"):
        replace(box, host_key=line).run("true", timeout=10)


def test_scanning_tells_the_key_to_pin(rental: Rental) -> None:
    line = scan_host_key(rental.machine.ssh[0].host, rental.machine.ssh[0].port)
    assert parse_host_key(line) == parse_host_key(rental.machine.host_key)


def test_scanning_what_does_not_answer_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(BoxUnreachable):
            scan_host_key("127.0.0.1", closed.getsockname()[1])


def test_a_closed_port_is_unreachable(box: Box) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(BoxUnreachable, match="cannot be reached"):
            replace(box, port=closed.getsockname()[1]).run("true", timeout=10)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"\x00" * 40000])
def test_a_port_that_speaks_no_ssh_is_unreachable(
    box: Box, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hibernation.box.ssh.CONNECT_SECONDS", 0.3)
    with listening(answer) as port, pytest.raises(BoxUnreachable):
        replace(box, port=port).run("true", timeout=10)


def test_a_missing_private_key_is_our_fault_and_said_so(box: Box, tmp_path: Path) -> None:
    with pytest.raises(BoxError, match="does not exist") as raised:
        replace(box, key_file=tmp_path / "none").run("true", timeout=10)
    assert not isinstance(raised.value, BoxUnreachable)


def test_the_users_own_ssh_settings_are_not_read(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n  HostName 192.0.2.1\n  ProxyCommand false\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert box.run("echo here", timeout=10) == "here\n"
