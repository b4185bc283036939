"""The modelled object store: stored copies made of packs that may be corrupt, missing or short."""

from __future__ import annotations

from dataclasses import dataclass, field

from hibernation.domain.errors import StoreError
from tests.simulator.faults import Faults


@dataclass(slots=True)
class StoredCopy:
    """One round of one snapshot. ``version`` stands for the workspace's bytes; ``read_back``: packs found right."""

    version: int
    packs: list[str]
    read_back: set[int] = field(default_factory=set)

    @property
    def proven(self) -> bool:
        return len(self.read_back) == len(self.packs)


class SimStore:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.copies: dict[tuple[str, int], StoredCopy] = {}

    def put(self, name: str, round_: int, version: int) -> None:
        """A freeze has uploaded its packs; each may have gone wrong without anybody noticing."""
        rng = self._faults.rng
        packs = [
            rng.choice(("corrupt", "missing", "short")) if self._faults.hit("pack_bad") else "right"
            for _ in range(rng.randint(1, 4))
        ]
        self.copies[name, round_] = StoredCopy(version, packs)

    def read_pack(self, name: str, round_: int, index: int) -> bool:
        """Whether the pack decodes to what was frozen. Raises ``StoreError`` when the store does not answer."""
        if self._faults.hit("store_error"):
            raise StoreError
        copy = self.copies[name, round_]
        if copy.packs[index] != "right":
            return False
        copy.read_back.add(index)
        return True

    def proves(self, version: int) -> bool:
        return any(copy.version == version and copy.proven for copy in self.copies.values())
