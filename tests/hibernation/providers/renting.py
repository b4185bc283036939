"""Rents real machines of the local provider for tests, and looks at what is left of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from hibernation.box.ssh import Box
from hibernation.providers.base import LaunchSpec, OfferFilter, Phase, RentedMachine
from hibernation.providers.local import LocalProvider
from hibernation.providers.local.processes import ProcessId, members
from hibernation.providers.local.records import Records

T = TypeVar("T")


def make_key(folder: Path) -> Path:
    """An SSH key pair; returns the private half's file, beside which lies ``.pub``."""
    key, file = Ed25519PrivateKey.generate(), folder / "id_ed25519"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    file.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    )
    return file


def spec(provider: LocalProvider, key_file: Path, label: str = "dumont-1", **env: str) -> LaunchSpec:
    offer = provider.search_offers(OfferFilter())[0]
    public_key = key_file.with_suffix(".pub").read_text()
    return LaunchSpec(label, offer, "image", disk_gb=10, ssh_public_key=public_key, env=env)


def only_machine(provider: LocalProvider) -> RentedMachine:
    [machine] = provider.list_machines()
    return machine


def running(provider: LocalProvider, contract_id: str) -> RentedMachine:
    """The machine, once its SSH server listens."""

    def look() -> RentedMachine | None:
        machines = {machine.contract_id: machine for machine in provider.list_machines()}
        return machines[contract_id] if machines[contract_id].phase is Phase.RUNNING else None

    return eventually(look)


def box_of(machine: RentedMachine, key_file: Path) -> Box:
    [address] = machine.ssh
    return Box(address.host, address.port, address.user, machine.host_key, key_file)


def processes_of(provider: LocalProvider, contract_id: str) -> set[ProcessId]:
    record = Records(provider.root / "provider").get(contract_id)
    assert record is not None
    return members(record.keeper, record.marker)


def marker_of(provider: LocalProvider, contract_id: str) -> str:
    record = Records(provider.root / "provider").get(contract_id)
    assert record is not None
    return record.marker


def eventually(look: Callable[[], T | None], seconds: float = 15) -> T:
    """What ``look`` gives as soon as it gives something true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found
