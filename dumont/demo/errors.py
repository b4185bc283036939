"""How a demo ends early."""

from __future__ import annotations

from hibernation.domain.errors import DumontError


class DemoFailed(DumontError):
    """A phase failed or took too long. ``logs``: the programs whose logs say more."""

    code = "demo_failed"

    def __init__(self, message: str, *logs: str) -> None:
        super().__init__(message)
        self.logs = logs


class Unusable(DumontError):
    """What the command line asks for cannot be done. Nothing was started."""

    code = "unusable"
