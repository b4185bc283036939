"""Where a machine stands, from the three states that vast.ai keeps of it and the words of its host.

``intended_status`` is the wish, ``cur_state`` the contract's, ``actual_status`` the host's last word, which lags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hibernation.providers.base import Phase

_IMAGE_FAILED = re.compile(
    r"manifest unknown|pull access denied|unauthorized|repository does not exist|invalid reference format",
    re.I,
)
_HOST_FAILED = re.compile(
    r"error response from daemon|failed to pull image|no space left on device|unexpected eof"
    r"|oci runtime create failed",
    re.I,
)
_BOOTING = frozenset({"", "created", "loading"})
_BETWEEN = frozenset({"rebooting", "recycling"})
_ENDED = frozenset({"exited", "stopped"})
_WORDS = 300


@dataclass(frozen=True, slots=True)
class Standing:
    """``reason``: for people. ``is_our_fault``: another host would fail as well. ``needs_start``: once more."""

    phase: Phase
    reason: str = ""
    is_our_fault: bool = False
    needs_start: bool = False


def standing(row: Mapping[str, Any]) -> Standing:
    """Total. What nobody has seen before is ``offline``: it proves nothing, and nothing is done because of it."""
    actual, intended, current = (_word(row, key) for key in ("actual_status", "intended_status", "cur_state"))
    said = _said(row)
    if current == "unloaded":
        return Standing(Phase.STOPPING, "it is being destroyed")
    if actual in ("offline", "unknown"):
        return Standing(Phase.OFFLINE, said or "the host does not answer the provider")
    if actual == "running":
        return _running(intended, said)
    if actual == "frozen":
        return Standing(Phase.FAILED, "the host has frozen it; it still bills")
    if actual not in _BOOTING | _BETWEEN | _ENDED:
        return Standing(Phase.OFFLINE, f"unknown status {actual!r}: {said}")
    if _IMAGE_FAILED.search(said) or _HOST_FAILED.search(said):
        return Standing(Phase.FAILED, said, is_our_fault=bool(_IMAGE_FAILED.search(said)))
    if actual in _ENDED:
        return _ended(row, intended, current, said)
    return _booting(actual, current, said)


def _running(intended: str, said: str) -> Standing:
    if intended == "running":
        return Standing(Phase.RUNNING, said)
    if intended == "stopped":
        return Standing(Phase.STOPPING, "it is being stopped")
    return Standing(Phase.OFFLINE, f"it runs, but is meant to be {intended!r}")


def _ended(row: Mapping[str, Any], intended: str, current: str, said: str) -> Standing:
    if intended != "running":
        return Standing(Phase.STOPPED, "outbid" if row.get("is_bid") is True else said)
    if current == "stopped":
        return Standing(Phase.STOPPED, "its GPU is let to somebody else; a start is queued")
    return Standing(Phase.LOADING, "it starts again")


def _booting(actual: str, current: str, said: str) -> Standing:
    """A contract that stands still while its host boots it: its start got lost, or the host gave up and says why."""
    if current != "stopped" or actual in _BETWEEN:
        return Standing(Phase.LOADING, said)
    if said:
        return Standing(Phase.FAILED, said)
    return Standing(Phase.LOADING, "its start got lost; start it again", needs_start=True)


def _said(row: Mapping[str, Any]) -> str:
    message = row.get("status_msg")
    return " ".join(message.split())[:_WORDS] if isinstance(message, str) else ""


def _word(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return value.strip().lower() if isinstance(value, str) else ""
