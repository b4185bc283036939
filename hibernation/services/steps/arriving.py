"""Effects on a machine that comes up: where it stands, starting it once more, and the first contact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hibernation.box.ssh import scan_host_key
from hibernation.domain.effects import MachineSeen, Ok, Reply
from hibernation.domain.errors import (
    BoxError,
    BoxSilent,
    BoxUnreachable,
    HostKeyChanged,
    KeyRefused,
    MachineFailed,
)
from hibernation.domain.states import MachineState, Phase
from hibernation.models import Machine
from hibernation.providers.base import RentedMachine, SshAddress
from hibernation.services.listing import find_machine
from hibernation.services.steps.context import Context

GREETING_SECONDS = 10.0
_DOWN = (Phase.FAILED, Phase.STOPPED)
_COMING = (MachineState.LAUNCHED, MachineState.SPARE, MachineState.ADOPTING)


def look(context: Context, contract_id: str) -> Reply:
    machine = find_machine(context.provider, contract_id)
    if machine is None:
        return MachineSeen(None)
    return MachineSeen(machine.phase, machine.reason, machine.is_our_fault, machine.needs_start)


def start_machine(context: Context, contract_id: str) -> Reply:
    context.provider.start(contract_id)
    return Ok()


def stop_machine(context: Context, contract_id: str) -> Reply:
    context.provider.stop(contract_id)
    return Ok()


def reach(context: Context, contract_id: str) -> Reply:
    """Greet the machine at the first of its addresses that lets us in, and keep that one with its host key.

    The key is the provider's word, else trust on first use: only what answered with it is pinned, once for all.
    """
    machine = context.machine
    listed = find_machine(context.provider, contract_id)
    if listed is not None and listed.phase in _DOWN:
        raise MachineFailed(listed.reason or f"it is {listed.phase}", our_fault=listed.is_our_fault)
    troubles: list[BoxError] = []
    for address in _addresses(machine, listed):
        try:
            _greet(context, address, machine.host_key or (listed.host_key if listed else ""))
        except BoxError as error:
            troubles.append(error)
        else:
            _keep(machine, address, listed)
            return Ok()
    raise _worst(troubles)


def _addresses(machine: Machine, listed: RentedMachine | None) -> Iterator[SshAddress]:
    """The one that worked before, then what is listed, the best first."""
    if machine.ssh_port:
        known = SshAddress(machine.ssh_host, machine.ssh_port, machine.ssh_user, machine.ssh_via)
        yield known
    yield from listed.ssh if listed is not None else ()


def _greet(context: Context, address: SshAddress, host_key: str) -> None:
    """Nothing is sent before the key is the right one; the row in memory stands for the address being tried."""
    machine = context.machine
    machine.ssh_host, machine.ssh_port, machine.ssh_user = address.host, address.port, address.user
    pinned, machine.host_key = machine.host_key, host_key or scan_host_key(address.host, address.port)
    try:
        context.box().run("true", timeout=GREETING_SECONDS)
    except BoxError:
        machine.host_key = pinned
        raise


def _keep(machine: Machine, address: SshAddress, listed: RentedMachine | None) -> None:
    found = Machine.objects.filter(pk=machine.pk, state__in=_COMING)
    found.update(
        ssh_host=address.host,
        ssh_port=address.port,
        ssh_user=address.user,
        ssh_via=address.via,
        host_key=machine.host_key,
        **({"workspace": listed.workspace} if listed is not None else {}),
    )


def _worst(troubles: Sequence[BoxError]) -> BoxError:
    """What the addresses say together: a machine is silent or another one only where all of them say so."""
    if not troubles:
        return BoxUnreachable("The provider does not tell the machine's SSH address yet.")
    refused = next((error for error in troubles if isinstance(error, KeyRefused)), None)
    if refused is not None:
        return refused
    hopeful = [error for error in troubles if not isinstance(error, (BoxSilent, HostKeyChanged))]
    silent = [error for error in troubles if isinstance(error, BoxSilent)]
    return (*hopeful, *silent, *troubles)[0]
