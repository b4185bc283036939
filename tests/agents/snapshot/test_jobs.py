"""Jobs as the control plane drives them: through the command line, detached, killed and resumed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.snapshot import writers
from agents.snapshot.dirty import dirty
from agents.snapshot.errors import SnapshotError
from agents.snapshot.spec import parse_spec
from agents.snapshot.writers import pause_writers, start_time
from hibernation.providers.local.fake_gpu import VARIABLE, FakeGpu, smi_folder, write_gpus
from tests.agents.snapshot.harness import TOKEN, Box, Cloud, picture

REPO = Path(__file__).parents[3]
MIB = 1 << 20

pytestmark = pytest.mark.network


def agents(*args: str, bundle: Path | None = None) -> dict[str, Any]:
    program = [str(bundle)] if bundle else ["-m", "agents"]
    command = [sys.executable, *program, *args]
    done = subprocess.run(command, cwd=None if bundle else REPO, capture_output=True, timeout=30)
    assert done.stderr == b""
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def job(verb: str, folder: Path, *more: str) -> dict[str, Any]:
    return agents("job", verb, "--dir", str(folder), *more)


def prepare(box: Box, name: str, spec: dict[str, Any]) -> Path:
    folder = box.home / "jobs" / name
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


def wait(folder: Path, until: Callable[[dict[str, Any]], bool], seconds: float = 30) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        progress = json.loads((folder / "progress.json").read_text())
        if until(progress):
            return progress
        time.sleep(0.01)
    raise AssertionError(f"{progress} {(folder / 'log').read_text()}")


def finish(folder: Path) -> dict[str, Any]:
    """Wait until the job has ended and its process is gone."""
    progress = wait(folder, lambda p: p["state"] != "running")
    with (folder / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    return progress


def kill(folder: Path) -> None:
    pid = json.loads((folder / "pid").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    with (folder / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def stored_packs(box: Box) -> set[str]:
    """Keys of the packs in the journal beside the state file."""
    path = box.state_file.with_suffix(".journal")
    lines = path.read_text().split("\n")[1:-1] if path.exists() else []
    return {fact["pack"][1] for fact in map(json.loads, lines) if "pack" in fact}


def fill(box: Box, bulk: int = 100) -> None:
    for number in range(50):
        (box.workspace / f"m{number}.py").write_text(f"value = {number}\n" * 50)
    (box.workspace / "weights.bin").write_bytes(os.urandom(bulk * MIB))


def slowly(cloud: Cloud, method: str) -> None:
    def wait_a_little(called: str, key: str) -> None:
        if called == method:
            time.sleep(0.1)

    cloud.fault = wait_a_little


def test_a_freeze_and_a_thaw_run_from_the_bundle(box: Box, other: Box, tmp_path: Path) -> None:
    fill(box, 2)
    bundle = tmp_path / "agents.pyz"
    with zipfile.ZipFile(bundle, "w") as archive:
        for path in (REPO / "agents").rglob("*.py"):
            archive.write(path, path.relative_to(REPO))
        archive.writestr("__main__.py", "import sys\nfrom agents.__main__ import main\nsys.exit(main())\n")
    folder = prepare(box, "f", box.freeze_spec("s1"))
    first = agents("job", "start", "--dir", str(folder), bundle=bundle)
    assert (first["state"], first["kind"], first["job"]) == ("running", "freeze", "job-s1")
    frozen = finish(folder)["result"]
    folder = prepare(other, "t", other.thaw_spec(frozen))
    agents("job", "start", "--dir", str(folder), bundle=bundle)
    assert finish(folder)["usable"] is True
    assert picture(other.workspace) == picture(box.workspace)
    status = agents("job", "status", "--dir", str(folder), bundle=bundle)
    assert (status["state"], status["files_done"], status["bytes_done"]) == (
        "done",
        51,
        status["bytes_total"],
    )


def test_a_second_start_starts_nothing(box: Box, cloud: Cloud) -> None:
    fill(box)
    slowly(cloud, "PUT")
    folder = prepare(box, "f", box.freeze_spec("s1"))
    job("start", folder)
    wait(folder, lambda p: (folder / "pid").exists())
    runner = (folder / "pid").read_text()
    assert job("start", folder)["state"] == "running"
    assert (folder / "pid").read_text() == runner
    finish(folder)
    assert job("start", folder)["state"] == "done"
    assert (folder / "pid").read_text() == runner


def test_a_killed_freeze_goes_on_without_sending_twice(box: Box, other: Box, cloud: Cloud) -> None:
    fill(box, 150)
    slowly(cloud, "PUT")
    folder = prepare(box, "f", box.freeze_spec("s1"))
    job("start", folder)
    deadline = time.monotonic() + 20
    while not (journalled := stored_packs(box)):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    kill(folder)
    assert job("status", folder)["state"] == "died"
    journalled = stored_packs(box)
    before = len(cloud.puts)
    job("start", folder)
    frozen = finish(folder)["result"]
    sent = {pack["key"] for pack in frozen["packs_new"]}
    assert journalled <= sent
    assert len(cloud.puts) - before <= len(sent) - len(journalled) + 1
    other.thaw(frozen)
    assert picture(other.workspace) == picture(box.workspace)


def test_a_killed_thaw_goes_on_and_comes_out_right(box: Box, other: Box, cloud: Cloud) -> None:
    fill(box, 150)
    frozen = box.freeze("s1")
    killed = threading.Event()
    cloud.fault = lambda method, key: killed.wait(20) and None if len(cloud.gets) >= 8 else None
    folder = prepare(other, "t", other.thaw_spec(frozen))
    job("start", folder)
    wait(folder, lambda p: p["usable"] and p["bytes_done"] > 20 * MIB)
    kill(folder)
    killed.set()
    assert job("status", folder)["state"] == "died"
    assert not (other.workspace / "weights.bin").exists()
    cloud.gets.clear()
    job("start", folder)
    assert finish(folder)["state"] == "done"
    assert picture(other.workspace) == picture(box.workspace)
    assert len(cloud.gets) < 20  # 19 runs of the big file, and the manifest, if nothing had been kept
    assert other.freeze("s2", "s1")["packs_new"] == []


def test_a_stopped_job_is_gone_and_says_so(box: Box, cloud: Cloud) -> None:
    fill(box)
    slowly(cloud, "PUT")
    folder = prepare(box, "f", box.freeze_spec("s1"))
    job("start", folder)
    wait(folder, lambda p: p["phase"] == "upload")
    mark = json.loads((folder / "pid").read_text())
    stopped = job("stop", folder)
    assert (stopped["state"], stopped["error"]["code"]) == ("failed", "stopped")
    assert start_time(mark["pid"]) != mark["started"]
    assert job("stop", folder)["state"] == "failed"


def test_a_failed_job_starts_again_only_when_asked(box: Box, cloud: Cloud) -> None:
    fill(box, 2)
    (box.home / "token").write_text("wrong")
    folder = prepare(box, "f", box.freeze_spec("s1"))
    job("start", folder)
    assert finish(folder)["error"]["code"] == "control_refused"
    (box.home / "token").write_text(TOKEN)
    assert job("start", folder)["state"] == "failed"
    assert job("start", folder, "--again")["state"] == "running"
    assert finish(folder)["state"] == "done"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"keys": {"id": "short", "cipher": None}}, "bad_spec"),
        ({"keys": {"id": "0" * 64}}, "bad_spec"),
        ({"kind": "melt"}, "bad_spec"),
        ({"workspace": "/nonexistent/x"}, "workspace_missing"),
    ],
)
def test_a_bad_spec_fails_with_its_code(box: Box, change: dict[str, str], code: str) -> None:
    folder = prepare(box, "f", {**box.freeze_spec("s1"), **change})
    job("start", folder)
    assert finish(folder)["error"]["code"] == code


def test_a_job_without_a_spec_or_a_start_is_told(box: Box, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agents", "job", "start", "--dir", str(tmp_path)],
        cwd=REPO,
        capture_output=True,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "bad_spec"
    assert job("status", tmp_path)["state"] == "unknown"
    assert job("stop", tmp_path)["state"] == "unknown"


def test_dirty_notices_everything_that_matters(box: Box) -> None:
    fill(box, 2)
    (box.workspace / "dir").mkdir()
    (box.workspace / "link").symlink_to("m1.py")
    assert dirty(str(box.workspace), box.state_file)["dirty"]
    box.freeze("s1")
    assert dirty(str(box.workspace), box.state_file) == {"dirty": False, "changed": 0, "sample": []}
    workspace = box.workspace
    for change in (
        lambda: (workspace / "new").touch(),
        lambda: (workspace / "m2.py").unlink(),
        lambda: (workspace / "m3.py").write_text("changed"),
        lambda: (workspace / "m4.py").chmod(0o600),
        lambda: (workspace / "dir").chmod(0o700),
        lambda: (workspace / "dir" / "sub").mkdir(),
        lambda: ((workspace / "link").unlink(), (workspace / "link").symlink_to("m5.py")),
        lambda: os.link(workspace / "m6.py", workspace / "m6-twin"),
    ):
        change()
        assert dirty(str(workspace), box.state_file)["dirty"]
        box.freeze("s1", "s1")
        assert not dirty(str(workspace), box.state_file)["dirty"]


def test_writers_are_paused_once_and_resumed(box: Box, tmp_path: Path) -> None:
    record = tmp_path / "paused.json"
    script = "import sys,time; f=open(sys.argv[1], sys.argv[2]); print('ready', flush=True); time.sleep(60)"
    (box.workspace / "f").touch()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(box.workspace / "f"), mode], stdout=subprocess.PIPE
        )
        for mode in ("a", "r")
    ]
    try:
        for child in children:
            assert child.stdout
            child.stdout.readline()
        for _ in range(2):
            paused = pause_writers(str(box.workspace), record)
            assert [entry["pid"] for entry in paused["paused"]] == [children[0].pid]
            assert paused["failed"] == []
        assert [state(child.pid) for child in children] == ["T", "S"]
        for expected in (1, 0):
            assert len(agents("resume-writers", "--record", str(record))["resumed"]) == expected
        assert [state(child.pid) for child in children] == ["S", "S"]
    finally:
        for child in children:
            child.kill()
            child.communicate()


def test_a_writer_that_someone_let_go_is_paused_again(box: Box, tmp_path: Path) -> None:
    record = tmp_path / "paused.json"
    script = "import sys,time; f=open(sys.argv[1],'w'); print('ready', flush=True); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(box.workspace / "f")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        pause_writers(str(box.workspace), record)
        assert state(child.pid) == "T"
        child.send_signal(signal.SIGCONT)
        assert state(child.pid) == "S"
        assert len(pause_writers(str(box.workspace), record)["paused"]) == 1
        assert state(child.pid) == "T"
    finally:
        child.kill()
        child.communicate()


def test_a_writer_that_cannot_be_paused_is_told_each_time(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = {"pid": 1 << 22, "started": 1, "name": "python"}
    monkeypatch.setattr(writers, "_writers", lambda root: iter([writer]))
    for _ in range(2):
        assert len(pause_writers(str(box.workspace), tmp_path / "paused.json")["failed"]) == 1


def test_whoever_works_in_the_workspace_is_paused(box: Box, tmp_path: Path) -> None:
    script = "import time; print('ready', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", script]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=box.workspace)
    try:
        assert child.stdout
        child.stdout.readline()
        paused = pause_writers(str(box.workspace), tmp_path / "paused.json")["paused"]
        assert [entry["pid"] for entry in paused] == [child.pid]
    finally:
        child.kill()
        child.communicate()


def test_a_writer_through_a_mapping_is_paused_and_a_reused_pid_left_alone(box: Box, tmp_path: Path) -> None:
    record = tmp_path / "paused.json"
    (box.workspace / "f").write_bytes(b"x" * 4096)
    script = (
        "import mmap,sys,time; f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); f.close();"
        "print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(box.workspace / "f")], stdout=subprocess.PIPE)
    try:
        assert child.stdout
        child.stdout.readline()
        paused = pause_writers(str(box.workspace), record)["paused"]
        assert [entry["pid"] for entry in paused] == [child.pid]
        entries = json.loads(record.read_text())
        record.write_text(json.dumps([{**entry, "started": 1} for entry in entries]))
        assert agents("resume-writers", "--record", str(record)) == {"resumed": [], "gone": 1}
        assert state(child.pid) == "T"
    finally:
        child.kill()
        child.communicate()


def state(pid: int) -> str:
    """The process's state, once it has taken its signal."""
    for _ in range(100):
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if found in "ST":
            return found
        time.sleep(0.01)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_fails_the_job_and_more_room_finishes_it(box: Box, other: Box) -> None:
    fill(box, 20)
    frozen = box.freeze("s1")
    small = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(other.workspace)]
    if subprocess.run(small, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        folder = prepare(other, "t", other.thaw_spec(frozen))
        job("start", folder)
        assert finish(folder)["error"]["code"] == "disk_full"
        assert not (other.workspace / "weights.bin").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(other.workspace)], check=True)
        job("start", folder, "--again")
        assert finish(folder)["state"] == "done"
        assert picture(other.workspace) == picture(box.workspace)
    finally:
        subprocess.run(["umount", "-l", str(other.workspace)], check=True)


@pytest.mark.parametrize(
    ("background", "nice", "policy"), [(False, 10, os.SCHED_BATCH), (True, 19, os.SCHED_IDLE)]
)
def test_a_job_gives_way_to_the_users_work(
    box: Box, cloud: Cloud, background: bool, nice: int, policy: int
) -> None:
    fill(box, 60)
    slowly(cloud, "PUT")
    folder = prepare(box, "f", box.freeze_spec("s1", background=background))
    job("start", folder)
    wait(folder, lambda p: p["phase"] == "upload")
    pid = json.loads((folder / "pid").read_text())["pid"]
    assert os.getpriority(os.PRIO_PROCESS, pid) == nice
    assert os.sched_getscheduler(pid) == policy
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
    assert finish(folder)["state"] == "done"


def test_a_background_freeze_yields_to_the_gpus_and_loses_nothing(
    box: Box, cloud: Cloud, gpu_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(gpu_file))
    monkeypatch.setenv("PATH", f"{smi_folder()}{os.pathsep}{os.environ['PATH']}")
    write_gpus(gpu_file, [FakeGpu(utilization=3)])
    fill(box, 150)
    held = threading.Event()
    cloud.fault = lambda method, key: held.wait(20) and None if len(cloud.puts) >= 2 else None
    folder = prepare(box, "f", box.freeze_spec("s1", background=True, yield_above=10))
    job("start", folder)
    while len(stored_packs(box)) < 2:
        wait(folder, lambda p: p["state"] == "running")
    write_gpus(gpu_file, [FakeGpu(utilization=80)])
    began = time.monotonic()
    error = finish(folder)["error"]
    assert time.monotonic() - began < 5
    assert error == {"code": "activity_resumed", "message": "a GPU is at 80 %, more than 10 %"}
    held.set()
    cloud.fault = lambda method, key: None
    stored = stored_packs(box)
    assert stored <= {pack["key"] for pack in box.freeze("s2")["packs_new"]}


@pytest.mark.parametrize(
    "change",
    [{"limit_bps": 0}, {"limit_bps": 1.5}, {"background": 1}, {"yield_above": 101}, {"yield_above": "10"}],
)
def test_orders_that_make_no_sense_are_refused(box: Box, change: dict[str, Any]) -> None:
    with pytest.raises(SnapshotError) as failure:
        parse_spec(box.freeze_spec("s1", **change))
    assert failure.value.code == "bad_spec"
