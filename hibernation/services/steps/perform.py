"""One effect in, one reply out. Failures come back as values; so do bugs, so that no row can spin on one."""

from __future__ import annotations

import logging
from typing import assert_never

from hibernation.domain.effects import (
    AttachKey,
    Destroy,
    Effect,
    Fence,
    InstallAgent,
    Launch,
    ListMachines,
    Look,
    Quiesce,
    Reach,
    Release,
    Reply,
    RunFreeze,
    RunHook,
    RunThaw,
    SearchOffers,
    SetLabel,
    StartMachine,
    StopMachine,
    TryMachine,
    Verify,
)
from hibernation.domain.errors import DumontError, KeyRefused, Unexpected
from hibernation.logs.redaction import redacted
from hibernation.services.steps import arriving, boxes, rentals, trials, verification
from hibernation.services.steps.context import Context, load_context

log = logging.getLogger(__name__)


def perform(operation_id: int, effect: Effect) -> Reply:
    """Ask the world for ``effect`` on the operation's rows as they are now."""
    context = load_context(operation_id)
    try:
        return _perform(context, effect)
    except DumontError as error:
        log.info("operation %s: %s: %s: %s", operation_id, type(effect).__name__, error.code, error)
        if isinstance(error, KeyRefused):
            _attach_again(context)
        return error
    except Exception as error:
        # A time limit or a bug: the step waits, tries again and in the end gives up like after any failure.
        log.exception("operation %s: %s", operation_id, type(effect).__name__)
        return Unexpected(redacted(f"unexpected {type(error).__name__}: {error}"))


def _attach_again(context: Context) -> None:
    """Providers lose keys, also those of machines that were let in for weeks. The next try may find it there."""
    contract_id = context.machine.contract_id
    if contract_id is None:
        return
    try:
        rentals.attach_key(context, contract_id)
    except DumontError as error:
        log.info("machine %s does not take our key: %s", contract_id, error)


def _perform(context: Context, effect: Effect) -> Reply:
    match effect:
        case Quiesce():
            return boxes.quiesce(context)
        case RunFreeze():
            return boxes.run_freeze(context, effect)
        case Verify():
            return verification.verify(context)
        case Fence():
            return boxes.fence(context)
        case Release():
            return boxes.release(context)
        case InstallAgent(resumed):
            return boxes.install(context, resumed=resumed)
        case RunThaw():
            return boxes.run_thaw(context, effect)
        case Destroy(contract_id):
            return rentals.destroy(context, contract_id)
        case ListMachines():
            return rentals.list_machines(context)
        case SearchOffers():
            return rentals.search_offers(context, effect)
        case Launch():
            return rentals.launch(context, effect)
        case Reach(contract_id):
            return arriving.reach(context, contract_id)
        case Look(contract_id):
            return arriving.look(context, contract_id)
        case StartMachine(contract_id):
            return arriving.start_machine(context, contract_id)
        case StopMachine(contract_id):
            return arriving.stop_machine(context, contract_id)
        case TryMachine(measures):
            return trials.try_machine(context, measures=measures)
        case RunHook():
            return trials.run_hook(context)
        case AttachKey(contract_id):
            return rentals.attach_key(context, contract_id)
        case SetLabel(contract_id, label):
            return rentals.set_label(context, contract_id, label)
        case _:
            assert_never(effect)
