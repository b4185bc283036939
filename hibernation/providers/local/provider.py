"""Rents processes as if they were machines: a registry, a ledger and a folder for each under one root."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from hibernation.domain.errors import (
    NotFound,
    OfferGone,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
)
from hibernation.domain.offers import Offer, OfferFilter, fits
from hibernation.providers.base import LaunchSpec, Phase, PriceRise, RentedMachine, SshAddress
from hibernation.providers.local import faults
from hibernation.providers.local.catalogue import GPU_MEMORY_MIB, OTHER_GPU_MEMORY_MIB, list_offers
from hibernation.providers.local.files import locked, remove_tree
from hibernation.providers.local.ledger import write_line
from hibernation.providers.local.machine import KEYS_FILE, READY_FILE, Boot, read_boot, write_boot
from hibernation.providers.local.processes import MARKER, is_alive, kill_machine
from hibernation.providers.local.records import Record, Records

_START_SECONDS = 20
_CODE = Path(__file__).resolve().parents[3]


class LocalProvider:
    """A ``Provider`` whose machines are processes of this host, reached on 127.0.0.1.

    Any number of processes may use the same ``root``. With ``namespaces=False`` machines get plain folders even where
    more is allowed.
    """

    name = "local"
    can_stop = True
    can_park = True
    lists_cost = False

    def __init__(self, root: Path, *, namespaces: bool = True) -> None:
        self.root = root.resolve()
        self._namespaces = namespaces
        self._records = Records(self.root / "provider")

    def search_offers(self, want: OfferFilter) -> Sequence[Offer]:
        offers = [offer for offer in self._offers() if fits(offer, want)]
        return sorted(offers, key=lambda offer: (offer.price_per_hour, offer.offer_id))

    def launch(self, spec: LaunchSpec) -> str:
        self._refuse_unrentable(spec)
        host_key = Ed25519PrivateKey.generate()
        record = self._rent(spec, host_key)
        try:
            self._lay_out(self.machine_folder(record.contract_id), host_key, spec.ssh_public_key)
            self._start(record, self._boot(record, spec))
        except (OSError, subprocess.SubprocessError) as error:
            raise ProviderError(f"Machine {record.contract_id} did not start: {error}") from error
        if faults.take(self.root, "launch_answer_lost"):
            raise ProviderUnavailable("The connection closed before the answer came.")
        if faults.take(self.root, "launch_error"):
            raise ProviderError("Internal error.")
        return record.contract_id

    def list_machines(self) -> Sequence[RentedMachine]:
        for contract_id in faults.take_vanished(self.root):
            self._end(contract_id, "vanished")
        if faults.take(self.root, "list_fails"):
            raise ProviderUnavailable("The list of machines is not available.")
        return [self._machine(record) for record in self._records.all()]

    def destroy(self, contract_id: str) -> None:
        write_line(self.root, "destroy_called", contract_id)
        if faults.take(self.root, "destroy_refused"):
            raise ProviderUnavailable("The machine cannot be destroyed now.")
        if not faults.take(self.root, "destroy_ignored"):
            self._end(contract_id, "destroyed")

    def stop(self, contract_id: str) -> None:
        """Its processes end and its folder stays. Its memory and what ran is lost, as on any machine."""
        record = self._rented(contract_id)
        self._records.change(contract_id, stopped=True)
        try:
            kill_machine(record.keeper, record.marker)
        except OSError as error:
            raise ProviderUnavailable(f"Machine {contract_id} does not stop: {error}") from error

    def start(self, contract_id: str) -> None:
        record = self._rented(contract_id)
        if not record.stopped:
            return
        boot = replace(read_boot(self.machine_folder(contract_id)), **faults.of_starts(self.root))
        try:
            (self.machine_folder(contract_id) / READY_FILE).unlink(missing_ok=True)
            self._start(record, boot)
        except (OSError, subprocess.SubprocessError) as error:
            raise ProviderError(f"Machine {contract_id} did not start: {error}") from error

    def attach_key(self, contract_id: str, ssh_public_key: str) -> None:
        self._rented(contract_id)
        key = _checked(ssh_public_key)
        with locked(self.root / "provider" / "keys.lock"):
            file = self.keys_file(contract_id)
            lines = file.read_text().splitlines()
            if key not in lines:
                fresh = file.with_name(KEYS_FILE + ".new")
                fresh.write_text("\n".join([*lines, key, ""]))
                fresh.replace(file)

    def set_label(self, contract_id: str, label: str) -> None:
        self._rented(contract_id)
        self._records.change(contract_id, label=label)

    def logs(self, contract_id: str, lines: int = 200) -> str:
        self._rented(contract_id)
        file = self.machine_folder(contract_id) / "log"
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) if file.exists() else ""

    def credit(self) -> Decimal | None:
        return None

    def price_rises(self) -> Sequence[PriceRise]:
        return []

    def destroy_all(self) -> list[str]:
        """Ends every rental and stray, whatever faults are armed. Returns the contracts that existed."""
        contract_ids = [record.contract_id for record in self._records.all()]
        for contract_id in contract_ids:
            self._end(contract_id, "destroyed")
        self.reap_strays()
        return contract_ids

    def stop_all(self) -> list[str]:
        """Ends every rental but leaves the folders, to be looked at; ``reap_strays`` removes those. Repeatable."""
        contract_ids = [record.contract_id for record in self._records.all()]
        for contract_id in contract_ids:
            self._stop(contract_id, "destroyed")
        return contract_ids

    def reap_strays(self) -> list[str]:
        """Ends rentals whose processes died, and machines that no rental knows. Returns their contracts."""
        # Folders first: the folder of a machine being launched appears after its record.
        folders = {folder.name for folder in self.root.glob("machines/*") if _is_contract(folder.name)}
        records = self._records.all()
        dead = {record.contract_id for record in records if self._phase(record) is Phase.OFFLINE}
        strays = sorted(dead | folders - {record.contract_id for record in records})
        for contract_id in strays:
            self._end(contract_id, "destroyed")
        return strays

    def machine_folder(self, contract_id: str) -> Path:
        return self.root / "machines" / contract_id

    def gpu_file(self, contract_id: str) -> Path:
        """The text file that says how busy the machine's GPUs are; write a line to change it."""
        return self.machine_folder(contract_id) / "gpu.txt"

    def keys_file(self, contract_id: str) -> Path:
        """The keys that open the machine, as OpenSSH has them; read at each login."""
        return self.machine_folder(contract_id) / KEYS_FILE

    def _rented(self, contract_id: str) -> Record:
        record = self._records.get(contract_id)
        if record is None:
            raise NotFound(f"There is no machine {contract_id}.")
        return record

    def _offers(self) -> list[Offer]:
        return list_offers(self.root / "provider" / "offers.json")

    def _refuse_unrentable(self, spec: LaunchSpec) -> None:
        if faults.take(self.root, "offer_gone") or spec.offer.offer_id not in {
            o.offer_id for o in self._offers()
        }:
            raise OfferGone(f"Offer {spec.offer.offer_id} is no longer listed.")
        if spec.disk_gb > spec.offer.disk_gb:
            raise ProviderRefused(
                f"Offer {spec.offer.offer_id} has {spec.offer.disk_gb} GB, not {spec.disk_gb}."
            )
        _checked(spec.ssh_public_key)

    def _rent(self, spec: LaunchSpec, host_key: Ed25519PrivateKey) -> Record:
        """From here on it bills. The ledger line follows the record: what is in the ledger exists."""
        offer, price = spec.offer, str(spec.offer.price_per_hour)
        record = self._records.add(
            lambda contract_id: Record(
                contract_id=contract_id,
                label=spec.label,
                gpu_type=offer.gpu_type,
                gpu_count=offer.gpu_count,
                region=offer.region,
                price_per_hour=price,
                host_key=_public_line(host_key),
                marker=secrets.token_hex(16),
                started_at=datetime.now(UTC).isoformat(),
            )
        )
        write_line(self.root, "launched", record.contract_id, spec.label, price)
        return record

    def _lay_out(self, folder: Path, host_key: Ed25519PrivateKey, ssh_public_key: str) -> None:
        for name in ("workspace", "home", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        file = folder / "host_key"
        file.touch(mode=0o600)
        file.write_bytes(host_key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        (folder / KEYS_FILE).write_text(_checked(ssh_public_key) + "\n")

    def _boot(self, record: Record, spec: LaunchSpec) -> Boot:
        return Boot(
            marker=record.marker,
            env={**self._fake_gpu(record), **spec.env},
            namespaces=self._namespaces,
            onstart=spec.onstart,
            reachable=not faults.take(self.root, "never_reachable"),
            **faults.of_starts(self.root),
        )

    def _start(self, record: Record, boot: Boot) -> None:
        folder = self.machine_folder(record.contract_id)
        write_boot(folder, boot)
        with (folder / "log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "hibernation.providers.local.machine", str(folder)],
                cwd=_CODE,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    MARKER: record.marker,
                },  # none of our secrets
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                timeout=_START_SECONDS,
                check=True,
            )

    def _fake_gpu(self, record: Record) -> dict[str, str]:
        # Imported late: it may compile, and only a launch needs it.
        from hibernation.providers.local.fake_gpu import FakeGpu, prepare, write_gpus

        file = self.gpu_file(record.contract_id)
        memory = GPU_MEMORY_MIB.get(record.gpu_type, OTHER_GPU_MEMORY_MIB)
        write_gpus(file, [FakeGpu(record.gpu_type, memory, 0, 0)] * record.gpu_count)
        return prepare(self.root / "provider", file)

    def _machine(self, record: Record) -> RentedMachine:
        return RentedMachine(
            provider=self.name,
            contract_id=record.contract_id,
            label=record.label,
            phase=self._phase(record),
            gpu_type=record.gpu_type,
            gpu_count=record.gpu_count,
            region=record.region,
            price_per_hour=Decimal(record.price_per_hour),
            ssh=(SshAddress("127.0.0.1", record.ssh_port),) if record.ssh_port else (),
            host_key=record.host_key,
            workspace=record.workspace,
            started_at=datetime.fromisoformat(record.started_at),
        )

    def _phase(self, record: Record) -> Phase:
        if record.stopped:
            return Phase.STOPPED if record.keeper is None or not is_alive(record.keeper) else Phase.STOPPING
        if record.keeper is None:
            age = datetime.now(UTC) - datetime.fromisoformat(record.started_at)
            return Phase.LOADING if age < timedelta(seconds=_START_SECONDS) else Phase.OFFLINE
        if not is_alive(record.keeper):
            return Phase.OFFLINE
        is_ready = (self.machine_folder(record.contract_id) / READY_FILE).exists()
        return Phase.RUNNING if is_ready else Phase.LOADING

    def _end(self, contract_id: str, event: str) -> None:
        """Kills, forgets, removes; in this order, so that a call cut short can be repeated."""
        if not _is_contract(contract_id):
            return  # never ours, and it names a folder that is to be removed
        self._stop(contract_id, event)
        try:
            remove_tree(self.machine_folder(contract_id))
        except OSError as error:
            raise ProviderUnavailable(f"Machine {contract_id} does not end: {error}") from error

    def _stop(self, contract_id: str, event: str) -> None:
        record = self._records.get(contract_id)
        marker = record.marker if record else self._stray_marker(self.machine_folder(contract_id))
        try:
            if marker:
                kill_machine(record.keeper if record else None, marker)
            if self._records.remove(contract_id):
                write_line(self.root, event, contract_id)
        except OSError as error:
            raise ProviderUnavailable(f"Machine {contract_id} does not end: {error}") from error

    @staticmethod
    def _stray_marker(folder: Path) -> str:
        try:
            return read_boot(folder).marker
        except (OSError, ValueError, TypeError):
            return ""


def _is_contract(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _checked(ssh_public_key: str) -> str:
    """One OpenSSH line, or ``ProviderRefused``."""
    key = ssh_public_key.strip()
    if len(key.split()) < 2 or "\n" in key:
        raise ProviderRefused("The SSH public key is not one OpenSSH line.")
    return key


def _public_line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
