"""The script with which a rented machine has itself adopted. It holds no secret: its token is an argument."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

_SCRIPT = Path(__file__).with_name("remote") / "enrol.sh"


def enrol_script(control_url: str, public_key: str) -> str:
    """For ``sh -s -- TOKEN [CONTRACT]``. The machine needs curl."""
    return _SCRIPT.read_text().replace("@URL@", quote(control_url)).replace("@KEY@", quote(public_key))
