"""Contracts of the fake vast.ai: how they come up, stop, end and what they cost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.vast import VastFake
from tests.fakes.vast_caller import Caller

HOUR = 3600.0
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f t"


def test_a_contract_comes_up_in_steps(fake: VastFake, caller: Caller) -> None:
    contract_id, seen = caller.rented(), []
    for _ in range(12):
        row = caller.row(contract_id)
        seen.append((row["actual_status"], "ports" in row))
        fake.advance(1.0)
    assert list(dict.fromkeys(seen)) == [
        (None, False),
        ("created", False),
        ("loading", False),
        ("running", True),
    ]
    assert caller.row(contract_id)["status_msg"] == "success, running img:1/ssh\n"


def test_a_row_has_the_shapes_that_clients_rely_on(caller: Caller) -> None:
    row = caller.row(caller.running(env={"-p 8080:8080": "1", "A": "b"}, onstart="echo hi"))
    assert row["extra_env"] == [["-p 8080:8080", "1"], ["A", "b"]]
    assert row["ports"].keys() == {"22/tcp", "8080/tcp"}
    assert all(int(port[0]["HostPort"]) >= 40_000 for port in row["ports"].values())
    assert isinstance(row["start_date"], float)
    assert (row["onstart"], row["image_uuid"], row["label"]) == ("echo hi", "img:1", "dumont:x")
    assert row["dph_total"] == pytest.approx(row["dph_base"] + 20 * row["storage_cost"] / 720)
    assert "volume_info" not in row


def test_a_host_without_direct_ports_is_reached_by_proxy_only(fake: VastFake, caller: Caller) -> None:
    row = caller.row(caller.running(offer_id=fake.offer(direct_port_count=0)["id"]))
    assert (row["actual_status"], row["ports"]) == ("running", {})
    assert row["ssh_host"]


def test_an_offer_is_rented_once_and_free_again_after_its_contract(fake: VastFake, caller: Caller) -> None:
    offer_id = fake.offer(num_gpus=1, gpu_frac=1.0)["id"]
    contract_id = caller.rented(offer_id)
    assert caller.search(ask_contract_id={"eq": offer_id})[0]["rentable"] is False
    status, body = caller.create(offer_id)
    assert (status, body["error"], "no_such_ask" in body["msg"]) == (404, "invalid_args", True)
    assert caller.destroy(contract_id) == (200, {"success": True})
    assert caller.rented(offer_id) == contract_id + 1


def test_a_smaller_offer_of_the_same_machine_takes_the_bigger_one_away(
    fake: VastFake, caller: Caller
) -> None:
    small = next(row for row in fake.market.offers() if row["gpu_frac"] < 1 and not row["external"])
    caller.rented(small["id"])
    whole = [
        row
        for row in fake.market.offers()
        if row["machine_id"] == small["machine_id"] and row["gpu_frac"] == 1
    ]
    assert [row["rentable"] for row in whole] == [False]


@pytest.mark.parametrize("gone_status", [200, 404])
def test_what_is_destroyed_reads_as_null_or_404(fake: VastFake, caller: Caller, gone_status: int) -> None:
    fake.calls.gone_status = gone_status
    contract_id = caller.rented()
    caller.destroy(contract_id)
    status, body = caller.call("GET", f"/api/v0/instances/{contract_id}/?owner=me")
    assert (status, body.get("instances")) == (gone_status, None)
    status, body = caller.destroy(contract_id)
    assert (status, body["error"]) == (404, "no_such_instance")


def test_several_are_destroyed_at_once_and_strangers_stay(fake: VastFake, caller: Caller) -> None:
    kept = fake.rent(label="stranger").id
    ids = [caller.rented(), caller.rented()]
    assert caller.call("DELETE", "/api/v0/instances/", {"instance_ids": [*ids, 1]})[0] == 200
    assert caller.listed() == [kept]


def test_a_stopped_contract_gives_its_gpu_back_and_keeps_its_disk(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    offer_id = caller.row(contract_id)["ask_contract_id"]
    caller.change(contract_id, state="stopped")
    assert caller.status(contract_id) == ("running", "running", "stopped")
    fake.advance(10)
    assert caller.status(contract_id) == ("exited", "stopped", "stopped")
    assert caller.search(ask_contract_id={"eq": offer_id})[0]["rentable"] is True
    assert fake.billed() == [contract_id]
    assert caller.change(contract_id, state="running") == (200, {"success": True})
    fake.advance(10)
    assert caller.status(contract_id) == ("running", "running", "running")


def test_a_start_waits_while_the_gpu_is_let_and_stop_ends_the_waiting(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    offer = fake.contracts[contract_id].offer
    caller.change(contract_id, state="stopped")
    fake.advance(10)
    fake.market.let_to_others(offer["machine_id"], fake.market.catalogue.machines[offer["machine_id"]].gpus)
    status, body = caller.change(contract_id, state="running")
    assert (status, body["success"], "queued" in body["msg"]) == (200, False, True)
    assert caller.status(contract_id) == ("exited", "stopped", "running")
    caller.change(contract_id, state="stopped")
    fake.market.let_to_others(offer["machine_id"], 0)
    fake.advance(HOUR)
    assert caller.status(contract_id) == ("exited", "stopped", "stopped")
    fake.market.let_to_others(offer["machine_id"], offer["num_gpus"] * 8)
    caller.change(contract_id, state="running")
    fake.market.let_to_others(offer["machine_id"], 0)
    fake.advance(60)
    assert caller.status(contract_id) == ("running", "running", "running")


def test_the_bill_is_the_gpu_while_it_runs_and_the_disk_from_first_to_last(
    fake: VastFake, caller: Caller
) -> None:
    contract_id = caller.rented()
    contract = fake.contracts[contract_id]
    fake.advance(10 + HOUR)
    caller.change(contract_id, state="stopped")
    fake.advance(2 + HOUR)
    caller.destroy(contract_id)
    fake.advance(HOUR)
    ledger = fake.ledger
    assert ledger.amount(contract_id, "gpu") == pytest.approx((HOUR + 2) / 3600)
    assert ledger.amount(contract_id, "storage") == pytest.approx((2 * HOUR + 12) / 3600)
    assert ledger.spent(contract_id, "gpu") == pytest.approx(contract.gpu_price * (HOUR + 2) / 3600)
    assert ledger.credit == pytest.approx(100 - ledger.spent())


def test_loading_bills_no_gpu(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("loading_forever")
    contract_id = caller.rented()
    fake.advance(HOUR)
    assert fake.ledger.spent(contract_id, "gpu") == 0
    assert fake.ledger.spent(contract_id, "storage") > 0


def test_traffic_is_billed_by_the_gigabyte(fake: VastFake, caller: Caller) -> None:
    offer = next(row for row in fake.market.offers() if row["inet_up_cost"] == 0.02 and not row["external"])
    contract_id = caller.running(offer_id=offer["id"]) if offer["disk_space"] >= 20 else caller.running()
    rate = fake.contracts[contract_id].offer["inet_up_cost"]
    fake.market.add_traffic(contract_id, down_gb=10, up_gb=100)
    assert fake.ledger.spent(contract_id, "upload") == pytest.approx(100 * rate)
    assert fake.ledger.amount(contract_id, "download") == 10


def test_when_the_money_ends_everything_stops_and_is_deleted_two_days_later(
    fake: VastFake, caller: Caller
) -> None:
    contract_id = caller.running()
    per_hour = caller.row(contract_id)["dph_total"]
    fake.market.set_credit(per_hour)
    fake.advance(0.99 * HOUR)
    assert caller.status(contract_id)[0] == "running"
    fake.advance(0.02 * HOUR)
    assert caller.status(contract_id) == ("exited", "stopped", "stopped")
    assert fake.ledger.amount(contract_id, "gpu") == pytest.approx(1 + 50 / 3600, abs=0.01)
    assert caller.create()[1]["error"] == "insufficient_credit"
    assert caller.change(contract_id, state="running")[1]["error"] == "insufficient_credit"
    fake.advance(49 * HOUR)
    assert caller.listed() == []


def test_fresh_money_in_time_saves_the_disks(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.market.set_credit(0.001)
    fake.advance(HOUR)
    fake.market.set_credit(50)
    fake.advance(72 * HOUR)
    assert caller.listed() == [contract_id]
    caller.change(contract_id, state="running")
    fake.advance(10)
    assert caller.status(contract_id)[0] == "running"


def test_a_rental_ends_with_its_offer(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.advance(fake.contracts[contract_id].end_date - fake.market.clock.now() + 1)
    assert caller.status(contract_id) == ("exited", "stopped", "stopped")
    fake.advance(48 * HOUR)
    assert caller.listed() == []


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ({"image": None}, "invalid_args"),
        ({"disk": 4}, "invalid_args"),
        ({"disk": 10**6}, "invalid_args"),
        ({"price": 0.0001}, "invalid_price"),
        ({"runtype": "vnc"}, "invalid_args"),
        ({"label": "x" * 257}, "label_too_long"),
        ({"onstart": "x" * 5000}, "invalid_args"),
        ({"env": {"A": "x" * 257}}, "invalid_args"),
        ({"vm": True}, "no_ssh_key_for_vm"),
        ({"surprise": 1}, "invalid_args"),
    ],
)
def test_orders_that_make_no_sense_rent_nothing(
    fake: VastFake, caller: Caller, order: dict[str, Any], error: str
) -> None:
    status, body = caller.create(**order)
    assert (status, body["error"]) == (400, error)
    assert fake.billed() == []


def test_a_bid_below_the_market_leaves_a_stopped_contract(fake: VastFake, caller: Caller) -> None:
    status, body = caller.create(price=0.002)
    assert (status, fake.billed()) == (400, [body["new_contract"]])
    assert caller.status(body["new_contract"]) == ("exited", "stopped", "stopped")


def test_the_list_comes_in_pages_with_counts(fake: VastFake, caller: Caller) -> None:
    for offer in [row for row in fake.market.offers() if row["gpu_frac"] == 1][:31]:
        fake.rent(offer["id"], label="a" if offer["id"] % 2 else None)
    status, page = caller.page(limit=100)
    assert (status, page["instances_found"], page["total_instances"]) == (200, 25, 31)
    assert sum(page["label_counts"].values()) == 31
    _, rest = caller.page(after_token=page["next_token"])
    assert (rest["instances_found"], rest["next_token"]) == (6, None)
    ids = [row["id"] for row in page["instances"] + rest["instances"]]
    assert ids == sorted(fake.contracts)


def test_the_list_is_filtered_ordered_and_cut_to_columns(fake: VastFake, caller: Caller) -> None:
    first, second = fake.rent(label="x").id, fake.rent(label="x").id
    fake.rent(label="y")
    _, page = caller.page(
        select_filters={"label": {"in": ["x"]}},
        order_by=[{"col": "id", "dir": "desc"}],
        select_cols=["id", "label"],
    )
    assert page["instances"] == [{"id": second, "label": "x"}, {"id": first, "label": "x"}]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"select_filters": {"dph_total": {"lt": 1}}}, "invalid_request"),
        ({"select_filters": {"label": {"like": "x"}}}, "invalid_request"),
        ({"order_by": [{"col": "num_gpus", "dir": "asc"}]}, "invalid_request"),
        ({"after_token": "garbage"}, "invalid_token"),
    ],
)
def test_the_list_refuses_computed_columns_and_bad_cursors(
    fake: VastFake, caller: Caller, query: dict[str, Any], error: str
) -> None:
    fake.rent()
    status, body = caller.page(**query)
    assert (status, body["error"]) == (400, error)


def test_a_page_is_what_follows_the_cursor_also_when_that_row_is_gone(fake: VastFake, caller: Caller) -> None:
    ids = [fake.rent().id for _ in range(3)]
    _, page = caller.page(limit=1)
    caller.destroy(ids[0])
    _, rest = caller.page(after_token=page["next_token"])
    assert [row["id"] for row in rest["instances"]] == ids[1:]


def test_keys_are_attached_listed_as_text_and_detached(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    path = f"/api/v0/instances/{contract_id}/ssh/"
    for _ in range(2):
        assert caller.call("POST", path, {"ssh_key": KEY + "\n"})[1]["success"]
    text = caller.call("GET", path)[1]["ssh_keys"]
    assert isinstance(text, str)
    assert text.count("public_key") == 1
    [key_id] = fake.contracts[contract_id].keys
    assert caller.call("DELETE", f"{path}{key_id}/", {})[0] == 200
    assert fake.contracts[contract_id].machine_keys == []
    assert caller.call("POST", path, {"ssh_key": "nonsense"})[0] == 400


def test_an_account_without_keys_answers_404_and_later_contracts_get_them(
    fake: VastFake, caller: Caller
) -> None:
    assert caller.call("GET", "/api/v0/ssh/")[0] == 404
    caller.call("POST", "/api/v0/ssh/", {"ssh_key": KEY})
    assert [row["public_key"] for row in caller.call("GET", "/api/v0/ssh/")[1]] == [KEY]
    contract_id = caller.rented()
    assert list(fake.contracts[contract_id].keys.values()) == [KEY]


def test_logs_wait_behind_an_address_that_wants_no_key(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    _, body = caller.call("PUT", f"/api/v0/instances/request_logs/{contract_id}/", {"tail": "10"})
    path = body["result_url"].removeprefix(fake.url)
    with Caller(fake, key="") as nobody:
        assert [nobody.call("GET", path)[0] for _ in range(2)] == [404, 200]


@pytest.mark.parametrize(
    ("command", "status"), [("ls -l", 200), ("du -sh", 200), ("bash -c true", 400), ("", 400)]
)
def test_only_three_commands_are_executed(caller: Caller, command: str, status: int) -> None:
    contract_id = caller.running()
    assert caller.call("PUT", f"/api/v0/instances/command/{contract_id}/", {"command": command})[0] == status


def test_a_price_rise_is_listed_accepted_or_rejected(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    before = caller.row(contract_id)["dph_base"]
    for act, after in (("reject", before), ("accept", before * 1.5)):
        fake.faults.arm("price_rise", where={"contract": contract_id})
        [rise] = caller.call("GET", "/api/v0/instances/pending-price-increases/")[1][
            "pending_price_increases"
        ]
        assert rise["new_gpu_costpersec"] * 3600 == pytest.approx(before * 1.5)
        number = {"pending_price_increase_id": rise["pending_price_increase_id"]}
        assert caller.call("PUT", f"/api/v0/instances/{act}-price-increase/", number)[0] == 200
        assert caller.row(contract_id)["dph_base"] == pytest.approx(after)
    assert caller.call("PUT", "/api/v0/instances/accept-price-increase/", number)[0] == 404


def test_secrets_and_the_credit_are_read(fake: VastFake, caller: Caller) -> None:
    caller.call("POST", "/api/v0/secrets/", {"key": "A", "value": "b"})
    assert caller.call("GET", "/api/v0/secrets/")[1]["secrets"] == {"A": "b"}
    assert [
        caller.call("GET", path)[1]["credit"] for path in ("/api/v0/users/current", "/api/v0/users/current/")
    ] == [
        100.0,
        100.0,
    ]


def test_two_hundred_contracts_are_rented_and_listed_whole(fake: VastFake, caller: Caller) -> None:
    machines = fake.market.catalogue.machines.values()
    for machine in machines:
        machine.gpus = 100
    offers = [row["id"] for row in fake.market.offers() if row["num_gpus"] == 1 and not row["external"]]
    for number in range(200):
        caller.create(offers[number % len(offers)], disk=8)
    fake.advance(60)
    assert {contract.actual for contract in fake.contracts.values()} == {"running"}
    assert len(fake.billed()) == 200
