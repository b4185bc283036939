"""What a user would run instead. All but borg write to the same store as we do, restic by its own REST protocol, which
costs it less than S3's signatures. borg keeps its repository in a local folder, without HTTP: that favours it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.snapshot.contest import Stage, Tool, clear, size_of
from benchmarks.snapshot.meter import Cost, measure
from benchmarks.snapshot.store import PART
from benchmarks.snapshot.tools import Tools

_AWS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_REGION": "us-east-1"}


class _Peer:
    name = ""
    on_restored = False
    variants: tuple[Tool, ...] = ()

    def __init__(self, stage: Stage, tools: Tools) -> None:
        self._stage = stage
        self._tools = tools
        self._repo = stage.repos / self.name
        self._env = {**tools.env, "HOME": str(self._repo.with_name(f"{self.name}-home"))}

    def reset(self) -> None:
        clear(self._repo)
        clear(Path(self._env["HOME"]))

    def forget_next(self) -> None:
        raise NotImplementedError

    def stored(self) -> int:
        return size_of(self._repo)

    def _measure(self, *command: str) -> Cost:
        return measure(command, env=self._env, cwd=self._stage.box)

    def _run(self, *command: str) -> None:
        env = {**os.environ, **self._env}
        subprocess.run(command, env=env, cwd=self._stage.box, check=True, capture_output=True)


class Restic(_Peer):
    """As it comes."""

    name = "restic"
    on_restored = True
    backup: tuple[str, ...] = ()
    common: tuple[str, ...] = ()

    def __init__(self, stage: Stage, tools: Tools) -> None:
        super().__init__(stage, tools)
        self._env |= {"RESTIC_REPOSITORY": self._url(), "RESTIC_PASSWORD": "benchmark"}

    def _url(self) -> str:
        return f"rest:{self._stage.store_url}/{self._repo.relative_to(self._stage.repos)}/"

    def version(self) -> str:
        return self._tools.version("restic", "version").split(" compiled")[0]

    def reset(self) -> None:
        super().reset()
        self._run("restic", "init", "--quiet")

    def snapshot(self, label: str) -> Cost:
        options = (*self.common, *self.backup, "--quiet", "--tag", label)
        return self._measure("restic", "backup", *options, str(self._stage.workspace))

    def restore(self) -> Cost:
        target = str(self._stage.workspace)
        return self._measure(
            "restic",
            "restore",
            *self.common,
            "--quiet",
            "--tag",
            "first",
            f"latest:{target}",
            "--target",
            target,
        )

    def forget_next(self) -> None:
        self._run("restic", "forget", "--quiet", "--tag", "next", "--unsafe-allow-remove-all", "--prune")


class ResticTuned(Restic):
    """Fastest compression, big packs, more readers, no scan ahead for the progress bar."""

    name = "restic-tuned"
    common = ("--compression", "fastest", "--pack-size", "64", "-o", "rest.connections=8")
    backup: tuple[str, ...] = ("--read-concurrency", "8", "--no-scan")

    def __init__(self, stage: Stage, tools: Tools) -> None:
        super().__init__(stage, tools)
        if type(self) is ResticTuned:
            self.variants = (ResticTrusting(stage, tools),)


class ResticTrusting(ResticTuned):
    """The tuned one's repository, and files are believed unchanged by size and mtime alone: less safe."""

    name = "restic-trusting"
    backup = (*ResticTuned.backup, "--ignore-inode", "--ignore-ctime")

    def __init__(self, stage: Stage, tools: Tools) -> None:
        super().__init__(stage, tools)
        self._repo = stage.repos / ResticTuned.name
        self._env["RESTIC_REPOSITORY"] = self._url()


class TarZstd(_Peer):
    """tar with a listed-incremental file, zstd -1 on all cores, a multipart upload."""

    name = "tar"

    def __init__(self, stage: Stage, tools: Tools) -> None:
        super().__init__(stage, tools)
        self._env |= {**_AWS, "S3_ENDPOINT_URL": stage.store_url}
        self._bucket = f"s3://{self._repo.relative_to(stage.repos)}"

    def version(self) -> str:
        zstd = self._tools.version("zstd", "-V").split("v")[-1].split(",")[0]
        s5cmd = self._tools.version("s5cmd", "version").split("-")[0]
        return f"{self._tools.version('tar', '--version')}, zstd {zstd}, s5cmd {s5cmd}"

    def snapshot(self, label: str) -> Cost:
        listed = Path(self._env["HOME"]) / "listed"
        if label == "next":
            shutil.copyfile(listed, listed.with_name("listed-next"))
            listed = listed.with_name("listed-next")
        return self._pipe(
            f"tar -c --listed-incremental={listed} -f - workspace | zstd -1 -T0 -q | "
            f"s5cmd pipe --part-size {PART >> 20} {self._bucket}/{label}.tar.zst"
        )

    def restore(self) -> Cost:
        return self._pipe(f"s5cmd cat {self._bucket}/first.tar.zst | zstd -d -q | tar -x -f -")

    def _pipe(self, pipeline: str) -> Cost:
        return self._measure("bash", "-c", f"set -o pipefail; {pipeline}")


class Borg(_Peer):
    name = "borg"

    def __init__(self, stage: Stage, tools: Tools) -> None:
        super().__init__(stage, tools)
        self._env |= {
            "BORG_REPO": str(self._repo),
            "BORG_PASSPHRASE": "benchmark",
            "BORG_EXIT_CODES": "modern",
        }
        self._env["PYTHONPATH"] = tools.env["BORG_PYTHON_PATH"]
        self._borg = ("/usr/bin/python3", str(tools.folder / "root/usr/bin/borg"))

    def version(self) -> str:
        env = {**os.environ, **self._env}
        done = subprocess.run([*self._borg, "--version"], env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip() + " -C lz4"

    def reset(self) -> None:
        super().reset()
        self._run(*self._borg, "init", "-e", "repokey-blake2")

    def snapshot(self, label: str) -> Cost:
        return self._measure(*self._borg, "create", "-C", "lz4", f"::{label}", "workspace")

    def restore(self) -> Cost:
        return self._measure(*self._borg, "extract", "::first")


class Rclone(_Peer):
    """One object a file, many at once. The second sync replaces the first, so the restore brings the changed tree."""

    name = "rclone"

    def __init__(self, stage: Stage, tools: Tools) -> None:
        super().__init__(stage, tools)
        self._env |= {
            "RCLONE_CONFIG_S_TYPE": "s3",
            "RCLONE_CONFIG_S_PROVIDER": "Other",
            "RCLONE_CONFIG_S_ACCESS_KEY_ID": "benchmark",
            "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": "benchmark",
            "RCLONE_CONFIG_S_ENDPOINT": stage.store_url,
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
            "RCLONE_S3_NO_HEAD": "true",
            "RCLONE_S3_CHUNK_SIZE": f"{PART >> 20}Mi",
        }
        self._options = ("--links", "--transfers", "32", "--checkers", "32", "--fast-list", "--quiet")

    def version(self) -> str:
        return self._tools.version("rclone", "version")

    def snapshot(self, label: str) -> Cost:
        """By the times of the store's list: otherwise every object costs a request of its own on the next day."""
        times = ("--update", "--use-server-modtime")
        return self._sync(str(self._stage.workspace), f"s:{self.name}", *times)

    def restore(self) -> Cost:
        return self._sync(f"s:{self.name}", str(self._stage.workspace))

    def _sync(self, source: str, target: str, *more: str) -> Cost:
        return self._measure("rclone", "sync", *self._options, *more, source, target)
