"""A machine in a folder: the project's own freeze and thaw run in this process, on a store in a folder."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agents.snapshot.errors import SnapshotError
from agents.snapshot.freeze import freeze
from agents.snapshot.progress import Progress
from agents.snapshot.spec import FreezeSpec, ThawSpec, parse_spec
from agents.snapshot.thaw import thaw
from hibernation.box.fence import FenceReport
from hibernation.box.jobs import JobError, JobProgress
from hibernation.domain.effects import HookRan, Trial
from hibernation.domain.errors import BoxUnreachable
from hibernation.models import Instance, Pack
from hibernation.services.clock import db_now


@dataclass
class FolderTransfer:
    """Stores and reads objects directly, and notes what it stored: the rows are written by the test's own thread."""

    root: Path
    instance_id: str
    stored: list[dict[str, Any]] = field(default_factory=list)
    moved: int = 0

    def upload(self, kind: str, tier: int, parts: Sequence[bytes], size: int, crc32: str) -> str:
        key = f"{self.instance_id}/{kind}s/{secrets.token_hex(16)}"
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(parts))
        self.stored.append({"key": key, "kind": kind, "tier": tier, "size": size, "crc32": crc32})
        return key

    def expect(self, keys: Sequence[str]) -> None:
        pass

    def download(self, key: str, start: int, into: memoryview) -> None:
        path = self.root / key
        data = path.read_bytes()[start : start + len(into)] if path.exists() else b""
        if len(data) != len(into):
            raise SnapshotError("snapshot_unproven", f"{key} is missing or short")
        into[:] = data


@dataclass
class FakeBox:
    """What runs on one machine. Every method is what a function of ``hibernation.box`` is replaced by.

    ``before_job``: progress to answer before the job really runs. ``changes``: entries the coming fences find
    changed. ``gpu``: utilization at the last look. ``outdated``: its agent is of an older version. ``tested``: what its
    test will say; ``downloads``: what it was last told to download for it.
    """

    home: Path
    store_root: Path
    log: list[str]
    instance_id: str = ""
    token: str = ""
    seq: int = 0
    reports: bool = True
    unreachable: bool = False
    gpu: tuple[float | None, ...] = (0.0,)
    outdated: bool = False
    tested: Trial = Trial(("",), (None,), "570.86", "12.8")
    downloads: list[Any] = field(default_factory=list)
    hook_code: int = 0
    before_job: list[JobProgress] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)
    jobs: dict[str, JobProgress] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.workspace.mkdir(parents=True, exist_ok=True)
        (self.home / ".dumont").mkdir(exist_ok=True)

    @property
    def workspace(self) -> Path:
        return self.home / "workspace"

    def run(self, command: str, *, timeout: float, input: str | None = None) -> str:
        if self.unreachable:
            raise BoxUnreachable("nobody answers")
        return ""

    @contextmanager
    def connected(self) -> Iterator[FakeBox]:
        self.run("true", timeout=1)
        yield self

    def is_current(self) -> bool:
        self.run("true", timeout=1)
        return not self.outdated

    def install(self, instance_id: str, token: str) -> None:
        self.run("true", timeout=1)
        self.log.append("install")
        self.instance_id, self.token, self.seq = instance_id, token, 0
        (self.home / ".dumont" / "token").write_text(token)

    def selftest(self, downloads: Sequence[Any]) -> Trial:
        self.run("true", timeout=1)
        self.downloads = list(downloads)
        return self.tested

    def run_hook(self, line: str) -> HookRan:
        self.run("true", timeout=1)
        self.log.append(f"hook {line}")
        return HookRan(self.hook_code, "said")

    def start_job(self, job: str, spec: Mapping[str, Any], again: bool) -> JobProgress:
        if self.before_job:
            return replace(self.before_job.pop(0), job=job)
        if job not in self.jobs or (again and self.jobs[job].state == "failed"):
            self.log.append(f"{spec['kind']} {job}")
            self.jobs[job] = self._work(job, spec)
        return self.jobs[job]

    def job_status(self, job: str) -> JobProgress:
        if self.before_job:
            return replace(self.before_job.pop(0), job=job)
        return self.jobs.get(job, JobProgress(job, "", "unknown"))

    def stop_job(self, job: str) -> JobProgress:
        self.log.append("stop")
        return self.jobs.get(job, JobProgress(job, "", "unknown"))

    def _work(self, job: str, spec: Mapping[str, Any]) -> JobProgress:
        home = str(self.home)
        local = {k: v.replace("~", home) if k.endswith("_file") else v for k, v in spec.items()}
        parsed = parse_spec(local)
        folder = self.home / ".dumont" / "jobs" / job
        folder.mkdir(parents=True, exist_ok=True)
        transfer = self.transfer(parsed)
        progress = Progress(folder / "progress.json", job, str(spec["kind"]))
        work: Any = freeze if isinstance(parsed, FreezeSpec) else thaw
        try:
            result = work(parsed, folder, progress, transfer)
        except SnapshotError as error:
            return JobProgress(job, str(spec["kind"]), "failed", error=JobError(error.code, str(error)))
        self.announce(transfer)
        return JobProgress(job, str(spec["kind"]), "done", result=result)

    def transfer(self, spec: FreezeSpec | ThawSpec) -> Any:
        return FolderTransfer(self.store_root, self.instance_id)

    def announce(self, transfer: Any) -> None:
        """The rows of what was stored, as the control plane would have made them when it gave the URLs."""
        instance, now = Instance.objects.get(pk=self.instance_id), db_now()
        Pack.objects.bulk_create(Pack(instance=instance, created_at=now, **row) for row in transfer.stored)

    def fence(self) -> FenceReport:
        self.log.append("pause")
        changed = self.changes.pop(0) if self.changes else 0
        return FenceReport(changed, ("notes.txt",) if changed else (), self.gpu)


def tree(folder: Path) -> dict[str, str]:
    """The files below ``folder`` with the hash of their bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
