"""What is particular to Runpod, over its fake; what any provider promises is tested by the contract."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import cast

import pytest

from hibernation.domain.errors import (
    BadOrder,
    LaunchDeferred,
    NoCapacity,
    NotFound,
    NotSupported,
    OfferGone,
    ProviderDenied,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.offers import OfferFilter
from hibernation.providers import accounts, registry, runpod
from hibernation.providers.base import LaunchSpec, Phase
from hibernation.providers.limiter import Limiter
from hibernation.providers.registry import get_provider
from hibernation.providers.runpod import RunpodProvider
from hibernation.providers.runpod.client import RunpodClient
from hibernation.providers.runpod.orders import catalogue_query, order_of
from hibernation.providers.shelf import Shelf
from tests.fakes.runpod import RunpodFake
from tests.hibernation.providers.free_limiter import EmptyShelf, FreeLimiter

pytestmark = pytest.mark.network

KEY = "ssh-ed25519 AAAA us"
WANT = OfferFilter(gpu_type="RTX 4090", region="EU", min_cuda=12.4)


def spec(provider: RunpodProvider, label: str = "dumont-1", want: OfferFilter = WANT) -> LaunchSpec:
    return LaunchSpec(
        label, provider.search_offers(want)[0], "img:1", 50, KEY, {"A": "value-of-a-variable"}, (8080, 22)
    )


def running(fake: RunpodFake, provider: RunpodProvider) -> str:
    contract_id = provider.launch(spec(provider))
    fake.advance(60)
    return contract_id


def test_an_order_has_the_place_the_volume_the_key_and_the_ports(provider: RunpodProvider) -> None:
    order = order_of(spec(provider))
    assert order["gpu"] == {"id": "NVIDIA GeForce RTX 4090", "count": 1, "minCudaVersion": "12.4"}
    assert (order["cloud"], order["dataCenterIds"]) == ("SECURE", ["EU-RO-1"])
    assert order["mounts"] == {"persistent": {"size": 50, "path": "/workspace"}}
    assert order["ports"] == ["22/tcp", "8080/tcp"]
    assert order["env"] == {"A": "value-of-a-variable", "PUBLIC_KEY": KEY}
    assert "args" not in order


def test_a_start_script_goes_on_as_the_image_would_have(provider: RunpodProvider) -> None:
    order = order_of(replace(spec(provider), onstart="echo 'hi there'"))
    shell, option, script = shlex.split(order["args"])
    assert (shell, option) == ("bash", "-c")
    assert script.startswith("(\necho 'hi there'\n) &\nif [ -x /start.sh ]")


def test_an_order_without_a_label_is_none(provider: RunpodProvider) -> None:
    with pytest.raises(BadOrder):
        provider.launch(replace(spec(provider), label=""))


def test_an_offer_of_somebody_else_is_gone(fake: RunpodFake, provider: RunpodProvider) -> None:
    order = spec(provider)
    with pytest.raises(OfferGone):
        provider.launch(replace(order, offer=replace(order.offer, offer_id="101")))
    assert "POST /v2/pods" not in fake.asked


def test_the_catalogue_is_asked_for_what_is_wanted() -> None:
    query = catalogue_query(WANT, "SECURE")
    assert query["countryCodes"].split(",")[:3] == ["AT", "BE", "BG"]
    assert (query["count"], query["minCudaVersion"], query["cloud"]) == ("1", "12.4", "SECURE")
    assert not {"countryCodes", "minCudaVersion"} & catalogue_query(OfferFilter(), "COMMUNITY").keys()


def test_both_clouds_are_offered_and_nothing_of_amd(provider: RunpodProvider) -> None:
    offers = provider.search_offers(OfferFilter())
    assert {offer.offer_id.split(":")[1] for offer in offers} == {"SECURE", "COMMUNITY"}
    assert not [offer for offer in offers if "MI300X" in offer.gpu_type]


def test_a_catalogue_that_cannot_be_understood_is_an_error(client: RunpodClient) -> None:
    class OddShelf(EmptyShelf):
        def get(self, name: str) -> list[dict[str, str]]:
            return [{"gpu": "4090"}]

    with pytest.raises(ProviderError, match="can be understood"):
        RunpodProvider(client, cast(Shelf, OddShelf())).search_offers(OfferFilter())


def test_one_order_takes_the_last_gpu_of_a_place(fake: RunpodFake, provider: RunpodProvider) -> None:
    order = spec(provider, want=OfferFilter(gpu_type="RTX 4090", region="US"))
    provider.launch(order)
    with pytest.raises(NoCapacity):
        provider.launch(replace(order, label="dumont-2"))
    assert len(fake.billed()) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("no_disk", NoCapacity),
        ("pool_403", OfferGone),
        ("forbidden_403", ProviderDenied),
        ("spend_limit", LaunchDeferred),
        ("rule_400", ProviderRefused),
        ("create_422", BadOrder),
    ],
)
def test_a_refused_order_rents_nothing(
    fake: RunpodFake, provider: RunpodProvider, fault: str, error: type[Exception]
) -> None:
    fake.faults.arm(fault, where={"label": "dumont-1"})
    with pytest.raises(error):
        provider.launch(spec(provider))
    assert fake.billed() == []


@pytest.mark.parametrize("fault", ["create_nameless", "server_error_after", "bad_gateway_after"])
def test_an_order_is_sent_once_whatever_comes_back(
    fake: RunpodFake, provider: RunpodProvider, fault: str
) -> None:
    fake.faults.arm(fault, where=None if fault == "create_nameless" else {"call": "create"})
    with pytest.raises(ProviderError) as raised:
        provider.launch(spec(provider))
    assert not isinstance(raised.value, ProviderRefused)
    assert "value-of-a-variable" not in str(raised.value)
    assert fake.asked.count("POST /v2/pods") == 1
    assert [machine.label for machine in provider.list_machines()] == ["dumont-1"]


def test_no_permit_is_no_order(fake: RunpodFake, provider: RunpodProvider, limiter: FreeLimiter) -> None:
    order = spec(provider)
    limiter.refuses = RateLimited("wait", 7.0)
    with pytest.raises(LaunchDeferred) as raised:
        provider.launch(order)
    assert raised.value.retry_after == 7.0
    assert "POST /v2/pods" not in fake.asked


def test_a_refusal_for_haste_is_heeded_by_all(
    fake: RunpodFake, provider: RunpodProvider, limiter: FreeLimiter
) -> None:
    fake.faults.arm("rate_limited", seconds=30)
    with pytest.raises(RateLimited) as raised:
        provider.list_machines()
    assert raised.value.retry_after == 30
    assert limiter.penalties == [("a call", 30.0, None)]


@pytest.mark.parametrize("fault", ["dropped", "bad_gateway", "server_error"])
def test_a_list_that_fails_once_is_asked_again(
    fake: RunpodFake, provider: RunpodProvider, fault: str
) -> None:
    fake.faults.arm(fault)
    assert list(provider.list_machines()) == []
    assert fake.asked == ["GET /v2/pods"] * 2


@pytest.mark.parametrize("fault", ["idless_row", "blocked_403"])
def test_a_list_that_makes_no_sense_is_an_error(
    fake: RunpodFake, provider: RunpodProvider, fault: str
) -> None:
    fake.rent("somebody's")
    fake.faults.arm(fault)
    with pytest.raises(ProviderError) as raised:
        provider.list_machines()
    assert not isinstance(raised.value, ProviderDenied)


def test_pods_that_are_deleted_for_good_are_not_listed(fake: RunpodFake, provider: RunpodProvider) -> None:
    provider.destroy(provider.launch(spec(provider)))
    fake.faults.arm("still_listed")
    assert list(provider.list_machines()) == []


def test_a_failed_destroy_is_told(fake: RunpodFake, provider: RunpodProvider) -> None:
    contract_id = running(fake, provider)
    fake.faults.arm("server_error", where={"call": "terminate"})
    with pytest.raises(ProviderUnavailable):
        provider.destroy(contract_id)
    assert fake.billed() == [contract_id]


@pytest.mark.parametrize(
    ("fault", "phase"),
    [
        ("never_running", Phase.LOADING),
        ("boot_error", Phase.FAILED),
        ("status_strange", Phase.OFFLINE),
        ("no_public_ip", Phase.RUNNING),
    ],
)
def test_a_pod_that_does_not_come_up_says_so(
    fake: RunpodFake, provider: RunpodProvider, fault: str, phase: Phase
) -> None:
    fake.faults.arm(fault)
    running(fake, provider)
    [machine] = provider.list_machines()
    assert (machine.phase, machine.ssh) == (phase, ())


def test_a_container_that_ends_is_stopped_and_its_volume_bills(
    fake: RunpodFake, provider: RunpodProvider
) -> None:
    running(fake, provider)
    fake.faults.arm("exits")
    [machine] = provider.list_machines()
    assert machine.phase is Phase.STOPPED
    before = fake.spent()
    fake.advance(3600)
    assert fake.spent() - before == pytest.approx(50 * 0.20 / 720)


def test_a_pod_that_vanished_is_in_no_list(fake: RunpodFake, provider: RunpodProvider) -> None:
    running(fake, provider)
    fake.faults.arm("vanished")
    assert list(provider.list_machines()) == []


def test_a_pod_in_error_is_not_taken_for_a_stopped_one(fake: RunpodFake, provider: RunpodProvider) -> None:
    fake.faults.arm("boot_error")
    contract_id = running(fake, provider)
    with pytest.raises(ProviderRefused):
        provider.stop(contract_id)


def test_only_the_key_of_the_launch_opens_a_pod(fake: RunpodFake, provider: RunpodProvider) -> None:
    contract_id = running(fake, provider)
    provider.attach_key(contract_id, "ssh-ed25519 AAAA with another comment\n")
    with pytest.raises(NotSupported):
        provider.attach_key(contract_id, "ssh-ed25519 BBBB us")


def test_a_key_that_may_only_read_is_denied(fake: RunpodFake, provider: RunpodProvider) -> None:
    contract_id, order = running(fake, provider), spec(provider, "dumont-2")
    client = RunpodClient(f"{fake.url}/v2", fake.reader, cast(Limiter, FreeLimiter()))
    reader = RunpodProvider(client, cast(Shelf, EmptyShelf()))
    assert [machine.contract_id for machine in reader.list_machines()] == [contract_id]
    for call in (lambda: reader.launch(order), lambda: reader.destroy(contract_id)):
        with pytest.raises(ProviderDenied):
            call()
    client.close()


def test_ids_of_others_never_become_part_of_a_path(fake: RunpodFake, provider: RunpodProvider) -> None:
    with pytest.raises(NotFound):
        provider.stop("../pods")
    provider.destroy("a/b")
    assert fake.asked == []


def test_what_runpod_does_not_tell_is_empty(provider: RunpodProvider) -> None:
    assert (provider.credit(), list(provider.price_rises()), provider.logs("a")) == (None, [], "")


def test_it_is_made_from_the_settings_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(
        DUMONT_PROVIDERS=["runpod"],
        DUMONT_RUNPOD_API_KEY=" a-key \n",
        DUMONT_RUNPOD_URL="http://127.0.0.1:9/v2",
        DUMONT_BROKER_URL="redis://127.0.0.1:9/0",
    )
    for module in (registry, runpod):
        monkeypatch.setattr(module, "settings", settings)
    provider = get_provider("runpod")
    assert isinstance(provider, RunpodProvider)
    assert provider is get_provider("runpod")
    with pytest.raises(ProviderUnavailable, match="no call was made"):
        provider.list_machines()


@pytest.mark.parametrize("key", ["", "  ", "a\nb", "schlüssel"])
def test_a_key_that_cannot_be_one_is_denied_by_its_setting(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    settings = SimpleNamespace(DUMONT_RUNPOD_API_KEY=key, DUMONT_RUNPOD_URL="http://127.0.0.1:9")
    monkeypatch.setattr(runpod, "settings", settings)
    monkeypatch.setattr(accounts, "_stored_key", lambda provider: "")
    with pytest.raises(ProviderDenied, match="DUMONT_RUNPOD_API_KEY"):
        runpod.from_settings()


def test_a_row_of_the_fake_has_what_the_schema_demands(fake: RunpodFake) -> None:
    fake.rent("somebody's")
    with fake.market.now():
        [row] = [fake.market.row(pod) for pod in fake.market.pods.values()]
    demanded = (
        "id name status actions image args disk mounts ports env registry cloud dataCenterId cudaVersion ssh template "
        "cost locked runtime createdAt startedAt globalNetworking"
    )
    assert not set(demanded.split()) - row.keys()
    assert json.loads(json.dumps(row)) == row
    assert Decimal(str(row["cost"])) > 0
