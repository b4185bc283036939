"""Every fault of the fake vast.ai, each armed with one line and seen as a client would."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.fakes.vast import VastFake, faults
from tests.fakes.vast.faults import NAMES
from tests.fakes.vast_caller import Caller

HOUR = 3600.0


def test_the_table_in_the_docstring_names_every_fault_and_no_other() -> None:
    rows = re.findall(r"^\| (.*?) \|", faults.__doc__ or "", flags=re.MULTILINE)
    named = {name.strip() for row in rows for name in row.split(",")} - {"fault", "---", "|---"}
    assert {name for name in named if not name.startswith("|")} == set(NAMES)


@pytest.mark.parametrize(
    ("name", "where", "options"),
    [("no_such", {}, {}), ("dropped", {"planet": 1}, {}), ("dropped", {}, {"seconds": 1})],
)
def test_what_does_not_exist_cannot_be_armed(
    fake: VastFake, name: str, where: dict[str, Any], options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"no such fault|takes no"):
        fake.faults.arm(name, where=where, **options)


def test_a_fault_hits_where_and_as_often_as_told_until_disarmed(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("server_error", times=2, where={"call": "list"})
    assert [caller.call("GET", "/api/v0/users/current/")[0], *(caller.page()[0] for _ in range(3))] == [
        200,
        500,
        500,
        200,
    ]
    fake.faults.arm("server_error", times=None)
    assert [caller.page()[0] for _ in range(3)] == [500] * 3
    fake.faults.disarm("server_error")
    assert caller.page()[0] == 200


def test_a_fault_may_be_for_some_labels_only(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("offer_gone_404", times=None, where={"label": "ours:*"})
    assert caller.create(label="ours:1")[0] == 404
    assert caller.create(label="theirs")[0] == 200


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("auth_404", 404, "Invalid user key"),
        ("auth_401", 401, "Invalid user key"),
        ("rate_limited", 429, "threshold=4.5"),
        ("dropped", 0, "None"),
        ("bad_gateway", 502, "Bad Gateway"),
        ("server_error", 500, "server error"),
    ],
)
def test_a_call_fails_before_anything_happens(
    fake: VastFake, caller: Caller, name: str, status: int, text: str
) -> None:
    fake.faults.arm(name, where={"call": "create"})
    answer = caller.create()
    assert (answer[0], text in str(answer[1])) == (status, True)
    assert fake.billed() == []


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("response_lost", 0),
        ("bad_gateway_after", 502),
        ("server_error_after", 500),
        ("create_response_lost", 0),
        ("create_502_after", 502),
    ],
)
def test_a_call_fails_after_it_happened(fake: VastFake, caller: Caller, name: str, status: int) -> None:
    fake.faults.arm(name, where={"call": "create"})
    assert caller.create()[0] == status
    assert len(fake.billed()) == 1
    assert fake.journal.of("create")[0].status == status


def test_slow_answers_late(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("slow", seconds=0.05)
    assert caller.page()[0] == 200


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("offer_gone_404", 404, "invalid_args"),
        ("offer_gone_410", 410, "no_such_ask"),
        ("offer_gone_400", 400, "no_such_ask"),
        ("host_only_403", 403, "invalid_args"),
        ("gpu_unavailable", 410, "no_such_ask"),
        ("insufficient_credit", 400, "insufficient_credit"),
        ("spend_rate_limit", 400, "spend_rate_limit"),
        ("create_422", 422, "validation_error"),
        ("create_false", 200, "invalid_args"),
    ],
)
def test_an_order_is_refused_and_nothing_rented(
    fake: VastFake, caller: Caller, name: str, status: int, error: str
) -> None:
    fake.faults.arm(name)
    answer = caller.create()
    assert (answer[0], answer[1]["success"], answer[1]["error"]) == (status, False, error)
    assert fake.billed() == []
    assert caller.create()[0] == 200


def test_create_429_names_its_threshold(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("create_429")
    assert caller.create() == (429, {"detail": "API requests too frequent endpoint threshold=4.5"})


def test_refusals_about_money_come_with_any_status(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("insufficient_credit", status=402)
    assert caller.create()[0] == 402


def test_a_gpu_that_is_let_leaves_a_stopped_contract_without_cancel_unavail(
    fake: VastFake, caller: Caller
) -> None:
    fake.faults.arm("gpu_unavailable")
    status, body = caller.create(cancel_unavail=False)
    assert (status, body["success"]) == (200, True)
    assert caller.status(body["new_contract"]) == ("exited", "stopped", "stopped")


def test_an_error_may_leave_a_contract(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("create_leftover")
    status, body = caller.create()
    assert (status, fake.billed()) == (400, [body["new_contract"]])


@pytest.mark.parametrize(("name", "status"), [("list_410", 410), ("list_500", 500)])
def test_the_list_fails(fake: VastFake, caller: Caller, name: str, status: int) -> None:
    fake.faults.arm(name)
    assert [caller.page()[0] for _ in range(2)] == [status, 200]


def test_a_stale_replica_lists_nothing(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.rented()
    fake.faults.arm("list_empty")
    assert [caller.listed(), caller.listed()] == [[], [contract_id]]


def test_a_cut_list_betrays_itself_by_its_total(fake: VastFake, caller: Caller) -> None:
    for _ in range(30):
        fake.rent()
    fake.faults.arm("list_cut")
    _, page = caller.page()
    assert (page["next_token"], page["instances_found"], page["total_instances"]) == (None, 25, 30)


def test_a_new_contract_cannot_be_read_by_its_id_yet(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("by_id_null", times=2)
    contract_id = caller.rented()
    assert [caller.row(contract_id) is None for _ in range(3)] == [True, True, False]
    assert caller.listed() == [contract_id]


def test_the_daily_quota_of_searches_tells_when_it_ends(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("search_quota")
    status, body = caller.call("POST", "/api/v0/bundles/", {})
    assert (status, body["error"]) == (429, "search_quota_exceeded")
    assert 0 < int(caller.headers["X-RateLimit-Reset"]) - fake.market.clock.now() <= 24 * HOUR
    assert caller.search()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("boot_abort_cdi", "Error response from daemon"),
        ("boot_abort_oci", "OCI runtime create failed"),
        ("no_space_left", "no space left on device"),
        ("boot_abort", "unexpected EOF"),
        ("image_pull_denied", "pull access denied for img:1"),
        ("manifest_unknown", "manifest unknown"),
    ],
)
def test_a_host_gives_up(fake: VastFake, caller: Caller, name: str, words: str) -> None:
    fake.faults.arm(name)
    contract_id = caller.running()
    assert caller.status(contract_id) == ("loading", "stopped", "stopped")
    assert words in caller.row(contract_id)["status_msg"]
    assert fake.ledger.spent(contract_id, "gpu") == 0


@pytest.mark.parametrize(
    ("name", "stuck", "ready"),
    [("loading_frozen", 590.0, 11.0), ("slow_boot", 305.0, 6.0), ("loading_forever", 9 * HOUR, 0.0)],
)
def test_loading_takes_long(fake: VastFake, caller: Caller, name: str, stuck: float, ready: float) -> None:
    fake.faults.arm(name)
    contract_id = caller.rented()
    fake.advance(stuck)
    assert caller.status(contract_id)[0] == "loading"
    fake.advance(ready)
    assert caller.status(contract_id)[0] == ("running" if ready else "loading")


def test_a_race_at_creation_is_healed_by_a_start(fake: VastFake, caller: Caller) -> None:
    fake.faults.arm("create_start_race")
    contract_id = caller.running()
    assert caller.status(contract_id)[:2] == ("loading", "stopped")
    assert caller.row(contract_id)["status_msg"] == ""
    assert caller.change(contract_id, state="running")[1]["success"]
    fake.advance(60)
    assert caller.status(contract_id) == ("running", "running", "running")


def test_a_host_goes_offline_costs_nothing_for_its_gpu_and_comes_back(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.faults.arm("goes_offline", seconds=HOUR)
    assert caller.status(contract_id)[0] == "offline"
    before = fake.ledger.spent(contract_id, "gpu")
    fake.advance(HOUR - 1)
    assert caller.status(contract_id)[0] == "offline"
    assert fake.ledger.spent(contract_id, "gpu") == before
    fake.advance(2)
    assert caller.status(contract_id)[0] == "running"


@pytest.mark.parametrize(("name", "said"), [("status_unknown", "unknown"), ("status_lags", "exited")])
def test_a_status_is_wrong_for_a_while(fake: VastFake, caller: Caller, name: str, said: str) -> None:
    contract_id = caller.running()
    fake.faults.arm(name)
    assert caller.status(contract_id) == (said, "running", "running")
    fake.advance(61)
    assert caller.status(contract_id)[0] == "running"
    assert fake.ledger.amount(contract_id, "gpu") == pytest.approx((50 + 61) / 3600)


def test_a_status_may_be_a_word_that_nobody_knows(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.faults.arm("status_strange")
    assert caller.status(contract_id)[0] == "defragmenting"
    fake.market.heal(contract_id)
    assert caller.status(contract_id)[0] == "running"


def test_frozen_bills_its_gpu(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.faults.arm("frozen")
    assert caller.status(contract_id)[0] == "frozen"
    fake.advance(HOUR)
    assert fake.ledger.amount(contract_id, "gpu") == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", ["outbid", "host_stops"])
def test_the_market_stops_a_contract_without_our_wish(fake: VastFake, caller: Caller, name: str) -> None:
    contract_id, other = caller.running(), caller.running()
    fake.faults.arm(name, where={"contract": contract_id})
    assert caller.status(contract_id) == ("exited", "stopped", "stopped")
    assert caller.status(other)[0] == "running"


def test_a_contract_vanishes(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.faults.arm("vanished")
    assert caller.listed() == []
    assert caller.row(contract_id) is None


def test_a_price_rise_comes_true_unless_it_is_rejected(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    before = caller.row(contract_id)["dph_base"]
    fake.faults.arm("price_rise", factor=2.0, seconds=HOUR)
    caller.listed()
    fake.advance(HOUR - 1)
    assert caller.row(contract_id)["dph_base"] == before
    fake.advance(2)
    assert caller.row(contract_id)["dph_base"] == 2 * before


def test_the_end_of_the_rental_comes(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.faults.arm("end_date_reached")
    assert caller.status(contract_id) == ("exited", "stopped", "stopped")
    assert caller.row(contract_id)["end_date"] == fake.market.clock.now()
    fake.advance(49 * HOUR)
    assert caller.listed() == []


def test_a_stopped_gpu_is_let_to_somebody_else(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.faults.arm("gpu_let_on_stop")
    caller.change(contract_id, state="stopped")
    fake.advance(60)
    assert caller.change(contract_id, state="running")[1]["success"] is False


def test_a_queued_start_starts_itself_unless_stop_is_sent(fake: VastFake, caller: Caller) -> None:
    first, second = caller.running(), caller.running()
    fake.faults.arm("start_queued", times=2)
    for contract_id in (first, second):
        caller.change(contract_id, state="stopped")
    fake.advance(60)
    for contract_id in (first, second):
        assert caller.change(contract_id, state="running")[1]["success"] is False
    caller.change(second, state="stopped")
    fake.advance(120)
    assert (caller.status(first)[0], caller.status(second)[0]) == ("running", "exited")


@pytest.mark.parametrize(("name", "status"), [("destroy_429", 429), ("destroy_500", 500)])
def test_a_destroy_fails_and_the_contract_stays(
    fake: VastFake, caller: Caller, name: str, status: int
) -> None:
    contract_id = caller.running()
    fake.faults.arm(name, times=2)
    assert [caller.destroy(contract_id)[0] for _ in range(3)] == [status, status, 200]
    assert fake.billed() == []


def test_the_answer_to_a_destroy_is_lost(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.faults.arm("destroy_response_lost")
    assert caller.destroy(contract_id)[0] == 0
    assert fake.billed() == []
    assert caller.destroy(contract_id)[1]["error"] == "no_such_instance"


def test_a_destroy_says_yes_and_does_nothing(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.faults.arm("destroy_ignored")
    assert caller.destroy(contract_id) == (200, {"success": True})
    assert (caller.listed(), fake.billed()) == ([contract_id], [contract_id])


def test_a_destroyed_row_remains_for_some_lists(fake: VastFake, caller: Caller) -> None:
    contract_id = caller.running()
    fake.faults.arm("destroy_row_remains", polls=2)
    caller.destroy(contract_id)
    assert fake.billed() == []
    [row] = caller.page()[1]["instances"]
    assert row["cur_state"] == "unloaded"
    assert [caller.listed() for _ in range(2)] == [[contract_id], []]


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("extra_env_null", "extra_env", None),
        ("extra_env_dict", "extra_env", {"A": "b"}),
        ("ports_null", "ports", None),
        ("geolocation_null", "geolocation", None),
        ("cpu_cores_null", "cpu_cores", None),
        ("disk_smaller", "disk_space", 10.0),
    ],
)
def test_rows_have_odd_shapes(fake: VastFake, caller: Caller, name: str, field: str, value: Any) -> None:
    contract_id = caller.running(env={"A": "b"})
    fake.faults.arm(name)
    assert caller.row(contract_id)[field] == value


def test_a_contract_costs_more_than_its_offer(fake: VastFake, caller: Caller) -> None:
    offer = fake.offer(num_gpus=1)
    fake.faults.arm("price_higher", factor=2.0)
    contract_id = caller.rented(offer["id"])
    assert caller.row(contract_id)["dph_base"] == pytest.approx(2 * offer["dph_base"])
    assert fake.market.catalogue.offers[offer["id"]]["dph_base"] == offer["dph_base"]
