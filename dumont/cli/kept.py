"""What ``dumont login`` keeps between commands: one server and its token, in a file for its owner's eyes only."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .exits import Code, Failure


@dataclass(frozen=True, slots=True)
class Kept:
    """``plain_http``: the owner said once that a token may go to ``url`` unencrypted."""

    url: str
    token: str = field(repr=False)
    plain_http: bool = False


def config_path(environ: Mapping[str, str]) -> Path:
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".config")
    return Path(home) / "dumont" / "config.toml"


def read_kept(path: Path) -> Kept | None:
    """``None`` if nobody logged in. ``Failure`` if others can read or change the file, or it makes no sense."""
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            found = tomllib.load(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(Code.USAGE, f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise Failure(Code.USAGE, f"{path} is not what dumont login writes: log in again.") from None
    url, token = found.get("url"), found.get("token")
    if not isinstance(url, str) or not isinstance(token, str):
        raise Failure(Code.USAGE, f"{path} is not what dumont login writes: log in again.")
    return Kept(url, token, found.get("plain_http") is True)


def _check_private(path: Path, info: os.stat_result) -> None:
    if info.st_uid != os.getuid():
        raise Failure(Code.USAGE, f"{path} belongs to somebody else: its token is not used.")
    if info.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        shown = f"{stat.S_IMODE(info.st_mode):04o}"
        raise Failure(Code.USAGE, f"{path} holds a token and has mode {shown}: run chmod 600 {path}")


def write_kept(path: Path, kept: Kept) -> None:
    """Replaces the file whole; it is never there with a wider mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = [f"url = {_quoted(kept.url)}", f"token = {_quoted(kept.token)}"]
    if kept.plain_http:
        lines.append("plain_http = true")
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
    os.replace(beside, path)


def _quoted(text: str) -> str:
    """A JSON string of printable ASCII is a TOML string too."""
    return json.dumps(text)
