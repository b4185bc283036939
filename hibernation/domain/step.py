"""What a step is: a pure plan before the one effect, and a pure conclusion after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hibernation.domain.effects import Reply
from hibernation.domain.facts import Facts
from hibernation.domain.outcomes import Outcome, Plan


@dataclass(frozen=True, slots=True)
class Step:
    """``plan`` runs in the claim transaction, ``conclude`` in the settle transaction; between them the effect.

    Both must be repeatable: a worker can die at any point, and the step then starts again with ``plan``.
    ``queue`` names the workers that perform the effect.
    """

    name: str
    queue: str
    plan: Callable[[Facts], Plan]
    conclude: Callable[[Facts, Reply], Outcome]
