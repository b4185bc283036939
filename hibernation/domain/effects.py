"""What a step asks the world to do, and what the world says back. Values only; the edge performs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hibernation.domain.errors import DumontError
from hibernation.domain.offers import HostFacts, Need, Offer, OfferFilter


@dataclass(frozen=True, slots=True)
class Quiesce:
    """Check that the box answers and has its workspace and its agent, and stop a job that nobody waits for."""


@dataclass(frozen=True, slots=True)
class RunFreeze:
    """Start the freeze on the box unless it runs or has ended, and look how far it is. Repeatable.

    ``again``: one that ended badly goes on where it stopped. ``background``: everything else on the box goes first.
    ``yields``: it stops by itself as soon as a GPU works.
    """

    round: int
    again: bool = False
    background: bool = False
    yields: bool = False


@dataclass(frozen=True, slots=True)
class Verify:
    """Read stored packs back and check them, for a bounded time. Repeatable; continues where it stopped."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Pause whoever has workspace files open for writing, then ask whether anything was written since the
    freeze and whether a GPU works now. What stays paused is let go by ``Release`` or ends with the machine."""


@dataclass(frozen=True, slots=True)
class Release:
    """Stop a running freeze and let paused writers go on. Repeatable. ``JobSeen`` if the freeze was done already."""


@dataclass(frozen=True, slots=True)
class Destroy:
    contract_id: str


@dataclass(frozen=True, slots=True)
class ListMachines:
    """One complete list of the provider."""


@dataclass(frozen=True, slots=True)
class SearchOffers:
    """``widely``: also what fails the wish, so that advice can be given; more questions to the provider."""

    want: OfferFilter
    widely: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """Rent ``offer`` under ``label``. Costs money, not repeatable: its intent is committed before."""

    label: str
    offer: Offer


@dataclass(frozen=True, slots=True)
class Reach:
    """Find the machine's SSH address and greet it."""

    contract_id: str


@dataclass(frozen=True, slots=True)
class InstallAgent:
    """Put the agent on the box and start it. Repeatable."""


@dataclass(frozen=True, slots=True)
class RunThaw:
    """Start the restore on the box unless it runs or has ended, and look how far it is; ``again`` as above."""

    again: bool = False


@dataclass(frozen=True, slots=True)
class AttachKey:
    """Have the provider let our SSH key into the machine. Repeatable."""

    contract_id: str


@dataclass(frozen=True, slots=True)
class SetLabel:
    """Have the provider list the machine under ``label``. Repeatable."""

    contract_id: str
    label: str


Effect = (
    Quiesce
    | RunFreeze
    | Verify
    | Fence
    | Release
    | Destroy
    | ListMachines
    | SearchOffers
    | Launch
    | Reach
    | InstallAgent
    | RunThaw
    | AttachKey
    | SetLabel
)


@dataclass(frozen=True, slots=True)
class Ok:
    """It was done, and there is nothing to tell."""


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A freeze or thaw on the box. ``state`` is running, done, failed or died."""

    state: str
    progress: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    error_code: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class VerifySeen:
    """``packs_decoded`` counts those that were ever decoded whole, with what this manifest says of them.

    Sizes in bytes; ``rate_bps`` and ``eta_seconds`` speak of what is read back now.
    """

    packs_done: int
    packs_total: int
    packs_decoded: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    rate_bps: float = 0.0
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FenceSeen:
    """``busy`` is ``None`` when the box cannot tell; unknown counts as busy."""

    changed: int
    busy: bool | None
    sample: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MachinesSeen:
    """Contract ids by label and the set of all contract ids, from one complete list."""

    by_label: Mapping[str, str]
    contracts: frozenset[str]


@dataclass(frozen=True, slots=True)
class OffersSeen:
    """What is offered, and what it is judged by. ``hosts``: what is remembered of them, by host."""

    offers: tuple[Offer, ...]
    need: Need = Need()
    hosts: Mapping[str, HostFacts] = field(default_factory=dict)
    widely: bool = False


@dataclass(frozen=True, slots=True)
class Launched:
    contract_id: str


Reply = Ok | JobSeen | VerifySeen | FenceSeen | MachinesSeen | OffersSeen | Launched | DumontError
