from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.vast import VastFake
from tests.fakes.vast.catalogue import country_of, make_catalogue
from tests.fakes.vast_caller import Caller


def test_the_catalogue_is_the_same_at_each_start_and_worldwide() -> None:
    first, second = make_catalogue(0.0), make_catalogue(0.0)
    assert first == second
    assert 180 <= len(first.offers) <= 230
    countries = {country_of(row) for row in first.offers.values()}
    assert {"SE", "DE", "US", "JP", "RU", None} <= countries
    assert {row["gpu_name"] for row in first.offers.values()} >= {
        "RTX 3090",
        "RTX 4090",
        "RTX 5090",
        "H100 SXM",
        "L40S",
    }
    assert any(row["cpu_cores"] is None for row in first.offers.values())
    assert any(row["disk_space"] < 20 for row in first.offers.values())
    assert any(row["inet_down"] < 50 for row in first.offers.values())


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ({"eq": "2"}, lambda n: n == 2),
        ({"neq": 2}, lambda n: n != 2),
        ({"gt": "1"}, lambda n: n > 1),
        ({"gte": 2.0}, lambda n: n >= 2),
        ({"lt": "4"}, lambda n: n < 4),
        ({"lte": 2}, lambda n: n <= 2),
        ({"in": ["1", 4]}, lambda n: n in (1, 4)),
        ({"notin": [1]}, lambda n: n != 1),
        ({"gte": "2", "lt": "8"}, lambda n: 2 <= n < 8),
    ],
)
def test_every_operator_takes_numbers_and_strings(
    caller: Caller, conditions: dict[str, Any], fits: Any
) -> None:
    offers = caller.search(num_gpus=conditions)
    assert offers
    assert all(fits(offer["num_gpus"]) for offer in offers)


@pytest.mark.parametrize(
    "query",
    [
        {"no_such_field": {"eq": 1}},
        {"num_gpus": {"like": 1}},
        {"num_gpus": {"eq": "many"}},
        {"num_gpus": {"in": 1}},
        {"num_gpus": 1},
        {"type": "free"},
        {"order": [["no_such_field", "asc"]]},
        {"order": "dph_total"},
    ],
)
def test_what_makes_no_sense_is_refused(caller: Caller, query: dict[str, Any]) -> None:
    status, body = caller.call("POST", "/api/v0/bundles/", query)
    assert (status, body["error"]) == (400, "invalid_request")


def test_no_answer_has_more_than_64_rows_and_pages_follow_by_price(caller: Caller) -> None:
    order = [["dph_total", "asc"]]
    first = caller.search(order=order, limit=1000)
    second = caller.search(order=order, limit=1000, dph_total={"gte": first[-1]["dph_total"]})
    assert len(first) == 64
    assert second[0]["id"] == first[-1]["id"]
    assert second[-1]["dph_total"] > first[-1]["dph_total"]


def test_an_id_matches_nothing_and_its_other_name_one(fake: VastFake, caller: Caller) -> None:
    offer_id = fake.offer()["id"]
    assert caller.search(id={"eq": offer_id}) == []
    assert [offer["id"] for offer in caller.search(ask_contract_id={"eq": offer_id})] == [offer_id]


def test_prices_follow_the_storage_that_is_asked_for(caller: Caller) -> None:
    offers = caller.search(allocated_storage=100.0)
    assert all(o["dph_total"] == pytest.approx(o["dph_base"] + 100 * o["storage_cost"] / 720) for o in offers)


@pytest.mark.parametrize(("kind", "is_bid"), [("on-demand", False), ("ondemand", False), ("bid", True)])
def test_kinds_of_offers(caller: Caller, kind: str, is_bid: bool) -> None:
    offers = caller.search(type=kind)
    assert {offer["is_bid"] for offer in offers} == {is_bid}
    assert all((offer["dph_base"] == offer["min_bid"]) is is_bid for offer in offers)


def test_a_place_is_filtered_by_its_country_and_an_unknown_one_never_matches(caller: Caller) -> None:
    assert {offer["geolocation"] for offer in caller.search(geolocation={"in": ["SE", "EU"]})} == {
        "Sweden, SE"
    }
    assert caller.search(geolocation={"eq": "EU"}) == []
    assert caller.search(geolocation={"eq": "US"}, machine_id={"eq": 7013}) == []
    assert caller.search(geolocation={"notin": ["US"]}, machine_id={"eq": 7013})[0]["geolocation"] is None


def test_verified_is_a_filter_and_no_field(caller: Caller) -> None:
    offers = caller.search(verified={"eq": True})
    assert {offer["verification"] for offer in offers} == {"verified"}
    assert "verified" not in offers[0]


def test_what_is_unknown_sorts_last_either_way(caller: Caller) -> None:
    machines = {"machine_id": {"in": [7027, 7028, 7029]}}
    for direction in ("asc", "desc"):
        assert caller.search(order=[["cpu_cores", direction]], **machines)[-1]["cpu_cores"] is None


def test_rows_name_what_the_official_client_needs(caller: Caller) -> None:
    offer = caller.search(limit=1)[0]
    assert caller.headers["Content-Type"] == "application/json"
    assert {
        "ask_contract_id",
        "search",
        "instance",
        "driver_vers",
        "duration",
        "inet_down_cost",
    } <= offer.keys()


def test_a_fault_may_leave_the_filters_out(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("search_unfiltered")
    assert len({offer["num_gpus"] for offer in caller.search(num_gpus={"eq": 1})}) > 1
    assert {offer["num_gpus"] for offer in caller.search(num_gpus={"eq": 1})} == {1}
