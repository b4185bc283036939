"""What a step asks the world to do, and what the world says back. Values only; the edge performs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hibernation.domain.errors import DumontError
from hibernation.domain.offers import HostFacts, Need, Offer, OfferFilter
from hibernation.domain.states import Phase


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
class Look:
    """Where the machine stands by a list of the provider, which may be some seconds old."""

    contract_id: str


@dataclass(frozen=True, slots=True)
class StartMachine:
    """Have a machine start that stands still. Repeatable."""

    contract_id: str


@dataclass(frozen=True, slots=True)
class StopMachine:
    """Have a machine stop and keep its disk. Repeatable; only a list tells that it stands still."""

    contract_id: str


@dataclass(frozen=True, slots=True)
class Reach:
    """Find the machine's SSH address and greet it: ``Ok``, and the address that answered is kept.

    ``BoxSilent``: nothing answered anywhere. ``KeyRefused``: our key was not accepted; it was sent again.
    ``MachineFailed``: there is nothing to be reached, by the provider's word.
    """

    contract_id: str


@dataclass(frozen=True, slots=True)
class TryMachine:
    """Try the machine's GPUs, and its download on stored packs of this workspace. Some seconds; repeatable.

    Without ``measures`` the download is not tried.
    """

    measures: bool = True


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run the instance's post-wake hook to its end, for a bounded time. May run twice if a worker dies."""


@dataclass(frozen=True, slots=True)
class InstallAgent:
    """Put the agent on the box and start it. Repeatable.

    ``resumed``: writers that a fence paused there go on first, should the machine never have stood still.
    """

    resumed: bool = False


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
    | Look
    | StartMachine
    | StopMachine
    | Reach
    | TryMachine
    | RunHook
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
    """Contract ids by label, the set of all contract ids and where each machine stands, from one complete list."""

    by_label: Mapping[str, str]
    contracts: frozenset[str]
    phases: Mapping[str, Phase] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MachineSeen:
    """Where a machine stands, by its provider's word; ``phase`` is ``None`` while no list has it.

    ``our_fault``: it failed for its image or its order. ``needs_start``: it was rented and its start got lost.
    """

    phase: Phase | None
    reason: str = ""
    our_fault: bool = False
    needs_start: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """What a machine is by its own word. ``gpus`` are names, ``memory_gb`` theirs; empty and ``None``: not told.

    ``compute`` is empty where every GPU stored bytes and gave them back, or none could be asked; else what failed.
    ``download_mbps`` is ``None`` where nothing was measured.
    """

    gpus: tuple[str, ...]
    memory_gb: tuple[float | None, ...] = ()
    driver: str = ""
    cuda: str = ""
    compute: str = ""
    download_mbps: float | None = None


@dataclass(frozen=True, slots=True)
class HookRan:
    """How the hook ended: its exit code, and the end of what it printed."""

    code: int
    output: str = ""


@dataclass(frozen=True, slots=True)
class OffersSeen:
    """What is offered, and what it is judged by. ``hosts``: what is remembered of them, by host.

    ``held``: offers and hosts that other wakes are renting at this moment.
    """

    offers: tuple[Offer, ...]
    need: Need = Need()
    hosts: Mapping[str, HostFacts] = field(default_factory=dict)
    widely: bool = False
    held: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Launched:
    contract_id: str


Reply = (
    Ok
    | JobSeen
    | VerifySeen
    | FenceSeen
    | MachinesSeen
    | MachineSeen
    | OffersSeen
    | Launched
    | Trial
    | HookRan
    | DumontError
)
