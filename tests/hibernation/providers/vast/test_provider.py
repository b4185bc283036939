"""What the provider promises, over the scripted server."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hibernation.domain.errors import (
    BadOrder,
    NoCapacity,
    NotFound,
    ProviderDenied,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.offers import OfferFilter
from hibernation.providers import accounts, registry, vast
from hibernation.providers.base import LaunchSpec, Provider
from hibernation.providers.registry import get_provider
from hibernation.providers.shelf import Shelf
from hibernation.providers.vast.client import VastClient
from hibernation.providers.vast.orders import order_of, search_query
from hibernation.providers.vast.parsing import offer_of
from hibernation.providers.vast.provider import MOST_PAGES, VastProvider
from tests.hibernation.providers.free_limiter import FreeLimiter
from tests.hibernation.providers.vast.rows import OFFER, instance_row, offer_row
from tests.hibernation.providers.vast.stub import Stub

pytestmark = pytest.mark.network

OK = {"success": True}
QUEUED = {"success": False, "msg": "Required resources are currently unavailable, state change queued."}
WANT = OfferFilter(gpu_type="RTX_4090", region="EU", max_price=Decimal("0.5"), min_disk_gb=50)
OFFERED = offer_of(OFFER, 20)
assert OFFERED is not None
SPEC = LaunchSpec(
    label="dumont-ab-train-1-1",
    offer=OFFERED,
    image="img:1",
    disk_gb=20,
    ssh_public_key="ssh-ed25519 AAAA it's me\n",
    env={"A": "value-of-a-variable"},
    ports=(8080,),
    onstart="echo hi",
)


class MemoryShelf:
    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        return self.kept.get(name)

    def put(self, name: str, value: Any, seconds: float) -> None:
        self.kept[name] = value


@pytest.fixture
def provider(client: VastClient) -> Provider:
    return VastProvider(client, cast(Shelf, MemoryShelf()))


def offers(*rows: dict[str, Any]) -> dict[str, Any]:
    return OK | {"offers": list(rows)}


def test_a_search_asks_for_what_is_wanted(stub: Stub, provider: Provider) -> None:
    stub.says(offers(OFFER))
    assert [offer.offer_id for offer in provider.search_offers(WANT)] == ["101"]
    query = stub.asked[0].body
    assert query["gpu_name"] == {"in": ["RTX 4090"]}
    assert "SE" in query["geolocation"]["in"]
    assert "US" not in query["geolocation"]["in"]
    assert (query["dph_total"], query["disk_space"], query["num_gpus"]) == (
        {"lte": 0.5},
        {"gte": 50.0},
        {"gte": 1},
    )
    assert (query["order"], query["type"], query["allocated_storage"]) == (
        [["dph_total", "asc"]],
        "on-demand",
        50.0,
    )
    assert {query[name]["eq"] for name in ("rentable", "verified")} == {True}
    assert {query[name]["eq"] for name in ("rented", "external")} == {False}


def test_a_query_is_in_the_providers_units() -> None:
    want = OfferFilter(
        min_gpu_memory_gb=24, min_compute_capability=8.9, min_cuda=12.4, min_reliability=0.98, min_download_mbps=200,
        min_hours_left=24,
    )  # fmt: skip
    query = search_query(want)
    assert {name: query[name]["gte"] for name in query if isinstance(query[name], dict) and "gte" in query[name]} == {
        "num_gpus": 1, "gpu_ram": 22_800, "compute_cap": 890, "cuda_max_good": 12.4, "reliability": 0.98,
        "inet_down": 200, "duration": 86_400,
    }  # fmt: skip
    assert "geolocation" not in query
    assert "geolocation" not in search_query(OfferFilter(region="OTHER"))


@pytest.mark.parametrize(
    "changes",
    [
        {"rentable": False}, {"rented": True}, {"is_bid": True}, {"external": True}, {"verification": "unverified"},
        {"gpu_name": "RTX 3090"}, {"geolocation": "Texas, US"}, {"geolocation": None}, {"disk_space": 10},
        {"dph_total": 0.9}, {"num_gpus": 0},
    ],
)  # fmt: skip
def test_what_the_server_should_have_left_out_is_left_out_here(
    stub: Stub, provider: Provider, changes: dict[str, Any]
) -> None:
    stub.says(offers(offer_row(**changes), offer_row(id=7, ask_contract_id=7)))
    assert [offer.offer_id for offer in provider.search_offers(WANT)] == ["7"]


def many(first: int, count: int, price: float) -> list[dict[str, Any]]:
    return [offer_row(id=first + n, dph_total=price + n / 10_000, dph_base=0.1) for n in range(count)]


def test_more_than_a_page_is_asked_for_by_price(stub: Stub, provider: Provider, limiter: FreeLimiter) -> None:
    stub.says(offers(*many(1000, 64, 0.3))).says(offers(*many(1063, 3, 0.3063)))
    found = provider.search_offers(WANT)
    assert len(found) == 66
    assert stub.asked[1].body["dph_total"] == {"lte": 0.5, "gte": 0.3063}
    assert list(found) == sorted(found, key=lambda offer: offer.price_per_hour)
    assert [urgent for _, _, urgent in limiter.acquired] == [False, True]


def test_pages_end_where_they_bring_nothing_new_and_at_the_most(stub: Stub, provider: Provider) -> None:
    same = [offer_row(id=1000 + n) for n in range(64)]
    stub.says(offers(*same)).says(offers(*same))
    assert len(provider.search_offers(WANT)) == 64
    for n in range(MOST_PAGES):
        stub.says(offers(*many(5000 + 64 * n, 64, 0.31 + n / 100)))
    assert len(provider.search_offers(replace(WANT, min_disk_gb=60))) == 64 * MOST_PAGES
    assert len(stub.asked) == 2 + MOST_PAGES


def test_a_later_page_that_has_to_wait_is_done_without(stub: Stub, provider: Provider) -> None:
    stub.says(offers(*many(1000, 64, 0.3))).says(b"too many requests", 429)
    assert len(provider.search_offers(WANT)) == 64


def test_a_search_that_has_to_wait_is_an_error(stub: Stub, provider: Provider) -> None:
    stub.says({"error": "search_quota_exceeded"}, 429)
    with pytest.raises(RateLimited):
        provider.search_offers(WANT)


def test_the_same_question_is_asked_once(stub: Stub, provider: Provider) -> None:
    stub.says(offers(OFFER)).says(offers())
    assert provider.search_offers(WANT) == provider.search_offers(WANT)
    assert provider.search_offers(replace(WANT, min_disk_gb=60)) == []
    assert len(stub.asked) == 2


def test_offers_that_nobody_understands_are_not_none(stub: Stub, provider: Provider) -> None:
    stub.says(offers({"no": "id"}))
    with pytest.raises(ProviderError):
        provider.search_offers(WANT)


def test_a_launch_orders_everything_at_once(stub: Stub, provider: Provider) -> None:
    stub.says(OK | {"new_contract": 555, "instance_api_key": "k"})
    assert provider.launch(SPEC) == "555"
    order = stub.asked[0].body
    assert stub.calls == ["PUT /api/v0/asks/101/"]
    assert (order["cancel_unavail"], order["runtype"], order["price"]) == (True, "ssh_direc ssh_proxy", None)
    assert order["env"] == {"-p 8080:8080": "1", "A": "value-of-a-variable"}
    assert (order["label"], order["image"], order["disk"]) == (SPEC.label, "img:1", 20.0)
    assert order["onstart"].startswith("touch ~/.no_auto_tmux\n")
    assert order["onstart"].endswith("\necho hi")


@pytest.mark.parametrize(("at_once", "place"), [(False, SPEC.label), (True, "")])
def test_a_launch_that_does_not_wait_has_no_place_in_line(
    stub: Stub, provider: Provider, limiter: FreeLimiter, at_once: bool, place: str
) -> None:
    stub.says(OK | {"new_contract": 555, "instance_api_key": "k"})
    provider.launch(replace(SPEC, at_once=at_once))
    assert limiter.acquired == [("create", place, False)]


def test_the_key_in_the_onstart_script_is_one_word_of_the_shell() -> None:
    key = "'ssh-ed25519 AAAA it'\"'\"'s me'"
    assert f"grep -qxF {key} " in order_of(SPEC)["onstart"]


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "x" * 61}, {"image": "x" * 1025}, {"onstart": "x" * 4048}, {"env": {"SECRET": "value" * 60}},
        {"env": {f"A{n}": "x" * 250 for n in range(140)}}, {"ports": tuple(range(1, 66))},
    ],
)  # fmt: skip
def test_an_order_that_would_be_refused_is_not_sent(
    stub: Stub, provider: Provider, changes: dict[str, Any]
) -> None:
    with pytest.raises(BadOrder) as failure:
        provider.launch(replace(SPEC, **changes))
    assert "valuevalue" not in str(failure.value)
    assert stub.asked == []


def test_a_small_disk_is_the_smallest_that_there_is() -> None:
    assert order_of(replace(SPEC, disk_gb=1))["disk"] == 8.0


def test_the_environment_is_not_in_the_words_of_an_order() -> None:
    assert "value-of-a-variable" not in repr(SPEC)


def test_machines_are_listed_ours_or_not(stub: Stub, provider: Provider) -> None:
    rows = [instance_row(), instance_row(id=556, label=None)]
    stub.says(OK | {"total_instances": 2, "next_token": None, "instances": rows})
    assert [(one.contract_id, one.label) for one in provider.list_machines()] == [
        ("555", "dumont-ab-1"),
        ("556", ""),
    ]


def test_destroying_what_is_gone_is_success_and_a_bad_key_is_not(stub: Stub, provider: Provider) -> None:
    stub.says({"success": False, "error": "no_such_instance"}, 404)
    provider.destroy("555")
    stub.says({"success": False, "error": "auth_error", "msg": "Invalid user key"}, 404)
    with pytest.raises(ProviderDenied):
        provider.destroy("555")


def test_a_machine_stops_and_starts(stub: Stub, provider: Provider) -> None:
    stub.says(OK).says(OK)
    provider.stop("555")
    provider.start("555")
    assert [one.body for one in stub.asked] == [{"state": "stopped"}, {"state": "running"}]


def test_a_queued_start_is_taken_back(stub: Stub, provider: Provider) -> None:
    stub.says(QUEUED).says(OK)
    with pytest.raises(NoCapacity):
        provider.start("555")
    assert [one.body for one in stub.asked] == [{"state": "running"}, {"state": "stopped"}]


def test_a_queued_start_that_cannot_be_taken_back_is_unclear(stub: Stub, provider: Provider) -> None:
    stub.says(QUEUED).says(b"", 502)
    with pytest.raises(ProviderUnavailable):
        provider.start("555")


def test_what_is_gone_is_said_to_be_gone(stub: Stub, provider: Provider) -> None:
    for act in (provider.stop, provider.start, lambda one: provider.attach_key(one, "k")):
        stub.says({"success": False, "error": "no_such_instance"}, 404)
        with pytest.raises(NotFound):
            act("555")


def test_logs_credit_and_price_rises(stub: Stub, provider: Provider) -> None:
    stub.says(OK | {"result_url": f"{stub.url}/log"}).says(b"hello")
    assert provider.logs("555") == "hello"
    stub.says({"credit": 12.25})
    assert provider.credit() == Decimal("12.25")
    stub.says(OK | {"pending_price_increases": [{"contract_id": 5, "new_gpu_costpersec": 0.0001}, {}]})
    assert [rise.contract_id for rise in provider.price_rises()] == ["5"]


def test_credit_that_is_not_told_is_not_nothing(stub: Stub, provider: Provider) -> None:
    stub.says({"id": 1})
    with pytest.raises(ProviderUnavailable):
        provider.credit()


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    settings = SimpleNamespace(
        DUMONT_PROVIDERS=["vast"], DUMONT_VAST_API_KEY="abc\n", DUMONT_VAST_URL="http://127.0.0.1:9",
        DUMONT_VAST_TIME_SCALE=1.0, DUMONT_BROKER_URL="redis://127.0.0.1:9/0",
    )  # fmt: skip
    monkeypatch.setattr(registry, "settings", settings)
    monkeypatch.setattr(vast, "settings", settings)
    monkeypatch.setattr(accounts, "_stored_key", lambda provider: "")
    return settings


def test_the_registry_makes_one_from_the_settings(configured: SimpleNamespace) -> None:
    provider = get_provider("vast")
    assert (provider.name, provider.can_stop, provider.can_park) == ("vast", True, True)
    assert get_provider("vast") is provider
    with pytest.raises(ProviderUnavailable, match="no call was made"):
        provider.list_machines()
    with pytest.raises(ProviderUnavailable):
        provider.search_offers(WANT)


@pytest.mark.parametrize("key", ["", " ", "a\nb", "ключ"])
def test_a_key_that_can_be_none_is_refused_without_telling_it(configured: SimpleNamespace, key: str) -> None:
    configured.DUMONT_VAST_API_KEY = key
    with pytest.raises(ProviderDenied, match="DUMONT_VAST_API_KEY"):
        get_provider("vast")
