"""Effects on the provider: offers, launch, list, destroy, and the first contact with a machine."""

from __future__ import annotations

from django.conf import settings

from hibernation.box.ssh import scan_host_key
from hibernation.domain.effects import Launch, Launched, MachinesSeen, Ok, Reply, SearchOffers
from hibernation.domain.errors import BoxUnreachable
from hibernation.domain.states import MachineState
from hibernation.models import Machine
from hibernation.providers.base import LaunchSpec, RentedMachine
from hibernation.services.facts import wanted
from hibernation.services.offers import look
from hibernation.services.steps.context import Context

GREETING_SECONDS = 10.0


def search_offers(context: Context, effect: SearchOffers) -> Reply:
    return look(context.instance, context.operation.snapshot, effect.want, widely=effect.widely)


def launch(context: Context, effect: Launch) -> Reply:
    """Rent under the label of the intent that the claim has just committed. Never called twice for one intent."""
    spec = LaunchSpec(
        label=context.machine.label,
        offer=effect.offer,
        image=context.instance.image,
        disk_gb=wanted(context.instance, context.operation.params, context.operation.snapshot).min_disk_gb,
        ssh_public_key=our_public_key(),
        env={"DUMONT_INSTANCE_ID": context.instance.pk},
    )
    return Launched(context.provider.launch(spec))


def our_public_key() -> str:
    """The line that lets this control plane into a machine."""
    return settings.DUMONT_SSH_KEY_FILE.with_suffix(".pub").read_text().strip()


def attach_key(context: Context, contract_id: str) -> Reply:
    context.provider.attach_key(contract_id, our_public_key())
    return Ok()


def set_label(context: Context, contract_id: str, label: str) -> Reply:
    context.provider.set_label(contract_id, label)
    return Ok()


def list_machines(context: Context) -> Reply:
    machines = context.provider.list_machines()
    return MachinesSeen(
        by_label={machine.label: machine.contract_id for machine in machines},
        contracts=frozenset(machine.contract_id for machine in machines),
    )


def destroy(context: Context, contract_id: str) -> Reply:
    context.provider.destroy(contract_id)
    return Ok()


def reach(context: Context, contract_id: str) -> Reply:
    """Learn the SSH address, pin the host key and greet. The key is the provider's word, else trust on first use."""
    machine = context.machine
    if not machine.ssh_port:
        _learn_address(machine, _listed(context, contract_id))
        machine.refresh_from_db()
    context.box().run("true", timeout=GREETING_SECONDS)
    return Ok()


def _listed(context: Context, contract_id: str) -> RentedMachine:
    for machine in context.provider.list_machines():
        if machine.contract_id == contract_id:
            return machine
    raise BoxUnreachable("The provider does not list the machine yet.")


def _learn_address(machine: Machine, rented: RentedMachine) -> None:
    if not rented.ssh:
        raise BoxUnreachable(f"The machine is {rented.phase}; its SSH address is not known yet.")
    address = rented.ssh[0]
    host_key = rented.host_key or scan_host_key(address.host, address.port)
    Machine.objects.filter(pk=machine.pk, state__in=(MachineState.LAUNCHED, MachineState.ADOPTING)).update(
        ssh_host=address.host,
        ssh_port=address.port,
        ssh_user=address.user,
        host_key=host_key,
        workspace=rented.workspace,
    )
