"""The workspace of the benchmark, the same for the same scale: weights, a checkpoint with Adam state, a virtual
environment, jsonl, images, a repository and code. At scale 1 about 3.3 GB in 60,000 files.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.snapshot import weights

CHECKPOINT = "runs/last.safetensors"
LOG = "data/train-0.jsonl"
_CHECKPOINT_PARAMETERS = 42_000_000
_CHECKPOINT_SEED = 4
_PACKAGES = (
    "torch==2.13.0",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "transformers",
    "sympy",
    "matplotlib",
    "pillow",
)
_VENV_BYTES = 1_100_000_000
_WORDS = [
    f"{a}{b}{c}" for a in "bcdfglmnprst" for b in ("a", "e", "in", "or", "u") for c in ("", "s", "ter", "ly")
]


def make_workspace(target: Path, scale: float, packages: Path | None) -> None:
    """Write it to ``target``, whole or not at all. ``packages``: a site-packages (default: this Python's)."""
    if target.exists():
        return
    temp = target.with_name(target.name + ".part")
    shutil.rmtree(temp, ignore_errors=True)
    for folder in ("models", "runs", "data", "images", "repo", "venv"):
        (temp / folder).mkdir(parents=True)
    count = _scaled(240_000_000, scale)
    weights.write_model(temp / "models/base-bf16.safetensors", 1, count, weights.bf16, "BF16")
    weights.write_model(temp / "models/vision-fp16.safetensors", 2, count // 2, weights.fp16, "F16")
    weights.write_model(temp / "models/reward-fp32.safetensors", 3, count // 3, weights.fp32, "F32")
    write_checkpoint(temp / CHECKPOINT, scale, step=1000)
    _write_text(temp, scale)
    _write_images(temp / "images", scale)
    _write_repository(temp / "repo", scale)
    _copy_packages(
        packages or Path(sysconfig.get_path("purelib")), temp / "venv/lib", _scaled(_VENV_BYTES, scale)
    )
    os.symlink(sys.executable, temp / "venv/python")
    temp.rename(target)


def write_checkpoint(path: Path, scale: float, step: int) -> None:
    weights.write_checkpoint(path, _CHECKPOINT_SEED, _scaled(_CHECKPOINT_PARAMETERS, scale), step)


def install_packages(folder: Path) -> Path:
    """A site-packages with real shared libraries and modules, filled once."""
    site = folder / "site-packages"
    if not site.exists():
        temp = folder / "site-packages.part"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(temp)]
        subprocess.run([*command, *_PACKAGES], check=True)
        temp.rename(site)
    return site


def lines(rng: random.Random, count: int) -> Iterator[bytes]:
    """Records of a training set: words of uneven frequency, a number, an identifier."""
    for _ in range(count):
        words = " ".join(_WORDS[min(int(rng.paretovariate(0.7)) - 1, len(_WORDS) - 1)] for _ in range(40))
        record = f'{{"id": "{rng.getrandbits(64):016x}", "score": {rng.random():.6f}, "text": "{words}"}}\n'
        yield record.encode()


def _scaled(number: int, scale: float) -> int:
    return max(1, int(number * scale))


def _write_text(root: Path, scale: float) -> None:
    rng = random.Random(5)
    block = list(lines(rng, 20_000))
    for number in range(4):
        with (root / f"data/train-{number}.jsonl").open("wb") as out:
            for _ in range(_scaled(10, scale)):
                rng.shuffle(block)
                salt = b'{"shard": "%016x"}\n' % rng.getrandbits(64)
                out.writelines(salt + line for line in block[: _scaled(20_000, min(1.0, scale * 10))])


def _write_images(folder: Path, scale: float) -> None:
    rng = random.Random(6)
    for number in range(_scaled(1500, scale)):
        head = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
        (folder / f"{number:05}.jpg").write_bytes(
            head + rng.randbytes(rng.randint(40_000, 220_000)) + b"\xff\xd9"
        )


def _write_repository(folder: Path, scale: float) -> None:
    """Source files and loose objects of a version control system: small, many, half of them already compressed."""
    rng = random.Random(7)
    text = b"".join(lines(rng, 2_000))
    for number in range(_scaled(20_000, scale)):
        start = rng.randrange(len(text) - 20_000)
        source = b"# %d\n" % number + text[start : start + int(min(rng.lognormvariate(7.3, 1.0), 20_000))]
        name = f"{rng.getrandbits(160):040x}"
        _write_file(folder / f"src/p{number % 150}/module_{number}.py", source)
        _write_file(folder / "objects" / name[:2] / name[2:], zlib.compress(source, 1))


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _copy_packages(source: Path, target: Path, budget: int) -> None:
    """Copy files, folder by folder, until ``budget`` bytes are there."""
    for folder, dirs, names in os.walk(source):
        dirs.sort()
        for name in sorted(names):
            path = Path(folder) / name
            size = path.lstat().st_size
            if size > budget or path.is_symlink():
                continue
            budget -= size
            to = target / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to)
