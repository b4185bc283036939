"""The rows an effect works on, read once without a lock, and the way to the box behind them."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from hibernation.box.ssh import Box
from hibernation.domain.errors import BoxUnreachable, DumontError
from hibernation.models import Instance, Machine, Operation, Snapshot
from hibernation.providers.base import Provider
from hibernation.providers.registry import get_provider


@dataclass(frozen=True, slots=True)
class Context:
    operation: Operation
    instance: Instance

    @property
    def machine(self) -> Machine:
        if self.operation.machine is None:
            raise DumontError("The operation has no machine.")
        return self.operation.machine

    @property
    def snapshot(self) -> Snapshot:
        if self.operation.snapshot is None:
            raise DumontError("The operation has no snapshot.")
        return self.operation.snapshot

    @property
    def provider(self) -> Provider:
        return get_provider(self.instance.provider)

    def box(self) -> Box:
        return box_of(self.machine)


def box_of(machine: Machine) -> Box:
    """The machine's SSH door; ``BoxUnreachable`` while its address is unknown."""
    if not machine.ssh_host or not machine.ssh_port:
        raise BoxUnreachable("The provider has not told the machine's SSH address yet.")
    return Box(
        host=machine.ssh_host,
        port=machine.ssh_port,
        user=machine.ssh_user,
        host_key=machine.host_key,
        key_file=settings.DUMONT_SSH_KEY_FILE,
    )


def load_context(operation_id: int) -> Context:
    operation = Operation.objects.select_related("instance", "machine", "snapshot").get(pk=operation_id)
    return Context(operation, operation.instance)
