"""Row locks in the one order that everybody keeps: instance, then machine."""

from __future__ import annotations

from hibernation.models import Instance, Machine


def locked_machine(machine_id: int) -> Machine:
    """The machine under its instance's lock, as every change of a machine's state is made."""
    owner = Machine.objects.filter(pk=machine_id).values_list("instance_id", flat=True).get()
    if owner is not None:
        Instance.objects.select_for_update(no_key=True, of=("self",)).get(pk=owner)
    return (
        Machine.objects.select_for_update(no_key=True, of=("self",))
        .select_related("instance")
        .get(pk=machine_id)
    )
