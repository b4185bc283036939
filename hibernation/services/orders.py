"""What an instance's machines are ordered with besides the hardware: environment, ports, start script, hook.

The values of the environment may be secrets: they are sealed by the installation's key and never told again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from hibernation.domain.errors import InvalidRequest
from hibernation.models import Instance
from hibernation.services.keys import seal_environment, unseal_environment

ENVIRONMENT_FIELDS = ("env_names", "env_sealed", "env_sealed_by")
LONGEST_VALUE = 256
LONGEST_ENV = 32_768
LONGEST_ONSTART = 3000
"""Of the 4048 characters that vast.ai takes; the rest is for lines of ours."""
LONGEST_HOOK = 1000
MOST_PORTS = 64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
_OURS = "DUMONT_"


def environment_of(instance: Instance) -> dict[str, str]:
    """The variables with their values. ``KeyUnavailable`` if the key that sealed them is gone."""
    found: dict[str, str] = json.loads(unseal_environment(instance) or b"{}")
    return found


def set_environment(instance: Instance, env: Mapping[str, str]) -> None:
    """Replace all variables; the caller saves ``ENVIRONMENT_FIELDS``."""
    check_environment(env)
    instance.env_names = sorted(env)
    seal_environment(instance, json.dumps(dict(env)).encode() if env else b"")


def check_environment(env: Mapping[str, str]) -> None:
    """``InvalidRequest`` that names no value."""
    for name, value in env.items():
        if not _NAME.match(name) or name.startswith(_OURS):
            raise InvalidRequest(f"{name[:100]!r} cannot be the name of a variable here.")
        if not isinstance(value, str) or len(value) > LONGEST_VALUE or "\0" in value:
            raise InvalidRequest(f"The value of {name} must be a text of at most {LONGEST_VALUE} characters.")
    if sum(len(name) + len(value) for name, value in env.items()) > LONGEST_ENV:
        raise InvalidRequest(f"The variables together have more than {LONGEST_ENV} characters.")


def check_ports(ports: Sequence[int]) -> None:
    if len(ports) > MOST_PORTS:
        raise InvalidRequest(f"At most {MOST_PORTS} ports can be opened.")
    if len(set(ports)) != len(ports) or not all(1 <= port <= 65_535 for port in ports):
        raise InvalidRequest("Ports are different numbers from 1 to 65535.")
