"""Effects on the provider: offers, launch, key, label, list, destroy."""

from __future__ import annotations

from dataclasses import replace

from django.conf import settings

from hibernation.domain.effects import Launch, Launched, MachinesSeen, Ok, Reply, SearchOffers
from hibernation.providers.base import LaunchSpec
from hibernation.services.facts import chosen_by_others, held_by_others, wanted
from hibernation.services.offers import look
from hibernation.services.orders import environment_of
from hibernation.services.steps.context import Context


def search_offers(context: Context, effect: SearchOffers) -> Reply:
    """What others choose and rent at this moment is read last: searches are shared, so wakes see the same offers."""
    instance = context.instance
    seen = look(instance, context.operation.snapshot, effect.want, widely=effect.widely)
    asked = (instance.provider, instance.pk)
    return replace(seen, held=held_by_others(*asked) | chosen_by_others(*asked))


def launch(context: Context, effect: Launch) -> Reply:
    """Rent under the label of the intent that the claim has just committed. Never called twice for one intent."""
    instance = context.instance
    spec = LaunchSpec(
        label=context.machine.label,
        offer=effect.offer,
        image=instance.image,
        disk_gb=wanted(instance, context.operation.params, context.operation.snapshot).min_disk_gb,
        ssh_public_key=our_public_key(),
        env={**environment_of(instance), "DUMONT_INSTANCE_ID": instance.pk},
        ports=tuple(instance.ports),
        onstart=instance.onstart,
        at_once=context.operation.spare_id is not None,
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
        phases={machine.contract_id: machine.phase for machine in machines},
    )


def destroy(context: Context, contract_id: str) -> Reply:
    context.provider.destroy(contract_id)
    return Ok()
