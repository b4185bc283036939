"""Django choices from the domain's enums, so that a state is spelled in one place."""

from __future__ import annotations

from enum import StrEnum


def choices(states: type[StrEnum]) -> list[tuple[str, str]]:
    return [(state.value, state.value.replace("_", " ")) for state in states]


def values(states: type[StrEnum]) -> list[str]:
    return [state.value for state in states]
