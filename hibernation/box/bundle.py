"""The agent as one file: a zip of the ``agents`` package that any Python 3 runs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

_MAIN = b"import sys\n\nfrom agents.__main__ import main\n\nsys.exit(main())\n"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@lru_cache(maxsize=1)
def agent_bundle() -> bytes:
    """The zip, to be run as ``python3 agents.pyz …``. The same sources give the same bytes."""
    package = _package()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        _add(bundle, "__main__.py", _MAIN)
        for source in sorted(package.rglob("*.py")):
            _add(bundle, f"agents/{source.relative_to(package).as_posix()}", source.read_bytes())
    return buffer.getvalue()


def bundle_sha256() -> str:
    """In hex. Changes when any source of the agent does."""
    return hashlib.sha256(agent_bundle()).hexdigest()


def _package() -> Path:
    spec = find_spec("agents")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("The package «agents» is not installed beside «hibernation».")
    return Path(spec.origin).parent


def _add(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _LONG_AGO)
    entry.external_attr = 0o644 << 16
    # Deflate differs between builds of zlib; the bytes are to be the same wherever they are made.
    entry.compress_type = zipfile.ZIP_STORED
    bundle.writestr(entry, content)
