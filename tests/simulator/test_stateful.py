"""Hypothesis drives the simulation's actions itself and shrinks what breaks an invariant to a short story."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.simulator.simulation import Simulation


class ControlPlane(RuleBasedStateMachine):
    """Hypothesis chooses what happens next; the seed only chooses details. Invariants are checked after each rule."""

    simulation: Simulation

    @initialize(seed=st.integers(0, 1000), lead=st.integers(0, 400))
    def begin(self, seed: int, lead: int) -> None:
        self.simulation = Simulation(seed)
        for _ in range(lead // 10):
            self._do("pass_time", "beats", "hear", "tick", *["work"] * 8)

    def _do(self, *names: str) -> None:
        for name in names:
            self.simulation.step(name)

    @rule(times=st.integers(1, 12))
    def worker_goes_on(self, times: int) -> None:
        self._do("tick", *["work"] * times)

    @rule(times=st.integers(1, 6))
    def time_passes(self, times: int) -> None:
        self._do(*["pass_time"] * times)

    @rule()
    def heartbeats_arrive(self) -> None:
        self._do("beats", "hear", "hear", "hear")

    @rule(name=st.sampled_from(["write", "turn_gpu", "command", "harm", "config", "foreign"]))
    def the_world_moves(self, name: str) -> None:
        self._do(name)

    @rule(times=st.integers(1, 6))
    def reconciler_goes_on(self, times: int) -> None:
        self._do(*["reconcile"] * times)

    @rule(name=st.sampled_from(["sweep", "flush", "suspend"]))
    def the_server_stumbles(self, name: str) -> None:
        self._do(name)

    def teardown(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.settle_down()


TestControlPlane = ControlPlane.TestCase
TestControlPlane.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
