"""test: whether the machine is what was rented, before a workspace is restored on it. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from hibernation.domain.effects import Reply, Trial, TryMachine
from hibernation.domain.errors import DumontError
from hibernation.domain.facts import Equipment, Facts
from hibernation.domain.offers import Offer, Verdict
from hibernation.domain.outcomes import (
    Changes,
    Emit,
    Go,
    MeasuredHost,
    Outcome,
    Perform,
    Plan,
    RecordEquipment,
)
from hibernation.domain.pacing import machine_of
from hibernation.domain.states import EventType
from hibernation.domain.wake import ending, resuming
from hibernation.domain.wake.arriving import machine_trouble

LEAST_MEMORY = 0.9
"""Of the advertised GPU memory; the driver keeps some of it for itself."""
LEAST_PART = 0.25
BELIEVED_MBPS = 400.0
"""More than this is not asked of a network because it was advertised: then the store may be what is slow."""
_MODEL = re.compile(r"[A-Z]*[0-9]{1,5}")


def plan_test(facts: Facts) -> Plan:
    memo = facts.operation.memo
    return Go(_next(facts)) if memo.tested else Perform(TryMachine(measures=not memo.resumed))


def conclude_test(facts: Facts, reply: Reply) -> Outcome:
    if isinstance(reply, DumontError):
        return machine_trouble(facts, reply, facts.limits.test)
    if not isinstance(reply, Trial):
        raise TypeError(reply)
    offer = facts.operation.memo.offer
    wrong = gpu_fault(offer, reply) if offer is not None else resuming.gpu_fault(machine_of(facts), reply)
    if wrong:
        return ending.reject(facts, wrong)
    slow = _too_slow(facts, offer, reply) if offer is not None else ""
    if slow and facts.operation.memo.slow < facts.limits.slow_machines:
        return _sent_away(facts, slow, reply)
    memo = replace(facts.operation.memo, tested=True)
    return Go(_next(facts), (*_recorded(facts, reply, slow), *_speed(offer, reply)), memo)


def gpu_fault(offer: Offer, tested: Trial) -> str:
    """What is wrong with the machine's GPUs for this order; empty where nothing is."""
    if len(tested.gpus) < offer.gpu_count:
        return f"it has {len(tested.gpus)} of {offer.gpu_count} GPUs"
    for name in tested.gpus:
        if not _is_model(offer.gpu_type, name):
            return f"its GPU is {name}, not {offer.gpu_type}"
    for memory in tested.memory_gb:
        if memory is not None and memory < LEAST_MEMORY * offer.gpu_memory_gb:
            return f"its GPU has {memory:.0f} of {offer.gpu_memory_gb:.0f} GB memory"
    return f"its GPU does not compute: {tested.compute}" if tested.compute else ""


def _is_model(ordered: str, name: str) -> bool:
    """Marketplaces spell names as they like; the model's number is in all of them. No name is no other name."""
    model = _MODEL.search(ordered.upper().replace("_", " "))
    return not name or model is None or model.group() in name.upper().replace(" ", "")


def _too_slow(facts: Facts, offer: Offer, tested: Trial) -> str:
    measured, wished = tested.download_mbps, facts.operation.want.min_download_mbps
    if measured is None:
        return ""
    least = max(wished, LEAST_PART * min(offer.download_mbps, BELIEVED_MBPS))
    advertised = f", {offer.download_mbps:.0f} advertised" if offer.download_mbps else ""
    return f"it downloads {measured:.0f} of {least:.0f} Mbit/s{advertised}" if measured < least else ""


def _sent_away(facts: Facts, reason: str, tested: Trial) -> Outcome:
    memo = replace(facts.operation.memo, slow=facts.operation.memo.slow + 1)
    facts = replace(facts, operation=replace(facts.operation, memo=memo))
    outcome = ending.reject(facts, reason, Verdict.TOO_SLOW)
    return replace(outcome, changes=(*_speed(memo.offer, tested), *outcome.changes))


def _speed(offer: Offer | None, tested: Trial) -> Changes:
    measured = tested.download_mbps
    return () if offer is None or measured is None else (MeasuredHost(offer, measured),)


def _recorded(facts: Facts, tested: Trial, slow: str) -> Changes:
    equipment = Equipment(tested.gpus, tested.driver, tested.cuda)
    differs = differences(facts.before, equipment)
    said = "; ".join(
        filter(None, (_headline(equipment), *differs.values(), slow and f"{slow}, as others did"))
    )
    data = {
        "gpus": list(tested.gpus),
        "driver": tested.driver,
        "cuda": tested.cuda,
        "download_mbps": None if tested.download_mbps is None else round(tested.download_mbps),
        "differs": list(differs),
    }
    return (RecordEquipment(equipment), Emit(EventType.MACHINE_TESTED, said, data))


def _headline(equipment: Equipment) -> str:
    names = ", ".join(filter(None, equipment.gpus)) or "its GPUs answer"
    driver = f" with driver {equipment.driver}" if equipment.driver else ""
    return f"{names}{driver}" + (f" for CUDA {equipment.cuda}" if equipment.cuda else "")


def differences(before: Equipment | None, now: Equipment) -> dict[str, str]:
    """How the machine differs from the workspace's last one, a sentence each; what either does not tell is left out."""
    if before is None:
        return {}
    told = {
        "gpus": (", ".join(before.gpus), ", ".join(now.gpus), "GPUs"),
        "driver": (before.driver, now.driver, "driver"),
        "cuda": (before.cuda, now.cuda, "CUDA"),
    }
    return {
        name: f"{word} {new} instead of {old}"
        for name, (old, new, word) in told.items()
        if old and new and old != new
    }


def _next(facts: Facts) -> str:
    return "thaw" if facts.snapshot is not None and not facts.operation.memo.resumed else "confirm"
