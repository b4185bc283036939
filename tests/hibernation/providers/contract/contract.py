"""What every provider must do, as tests. A provider's own file inherits them and says which market they run in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hibernation.box.ssh import Box, scan_host_key
from hibernation.domain.errors import (
    DumontError,
    LaunchDeferred,
    NoCapacity,
    NotFound,
    OfferGone,
    OutOfCredit,
    ProviderDenied,
    ProviderError,
    ProviderRefused,
)
from hibernation.domain.offers import OfferFilter, fits
from hibernation.providers.base import Phase, Provider, SshAddress
from tests.hibernation.providers.contract.markets import Market
from tests.hibernation.providers.renting import eventually

LABEL = "dumont-0a1b2c3d-train-1-1"
WANTS = [
    OfferFilter(),
    OfferFilter(gpu_type="RTX 4090"),
    OfferFilter(gpu_type="A100", region="EU,US"),
    OfferFilter(gpu_count=2),
    OfferFilter(region="EU", min_disk_gb=50),
    OfferFilter(min_gpu_memory_gb=40),
]


class ProviderContract(ABC):
    @abstractmethod
    @pytest.fixture
    def market(self, tmp_path: Path) -> Iterator[Market]:
        """Machines may be rows only."""

    @abstractmethod
    @pytest.fixture
    def real_market(self, tmp_path: Path) -> Iterator[Market]:
        """Machines answer over SSH."""

    @pytest.mark.parametrize("want", WANTS)
    def test_offers_fit_and_come_cheapest_first(self, market: Market, want: OfferFilter) -> None:
        offers = market.provider.search_offers(want)
        assert offers
        assert all(fits(offer, want) and offer.provider == market.provider.name for offer in offers)
        prices = [offer.price_per_hour for offer in offers]
        assert prices == sorted(prices)
        assert prices[0] > 0
        assert len({offer.offer_id for offer in offers}) == len(offers)

    def test_nothing_that_fits_is_an_empty_list(self, market: Market) -> None:
        assert list(market.provider.search_offers(OfferFilter(gpu_type="Voodoo 2"))) == []

    def test_a_machine_is_what_was_ordered(self, market: Market, key_file: Path) -> None:
        order = market.order(LABEL, key_file)
        contract_id = market.provider.launch(order)
        machine = market.until(contract_id, Phase.RUNNING)
        assert (machine.provider, machine.label) == (market.provider.name, LABEL)
        assert (machine.gpu_type, machine.gpu_count) == (order.offer.gpu_type, order.offer.gpu_count)
        assert (machine.region, machine.country) == (order.offer.region, order.offer.country)
        assert machine.host in ("", order.offer.host)
        assert machine.price_per_hour > 0
        assert machine.ssh
        assert machine.started_at is not None
        assert market.billed() == [contract_id]

    def test_no_address_is_told_twice_or_without_a_port(self, market: Market, key_file: Path) -> None:
        machine = market.until(market.launch(LABEL, key_file), Phase.RUNNING)
        assert len(set(machine.ssh)) == len(machine.ssh)
        assert all(isinstance(one, SshAddress) and one.host and one.port for one in machine.ssh)
        assert machine.ssh[0].via == "direct"

    def test_labels_tell_machines_apart(self, market: Market, key_file: Path) -> None:
        labels = {market.launch(f"{LABEL}-{number}", key_file): f"{LABEL}-{number}" for number in range(2)}
        assert {one.contract_id: one.label for one in market.provider.list_machines()} == labels

    def test_a_destroyed_machine_leaves_the_list_and_the_bill(self, market: Market, key_file: Path) -> None:
        contract_id = market.launch(LABEL, key_file)
        market.provider.destroy(contract_id)
        assert list(market.provider.list_machines()) == []
        assert market.billed() == []

    def test_destroying_is_repeatable(self, market: Market, key_file: Path) -> None:
        contract_id = market.launch(LABEL, key_file)
        for _ in range(3):
            market.provider.destroy(contract_id)
        assert market.billed() == []

    @pytest.mark.parametrize("contract_id", ["", "..", "../1", "9" * 30, "no such", "٣"])
    def test_destroying_what_cannot_exist_is_success_and_touches_nothing(
        self, market: Market, key_file: Path, contract_id: str
    ) -> None:
        kept = market.launch(LABEL, key_file)
        market.provider.destroy(contract_id)
        assert market.billed() == [kept]

    def test_only_the_list_tells_that_a_machine_is_gone(self, market: Market, key_file: Path) -> None:
        contract_id = market.launch(LABEL, key_file)
        arm(market, "destroy_ignored")
        market.provider.destroy(contract_id)
        assert market.machine(contract_id).label == LABEL
        assert market.billed() == [contract_id]

    def test_a_gone_machine_is_not_found(self, market: Market, key_file: Path) -> None:
        contract_id = market.launch(LABEL, key_file)
        market.provider.destroy(contract_id)
        key = key_file.with_suffix(".pub").read_text()
        calls: list[Callable[[], None]] = [lambda: market.provider.attach_key(contract_id, key)]
        if market.provider.can_stop:
            calls += [lambda: market.provider.stop(contract_id), lambda: market.provider.start(contract_id)]
        for call in calls:
            with pytest.raises(NotFound):
                call()

    def test_a_machine_stops_and_starts(self, market: Market, key_file: Path) -> None:
        if not market.provider.can_stop:
            pytest.skip("it cannot stop machines")
        contract_id = market.launch(LABEL, key_file)
        market.until(contract_id, Phase.RUNNING)
        for _ in range(2):
            market.provider.stop(contract_id)
        assert market.until(contract_id, Phase.STOPPED).label == LABEL
        for _ in range(2):
            market.provider.start(contract_id)
        market.until(contract_id, Phase.RUNNING)
        assert market.billed() == [contract_id]

    def test_a_start_without_a_free_gpu_leaves_it_stopped(self, market: Market, key_file: Path) -> None:
        if "start_taken" not in market.faults:
            pytest.skip("nobody can take its GPU")
        arm(market, "start_taken")
        contract_id = market.launch(LABEL, key_file)
        market.until(contract_id, Phase.RUNNING)
        market.provider.stop(contract_id)
        market.until(contract_id, Phase.STOPPED)
        with pytest.raises(NoCapacity):
            market.provider.start(contract_id)
        for _ in range(30):
            market.pass_time()
        assert market.machine(contract_id).phase is Phase.STOPPED

    def test_an_offer_that_was_taken_costs_nothing(self, market: Market, key_file: Path) -> None:
        arm(market, "offer_taken")
        with pytest.raises((OfferGone, NoCapacity)):
            market.launch(LABEL, key_file)
        assert market.billed() == []
        assert list(market.provider.list_machines()) == []

    @pytest.mark.parametrize("fault", ["answer_lost", "server_error_after"])
    def test_a_launch_whose_answer_is_lost_is_found_by_its_label(
        self, market: Market, key_file: Path, fault: str
    ) -> None:
        arm(market, fault)
        with pytest.raises(ProviderError) as raised:
            market.launch(LABEL, key_file)
        assert not isinstance(raised.value, ProviderRefused)
        [machine] = market.provider.list_machines()
        assert machine.label == LABEL
        assert market.billed() == [machine.contract_id]

    def test_a_launch_that_was_never_heard_is_not_refused_either(
        self, market: Market, key_file: Path
    ) -> None:
        arm(market, "order_lost")
        with pytest.raises(ProviderError) as raised:
            market.launch(LABEL, key_file)
        assert not isinstance(raised.value, ProviderRefused)
        assert market.billed() == []

    def test_a_launch_that_comes_too_fast_may_come_again(self, market: Market, key_file: Path) -> None:
        arm(market, "too_fast")
        with pytest.raises(LaunchDeferred) as raised:
            market.launch(LABEL, key_file)
        assert raised.value.retry_after > 0
        assert market.billed() == []
        assert market.launch(LABEL, key_file) in market.billed()

    def test_a_launch_without_money_is_told_as_one(self, market: Market, key_file: Path) -> None:
        arm(market, "no_credit")
        with pytest.raises(OutOfCredit):
            market.launch(LABEL, key_file)
        assert market.billed() == []

    @pytest.mark.parametrize("fault", ["list_fails", "list_cut"])
    def test_a_list_is_complete_or_an_error(self, market: Market, key_file: Path, fault: str) -> None:
        for number in range(2):
            market.launch(f"{LABEL}-{number}", key_file)
        arm(market, fault)
        with pytest.raises(ProviderError):
            market.provider.list_machines()

    def test_a_wrong_key_is_denied_everywhere_and_nothing_is_gone(
        self, market: Market, key_file: Path
    ) -> None:
        if market.mistaken is None:
            pytest.skip("it has no keys")
        contract_id, order = market.launch(LABEL, key_file), market.order("other", key_file)
        for call in calls_of(market.mistaken, contract_id):
            with pytest.raises(ProviderDenied):
                call()
        with pytest.raises(ProviderDenied):
            market.mistaken.launch(order)
        assert market.billed() == [contract_id]

    def test_strangers_are_listed_and_left_alone(self, market: Market, key_file: Path) -> None:
        stranger = market.rent_past_us()
        contract_id = market.launch(LABEL, key_file)
        assert {one.contract_id for one in market.provider.list_machines()} == {stranger, contract_id}
        before = market.machine(stranger).label
        market.provider.destroy(contract_id)
        assert market.machine(stranger).label == before != LABEL
        assert market.billed() == [stranger]

    def test_every_call_raises_errors_of_ours_only(self, market: Market) -> None:
        for call in calls_of(market.provider, "no such machine"):
            with suppress(ProviderError, NotFound):
                call()

    def test_a_real_machine_lets_us_in_keeps_its_workspace_when_stopped_and_ends(
        self, real_market: Market, key_file: Path
    ) -> None:
        provider = real_market.provider
        contract_id = real_market.launch(LABEL, key_file)
        provider.attach_key(contract_id, key_file.with_suffix(".pub").read_text())
        real_market.until(contract_id, Phase.RUNNING)
        assert said(real_market, contract_id, key_file, "echo kept > /workspace/file; echo $A") == (
            "value-of-a-variable\n"
        )
        if provider.can_stop:
            provider.stop(contract_id)
            real_market.until(contract_id, Phase.STOPPED)
            provider.start(contract_id)
            real_market.until(contract_id, Phase.RUNNING)
            assert said(real_market, contract_id, key_file, "cat /workspace/file") == "kept\n"
        provider.destroy(contract_id)
        assert list(provider.list_machines()) == []
        assert real_market.billed() == []

    def test_what_can_be_parked_starts_again_with_its_whole_disk_and_its_host_key(
        self, real_market: Market, key_file: Path
    ) -> None:
        provider = real_market.provider
        if not provider.can_park:
            pytest.skip("what it stops does not start again as it was")
        contract_id = real_market.launch(LABEL, key_file)
        provider.attach_key(contract_id, key_file.with_suffix(".pub").read_text())
        real_market.until(contract_id, Phase.RUNNING)
        said(real_market, contract_id, key_file, "echo kept | tee ~/file")
        before = host_key_of(real_market, contract_id)
        provider.stop(contract_id)
        real_market.until(contract_id, Phase.STOPPED)
        provider.start(contract_id)
        real_market.until(contract_id, Phase.RUNNING)
        assert said(real_market, contract_id, key_file, "cat ~/file") == "kept\n"
        assert host_key_of(real_market, contract_id) == before


def host_key_of(market: Market, contract_id: str) -> str:
    [address, *_] = market.machine(contract_id).ssh
    return scan_host_key(address.host, address.port)


def arm(market: Market, fault: str) -> None:
    if fault not in market.faults:
        pytest.skip(f"{fault} cannot happen there")
    market.faults[fault]()


def calls_of(provider: Provider, contract_id: str) -> list[Callable[[], object]]:
    """All that need the provider's word, but for launches."""
    calls: list[Callable[[], object]] = [
        lambda: provider.search_offers(OfferFilter()),
        provider.list_machines,
        lambda: provider.destroy(contract_id),
        lambda: provider.attach_key(contract_id, "ssh-ed25519 AAAA us"),
    ]
    if provider.can_stop:
        calls += [lambda: provider.stop(contract_id), lambda: provider.start(contract_id)]
    return calls


def said(market: Market, contract_id: str, key_file: Path, command: str) -> str:
    """The command's output; a door may open a moment after the provider says that it runs."""

    def run() -> str | None:
        [address, *_] = market.machine(contract_id).ssh
        try:
            host_key = scan_host_key(address.host, address.port)
            box = Box(address.host, address.port, address.user, host_key, key_file)
            return box.run(command, timeout=10)
        except DumontError:
            return None

    return eventually(run)
