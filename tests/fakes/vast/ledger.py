"""The fake market's bill: what each contract has cost, by kind. Money is USD; it only grows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["gpu", "storage", "download", "upload"]


@dataclass
class Line:
    """What a contract has cost of one kind. ``amount``: hours for gpu and storage, GB for traffic."""

    usd: float = 0.0
    amount: float = 0.0


@dataclass
class Ledger:
    credit: float = 100.0
    _lines: dict[tuple[int, Kind], Line] = field(default_factory=lambda: defaultdict(Line))

    def charge(self, contract_id: int, kind: Kind, usd: float, amount: float) -> None:
        line = self._lines[contract_id, kind]
        line.usd += usd
        line.amount += amount
        self.credit -= usd

    def spent(self, contract_id: int | None = None, kind: Kind | None = None) -> float:
        """USD in all, or of one contract or one kind."""
        return sum(line.usd for (of, what), line in self._lines.items() if _is(contract_id, of, kind, what))

    def amount(self, contract_id: int, kind: Kind) -> float:
        """Hours or GB that were billed."""
        return self._lines[contract_id, kind].amount

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {"contract": contract_id, "kind": kind, "usd": line.usd, "amount": line.amount}
            for (contract_id, kind), line in sorted(self._lines.items())
        ]


def _is(contract_id: int | None, of: int, kind: Kind | None, what: Kind) -> bool:
    return contract_id in (None, of) and kind in (None, what)
