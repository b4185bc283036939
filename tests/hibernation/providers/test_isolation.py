"""What a machine sees of the host and what it leaves behind, with and without namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from hibernation.box.ssh import Box
from hibernation.domain.errors import BoxUnreachable
from hibernation.providers.base import Phase
from hibernation.providers.local import LocalProvider, namespaces
from hibernation.providers.local.processes import ProcessId, is_alive, members
from tests.hibernation.providers.renting import (
    box_of,
    eventually,
    marker_of,
    processes_of,
    running,
    spec,
)

REPOSITORY = Path(__file__).resolve().parents[3]
DETACH = "exec >/dev/null 2>&1; nohup sleep 300 & setsid sleep 300 & env -i setsid sleep 300 &"


def rent(provider: LocalProvider, key_file: Path) -> tuple[str, Box]:
    contract_id = provider.launch(spec(provider, key_file))
    return contract_id, box_of(running(provider, contract_id), key_file)


def sleepers(provider: LocalProvider, contract_id: str) -> int:
    return sum(name_of(process) == "sleep" for process in processes_of(provider, contract_id))


def name_of(process: ProcessId) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/comm").read_text().strip()
    return "gone"


@pytest.fixture
def isolated(provider: LocalProvider, key_file: Path) -> tuple[str, Box]:
    contract_id, box = rent(provider, key_file)
    if provider.list_machines()[0].workspace != "/workspace":
        pytest.skip("this host allows no namespaces")
    return contract_id, box


def test_workspace_home_and_tmp_are_the_machines_own(
    provider: LocalProvider, isolated: tuple[str, Box]
) -> None:
    contract_id, box = isolated
    box.run("echo w > /workspace/w; echo h > ~/h; echo t > /tmp/t; test $HOME = /root", timeout=10)
    folder = provider.machine_folder(contract_id)
    assert [(folder / name).read_text() for name in ("workspace/w", "home/h", "tmp/t")] == [
        "w\n",
        "h\n",
        "t\n",
    ]
    assert box.run("ls -A /workspace", timeout=10) == "w\n"


def test_owners_of_files_keep_their_numbers_where_the_host_is_root(
    provider: LocalProvider, isolated: tuple[str, Box]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has other owners")
    contract_id, box = isolated
    box.run("touch /workspace/f; chown 1234:4321 /workspace/f", timeout=10)
    stat = (provider.machine_folder(contract_id) / "workspace" / "f").stat()
    assert (stat.st_uid, stat.st_gid) == (1234, 4321)


def test_the_machine_sees_its_own_processes_only(isolated: tuple[str, Box]) -> None:
    pids = isolated[1].run("ls /proc", timeout=10).split()
    assert "1" in pids
    assert str(os.getpid()) not in pids or os.getpid() < 50


def test_no_mount_reaches_the_host(provider: LocalProvider, isolated: tuple[str, Box]) -> None:
    assert str(provider.root) not in Path("/proc/self/mountinfo").read_text()


def test_where_namespaces_are_refused_the_machine_gets_plain_folders(
    plain_provider: LocalProvider, key_file: Path
) -> None:
    contract_id, box = rent(plain_provider, key_file)
    [machine] = plain_provider.list_machines()
    folder = plain_provider.machine_folder(contract_id)
    assert machine.workspace == str(folder / "workspace")
    home, temporary = box.run('echo "$HOME"; echo "$TMPDIR"', timeout=10).split()
    assert (home, temporary) == (str(folder / "home"), str(folder / "tmp"))


@pytest.mark.parametrize("kind", ["provider", "plain_provider"])
def test_detached_processes_survive_their_session_but_not_the_machine(
    kind: str, key_file: Path, request: pytest.FixtureRequest
) -> None:
    provider: LocalProvider = request.getfixturevalue(kind)
    contract_id, box = rent(provider, key_file)
    box.run(DETACH, timeout=10)
    assert eventually(lambda: sleepers(provider, contract_id) == 3)
    everything = processes_of(provider, contract_id)
    provider.destroy(contract_id)
    assert not any(is_alive(process) for process in everything)


def test_what_a_session_runs_in_its_foreground_ends_with_it(provider: LocalProvider, key_file: Path) -> None:
    contract_id, box = rent(provider, key_file)
    with pytest.raises(BoxUnreachable, match="in time"):
        box.run("sleep 300", timeout=0.5)
    eventually(lambda: sleepers(provider, contract_id) == 0)


@pytest.mark.parametrize("kind", ["provider", "plain_provider"])
def test_a_machine_whose_server_dies_leaves_nothing_running(
    kind: str, key_file: Path, request: pytest.FixtureRequest
) -> None:
    provider: LocalProvider = request.getfixturevalue(kind)
    contract_id, box = rent(provider, key_file)
    marker = marker_of(provider, contract_id)
    with pytest.raises(BoxUnreachable):
        box.run(f"{DETACH} kill -9 $PPID; sleep 5", timeout=10)
    eventually(lambda: members(None, marker) == set())
    eventually(lambda: [machine.phase for machine in provider.list_machines()] == [Phase.OFFLINE])


def test_visible_folders_below_a_workspace_are_never_mounted_into_one(tmp_path: Path) -> None:
    assert not namespaces.are_allowed(tmp_path, [Path("/workspace/code")])


def test_a_plain_user_can_rent_too(tmp_path: Path) -> None:
    """Runs a whole rental as user 65534, who gets to see Python even where it lies in root's home."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None or shutil.which("unshare") is None:
        pytest.skip("needs root, setpriv and unshare to become a plain user")
    folder = Path("/var/tmp") / tmp_path.name / "plain"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chown(folder, 65534, 65534)
    show_python = f"""
        set -e
        python={sys.base_prefix}
        case $python in /root/*)
            mkdir {folder.parent}/python && mount --bind $python {folder.parent}/python
            mount -t tmpfs -o mode=755 none /root
            mkdir -p $python && mount --move {folder.parent}/python $python
        esac
        exec setpriv --reuid=65534 --regid=65534 --clear-groups {sys.executable} -c "$1" {folder}
    """
    rental = (
        "import os, sys; from pathlib import Path\n"
        "from tests.hibernation.providers.renting import *\n"
        "folder = Path(sys.argv[1]); key = make_key(folder); provider = LocalProvider(folder / 'local')\n"
        "contract = provider.launch(spec(provider, key)); machine = running(provider, contract)\n"
        "print(os.geteuid(), machine.workspace, box_of(machine, key).run('id -u; echo x > \"$0\"; sleep 300 &'\n"
        "    .replace('$0', machine.workspace + '/f').replace('&', '>/dev/null 2>&1 &'), timeout=10).strip())\n"
        "provider.destroy(contract); print(provider.list_machines(), list(folder.glob('local/machines/*')))\n"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", show_python, "sh", rental],
        cwd=REPOSITORY, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    log = [file.read_text() for file in folder.glob("local/machines/*/log")]
    shutil.rmtree(folder.parent)
    assert done.returncode == 0, (done.stderr, log)
    first, last = done.stdout.splitlines()
    assert first in ("65534 /workspace 0", f"65534 {folder}/local/machines/30000001/workspace 65534")
    assert last == "[] []"
