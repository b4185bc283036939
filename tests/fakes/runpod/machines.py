"""What stands behind a pod: a real machine of the local provider, or nothing but its row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from hibernation.providers.base import LaunchSpec, Offer, Phase
from hibernation.providers.local import LocalProvider
from hibernation.providers.local.files import write_json

# A machine of the local provider wants a key at its launch; nobody has the other half of this one.
_NOBODYS_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f nobody"
_OFFER = {
    "offer_id": "1",
    "host": "h",
    "gpu_type": "RTX 4090",
    "gpu_count": 1,
    "region": "",
    "price_per_hour": "1",
    "disk_gb": 10**6,
}


class Machines(Protocol):
    """Called under the market's lock. ``pod`` is a ``Pod``."""

    def start(self, pod: Any) -> None: ...

    def stop(self, pod: Any) -> None: ...

    def end(self, pod: Any) -> None: ...

    def address(self, pod: Any) -> tuple[str, int] | None:
        """Where its SSH server listens; None while it does not."""

    def close(self) -> None: ...


class NoMachines:
    """Rows only, at addresses that lead nowhere."""

    def start(self, pod: Any) -> None:
        pass

    def stop(self, pod: Any) -> None:
        pass

    def end(self, pod: Any) -> None:
        pass

    def address(self, pod: Any) -> tuple[str, int] | None:
        return "192.0.2.1", 40_022

    def close(self) -> None:
        pass


class LocalMachines:
    """Real processes of this host. They run no image, and so no ``args`` either."""

    def __init__(self, root: Path) -> None:
        self.provider = LocalProvider(root)
        self._ids: dict[str, str] = {}

    def start(self, pod: Any) -> None:
        if pod.id in self._ids:
            self.provider.start(self._ids[pod.id])
            return
        write_json(self.provider.root / "provider" / "offers.json", [_OFFER])
        offer = Offer(**{**_OFFER, "provider": "local", "price_per_hour": Decimal(1)})  # type: ignore[arg-type]
        first, *others = pod.keys or [_NOBODYS_KEY]
        env = pod.order.get("env", {})
        self._ids[pod.id] = self.provider.launch(
            LaunchSpec(pod.name, offer, pod.order["image"], 10, first, env)
        )
        for key in others:
            self.provider.attach_key(self._ids[pod.id], key)

    def stop(self, pod: Any) -> None:
        self.provider.stop(self._ids[pod.id])

    def end(self, pod: Any) -> None:
        self.provider.destroy(self._ids.pop(pod.id))

    def address(self, pod: Any) -> tuple[str, int] | None:
        for machine in self.provider.list_machines():
            if machine.contract_id == self._ids.get(pod.id) and machine.phase is Phase.RUNNING:
                return machine.ssh[0].host, machine.ssh[0].port
        return None

    def close(self) -> None:
        self.provider.destroy_all()
