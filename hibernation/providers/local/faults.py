"""Faults to inject into the local provider, shared by every process that uses the same root.

``slow_boot_seconds``, ``login_banner`` (a text) and ``refused_logins`` (how many a machine refuses at first) hit
every start until changed; ``vanish`` names contracts; each other fault is a count of calls to hit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hibernation.providers.local.files import locked, read_json, write_json

COUNTED = (
    "never_reachable",  # the next machines never open their SSH port
    "launch_answer_lost",  # the machine is rented, but the answer never comes
    "launch_error",  # the machine is rented, but the answer says nothing
    "offer_gone",  # nothing is rented
    "destroy_refused",  # the machine stays, the call fails
    "destroy_ignored",  # the machine stays, the call says it worked
    "list_fails",
)
STARTS = ("slow_boot_seconds", "login_banner", "refused_logins")
NAMES = (*COUNTED, *STARTS, "vanish")


def set_faults(root: Path, **faults: Any) -> None:
    """Arms the faults named, over what is armed already. ``ValueError`` for one that does not exist."""
    if unknown := set(faults) - set(NAMES):
        raise ValueError(f"No such fault: {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}.")
    with locked(_lock(root)):
        write_json(_file(root), {**read_json(_file(root), {}), **faults})


def take(root: Path, name: str) -> bool:
    """Whether this call is to be hit by the counted fault; uses up one."""
    with locked(_lock(root)):
        armed = read_json(_file(root), {})
        left = int(armed.get(name, 0))
        if left > 0:
            write_json(_file(root), {**armed, name: left - 1})
        return left > 0


def take_vanished(root: Path) -> list[str]:
    """The contracts whose host takes them back now; each is told once."""
    with locked(_lock(root)):
        armed = read_json(_file(root), {})
        vanished = [str(contract_id) for contract_id in armed.get("vanish", [])]
        if vanished:
            write_json(_file(root), {**armed, "vanish": []})
        return vanished


def of_starts(root: Path) -> dict[str, Any]:
    """The armed ones of ``STARTS``."""
    armed = read_json(_file(root), {})
    return {name: armed[name] for name in STARTS if name in armed}


def _file(root: Path) -> Path:
    return root / "provider" / "faults.json"


def _lock(root: Path) -> Path:
    return root / "provider" / "faults.lock"
