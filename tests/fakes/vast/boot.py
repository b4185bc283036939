"""How a contract comes up: its steps from nothing to running, and the ways in which it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_LAYERS = (
    "2ff1d7c41c74: Pulling fs layer\n",
    "2ff1d7c41c74: Downloading [==>   ]  120MB/1.2GB\n",
    "2ff1d7c41c74: Verifying Checksum\n",
    "2ff1d7c41c74: Pull complete\n",
)
_DAEMON = "Error response from daemon: "
_RUNC = "failed to create task for container: failed to create shim task: OCI runtime create failed: "
_ABORTS = {
    "boot_abort_cdi": _DAEMON
    + "could not select device driver: CDI device injection failed: unresolvable CDI devices",
    "boot_abort_oci": _DAEMON + _RUNC + "runc create failed: unable to start container process",
    "no_space_left": "write /var/lib/docker/tmp/GetImageBlob: no space left on device",
    "image_pull_denied": _DAEMON + "pull access denied for {image}, repository does not exist",
    "manifest_unknown": _DAEMON + "manifest for {image} not found: manifest unknown: manifest unknown",
}


@dataclass(frozen=True, slots=True)
class Step:
    """At ``at`` the contract's fields become ``changes``. ``needs_machine``: not before its machine is up."""

    at: float
    changes: dict[str, Any]
    needs_machine: bool = False


def plan_boot(begin: float, seconds: float, image: str, faults: dict[str, dict[str, Any]]) -> list[Step]:
    """The steps of a boot of ``seconds``, with the faults that hit it."""
    if "create_start_race" in faults:
        return [Step(begin + 0.3 * seconds, {"actual": "loading", "cur": "stopped", "next": "stopped"})]
    for name, options in faults.items():
        if name in _ABORTS or name == "boot_abort":
            text = options.get("text") or _ABORTS[name].format(image=image)
            return [*_loading(begin, seconds, until=0.4), _abort(begin + 0.5 * seconds, text)]
    if "loading_forever" in faults:
        return _loading(begin, seconds)
    if "loading_frozen" in faults:
        return [
            *_loading(begin, seconds, until=0.4),
            _running(begin + faults["loading_frozen"]["seconds"], image),
        ]
    seconds += faults.get("slow_boot", {}).get("seconds", 0.0)
    return [*_loading(begin, seconds), _running(begin + seconds, image)]


def plan_restart(begin: float, seconds: float, image: str) -> list[Step]:
    """From a disk that is there already: half as long, and no layers."""
    return [
        Step(begin + 0.1 * seconds, {"actual": "loading", "msg": ""}),
        _running(begin + 0.5 * seconds, image),
    ]


def _loading(begin: float, seconds: float, until: float = 1.0) -> list[Step]:
    steps = [Step(begin + 0.1 * seconds, {"actual": "created"})]
    steps += [
        Step(begin + (0.2 + 0.2 * number) * seconds, {"actual": "loading", "msg": line})
        for number, line in enumerate(_LAYERS)
        if 0.2 + 0.2 * number <= until
    ]
    return steps


def _running(at: float, image: str) -> Step:
    return Step(at, {"actual": "running", "msg": f"success, running {image}/ssh\n"}, needs_machine=True)


def _abort(at: float, text: str) -> Step:
    return Step(at, {"cur": "stopped", "next": "stopped", "intended": "stopped", "msg": text})
