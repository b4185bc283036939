"""Every step boundary of every kind of operation, taken from the steps themselves."""

from __future__ import annotations

from dataclasses import dataclass

from hibernation.domain.lifecycle import CHAINS, STEPS
from hibernation.domain.states import OperationKind

WHERE = ("claimed", "performed", "settled")
"""As ``hibernation.services.boundaries.Boundary``, which needs a database to be imported."""
_ASKS_NOTHING_OF_THE_WORLD = {(OperationKind.WAKE, "confirm")}
KINDS = (OperationKind.HIBERNATE, OperationKind.WAKE, OperationKind.SNAPSHOT)
"""What the machines of an arena go through: nobody else rents any that could be adopted."""


@dataclass(frozen=True, slots=True)
class Place:
    kind: OperationKind
    step: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind}-{self.step}-{self.where}"

    @property
    def queue(self) -> str:
        """The worker that stands here."""
        return STEPS[self.kind][self.step].queue

    def file_of(self, instance: str) -> str:
        return f"{instance}.{self.kind}.{self.step}.{self.where}"


def places_of(where: str, kind: OperationKind) -> tuple[Place, ...]:
    return tuple(
        Place(kind, step, where)
        for step in CHAINS[kind]
        if where == "settled" or (kind, step) not in _ASKS_NOTHING_OF_THE_WORLD
    )


# One operation of each kind passes the first of each step's boundaries, the next ones the second, and so on: what
# follows a kill differs from what would have followed, so the later boundaries of that step are met on a new visit.
PLACES = tuple(place for where in WHERE for kind in KINDS for place in places_of(where, kind))
