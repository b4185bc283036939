"""What runs on a rented machine of the fake market: a folder whose door and agent follow the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hibernation.box.fence import FenceReport
from hibernation.box.jobs import JobProgress
from hibernation.domain.effects import Trial
from hibernation.domain.errors import BoxSilent, BoxUnreachable, KeyRefused
from hibernation.domain.heartbeats import Beat
from hibernation.services.heartbeats import Forbidden, Heartbeat, StaleHeartbeat, receive_heartbeat
from hibernation.services.tokens import read_agent_token
from tests.fakes.vast import VastFake
from tests.fakes.vast.contracts import Contract
from tests.fakes.vast.machines import door_of
from tests.hibernation.services.box import FakeBox, tree


@dataclass
class MarketBox(FakeBox):
    """``port``: the one that it is called at. ``load``: of its GPU as its agent sees it, and tells at ``beat_at``.

    ``frozen``: what the last freeze saw. ``paused``: its writers are held by a fence.
    """

    fake: VastFake | None = None
    contract_id: int = 0
    port: int = 0
    load: float = 50.0
    beat_at: float = 0.0
    boots: int = 0
    logins: int = 0
    logged_in: int = 0
    frozen: dict[str, str] = field(default_factory=dict)
    paused: bool = False

    @property
    def contract(self) -> Contract | None:
        assert self.fake is not None
        return self.fake.contracts.get(self.contract_id)

    @property
    def reports_now(self) -> bool:
        """Whether its agent runs and reaches the control plane. A stop ends it, and no boot starts it again."""
        contract = self.contract
        if contract is None or not (self.token and self.reports):
            return False
        alive = contract.up and contract.actual == "running" and contract.boots == self.boots
        return alive and not contract.is_offline

    def run(self, command: str, *, timeout: float, input: str | None = None) -> str:
        contract = self.contract
        if contract is None:
            raise BoxSilent("nothing answers")
        endpoints = contract.endpoints
        via = {endpoints.direct_port: "direct", endpoints.proxy_port: "proxy"}[self.port]
        door = door_of(contract, via)
        if door == "silent":
            raise BoxSilent("nothing answers")
        if door == "shut" or not contract.up:
            raise BoxUnreachable("connection refused")
        self._log_in(contract)
        return super().run(command, timeout=timeout, input=input)

    def _log_in(self, contract: Contract) -> None:
        if not contract.machine_keys:
            raise KeyRefused("permission denied")
        if contract.boots != self.logged_in:
            self.logged_in, self.logins = contract.boots, 0
        self.logins += 1
        if self.logins <= contract.traits.get("ssh_auth_fails", {}).get("logins", 0):
            raise KeyRefused("permission denied")

    def install(self, instance_id: str, token: str) -> None:
        super().install(instance_id, token)
        contract = self.contract
        self.boots, self.beat_at = contract.boots if contract else 0, 0.0

    def start_job(self, job: str, spec: Mapping[str, Any], again: bool) -> JobProgress:
        """Every machine of the market has its workspace at the same place, and all of them are folders here."""
        return super().start_job(job, {**spec, "workspace": str(self.workspace)}, again)

    def _work(self, job: str, spec: Mapping[str, Any]) -> JobProgress:
        if spec["kind"] == "freeze":
            self.frozen = tree(self.workspace)
        return super()._work(job, spec)

    def fence(self) -> FenceReport:
        """Writers are held from here on; what was written since the last freeze is found."""
        self.run("true", timeout=1)
        self.paused = True
        now = tree(self.workspace)
        changed = sorted(name for name in {*now, *self.frozen} if now.get(name) != self.frozen.get(name))
        return FenceReport(len(changed), tuple(changed), (self.load,))

    def resume(self) -> None:
        self.run("true", timeout=1)
        self.paused = False

    def selftest(self, downloads: Any) -> Trial:
        self.run("true", timeout=1)
        contract = self.contract
        assert contract is not None
        offer = contract.offer
        speed = contract.traits.get("slow_network", {}).get("mbit") or offer["inet_down"]
        count = offer["num_gpus"]
        return Trial(
            gpus=(f"NVIDIA {offer['gpu_name']}",) * count,
            memory_gb=(offer["gpu_ram"] / 1024,) * count,
            driver=offer["driver_version"],
            cuda=str(offer["cuda_max_good"]),
            download_mbps=speed,
        )

    def beat(self, now: datetime) -> None:
        """One heartbeat, whatever the control plane thinks of it."""
        token = read_agent_token(self.token)
        if token is None:
            return
        self.seq += 1
        beat = Heartbeat(
            instance_id=self.instance_id,
            beat=Beat(self.seq, (self.load,), False),
            taken_at=now,
            boot_id=f"boot-{self.boots}",
            agent_version="1",
            reading={},
        )
        try:
            receive_heartbeat(token, beat)
        except (Forbidden, StaleHeartbeat):
            return
