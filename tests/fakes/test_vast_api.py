"""Keys, limits, the journal and what is steered from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vast import ManualClock, VastFake
from tests.fakes.vast.limits import THRESHOLDS
from tests.fakes.vast_caller import Caller

REPOSITORY = Path(__file__).resolve().parents[2]
LEAST: dict[str, Any] = {"api": {"misc": {}, "user_read": {}, "instance_read": {}, "instance_write": {}}}


@pytest.fixture
def strict() -> Iterator[VastFake]:
    with VastFake(clock=ManualClock(), limits=1.0) as fake:
        yield fake


@pytest.mark.parametrize(("unknown_status", "status"), [(404, 404), (401, 401)])
def test_an_unknown_key_is_told_as_404_or_401(fake: VastFake, unknown_status: int, status: int) -> None:
    fake.keyring.unknown_status = unknown_status
    with Caller(fake, key="no-such-key") as stranger:
        answer = stranger.page()
    assert (answer[0], answer[1]["error"], answer[1]["msg"]) == (status, "auth_error", "Invalid user key")


def test_nobody_is_told_to_log_in_but_may_ask_for_gpu_names(fake: VastFake) -> None:
    with Caller(fake, key="") as nobody:
        assert nobody.page()[0] == 403
        assert "RTX 3090" in nobody.call("GET", "/api/v0/gpu_names/unique/")[1]["gpu_names"]


def test_the_key_in_the_query_is_still_taken_and_never_written_down(fake: VastFake) -> None:
    with Caller(fake, key="") as old:
        assert old.call("GET", f"/api/v0/users/current?api_key={fake.key}")[0] == 200
    assert fake.key not in json.dumps(fake.journal.as_json())


def test_a_key_may_do_what_it_is_allowed(fake: VastFake) -> None:
    with Caller(fake, key=fake.keyring.add("dumont", LEAST)) as dumont:
        contract_id = dumont.running()
        assert (
            dumont.call("POST", f"/api/v0/instances/{contract_id}/ssh/", {"ssh_key": "ssh-ed25519 AAAA"})[0]
            == 200
        )
        assert dumont.call("GET", "/api/v0/users/current/")[0] == 200
        status, body = dumont.call("POST", "/api/v0/ssh/", {"ssh_key": "ssh-ed25519 AAAA"})
        assert (status, body["error"]) == (403, "auth_error")
        assert dumont.call("GET", "/api/v0/charges/")[0] == 403


def test_a_contracts_own_key_is_good_for_it_alone(fake: VastFake, caller: Caller) -> None:
    (_, mine), other = caller.create(), caller.rented()
    with Caller(fake, key=mine["instance_api_key"]) as box:
        assert box.change(mine["new_contract"], state="stopped")[0] == 200
        assert box.destroy(other)[0] == 403
        assert box.page()[0] == 403
    assert other in fake.billed()


def test_what_does_not_exist_is_404(caller: Caller) -> None:
    assert caller.call("GET", "/api/v0/nonsense")[1]["error"] == "not_found"
    assert caller.call("GET", "/api/v0/asks/1/")[0] == 404


def test_the_retired_list_is_410(caller: Caller) -> None:
    status, body = caller.call("GET", "/api/v0/instances/?owner=me")
    assert (status, body["error"]) == (410, "deprecated_endpoint")


def test_the_journal_keeps_method_path_query_body_and_who(fake: VastFake, caller: Caller) -> None:
    caller.page(limit=3)
    caller.create(7)
    listed, created = fake.journal
    assert (listed.method, listed.path, listed.query, listed.key) == (
        "GET",
        "/api/v1/instances/",
        {"limit": "3"},
        "owner",
    )
    assert (created.call, created.body["image"], created.status) == ("create", "img:1", 404)
    assert fake.journal.lines() == [("GET", "/api/v1/instances/"), ("PUT", "/api/v0/asks/7/")]


def test_calls_come_no_faster_than_their_thresholds(strict: VastFake) -> None:
    with Caller(strict) as caller:
        assert [caller.page()[0] for _ in range(2)] == [200, 429]
        assert caller.page()[1] == {"detail": "API requests too frequent endpoint threshold=1.0"}
        strict.advance(THRESHOLDS["list"] + 0.01)
        assert caller.page()[0] == 200


def test_an_early_order_waits_for_the_penalty(strict: VastFake) -> None:
    with Caller(strict) as caller:
        assert [caller.create()[0] for _ in range(2)] == [200, 429]
        strict.advance(4.6)
        assert caller.create()[0] == 429
        strict.advance(7.5)
        assert caller.create()[0] == 200


def test_orders_in_time_have_no_penalty(strict: VastFake) -> None:
    with Caller(strict) as caller:
        for _ in range(3):
            assert caller.create()[0] == 200
            strict.advance(4.51)


def test_the_other_shape_of_429_is_plain_text_and_limits_scale(strict: VastFake) -> None:
    strict.limits.shape, strict.limits.factor = "text", 0.1
    with Caller(strict) as caller:
        caller.page()
        assert caller.page() == (429, "API requests too frequent endpoint threshold=1.0")
        strict.advance(0.11)
        assert caller.page()[0] == 200


def test_ten_searches_a_minute(strict: VastFake) -> None:
    with Caller(strict) as caller:
        statuses = [caller.call("POST", "/api/v0/bundles/", {})[0] for _ in range(11)]
        strict.advance(61)
        assert [*statuses, caller.call("POST", "/api/v0/bundles/", {})[0]] == [200] * 10 + [429, 200]


def test_many_at_once_rent_each_offer_once(fake: VastFake) -> None:
    offers = [row["id"] for row in fake.market.offers() if row["gpu_frac"] == 1 and row["disk_space"] >= 20][
        :8
    ]

    def rent(offer_id: int) -> int:
        with Caller(fake) as caller:
            return caller.create(offer_id)[0]

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(rent, offers * 3))
    wanted = sum(not fake.market.catalogue.offers[offer_id]["external"] for offer_id in offers)
    assert statuses.count(200) == wanted == len(fake.billed())


def test_a_kept_connection_is_not_held_up(fake: VastFake, caller: Caller) -> None:
    began = time.monotonic()
    for _ in range(50):
        caller.page()
    assert time.monotonic() - began < 50 * 0.02  # a delayed ACK alone would take 0.04 s a call


def test_it_is_steered_over_http(fake: VastFake, caller: Caller) -> None:
    assert caller.call("POST", "/_fake/faults", {"name": "list_500", "times": 2})[1][0]["left"] == 2
    assert caller.page()[0] == 500
    caller.call("DELETE", "/_fake/faults")
    rented = caller.call("POST", "/_fake/rent", {"offer": fake.offer()["id"], "label": "stranger"})[1][
        "contract"
    ]
    assert (
        caller.call("POST", "/_fake/clock", {"advance": 60})[1]["contracts"][0]["actual_status"] == "running"
    )
    caller.call("POST", "/_fake/traffic", {"contract": rented, "up_gb": 3})
    caller.call("POST", "/_fake/credit", {"usd": 5})
    assert caller.call("GET", "/_fake/state")[1]["credit"] == 5
    assert {line["kind"] for line in caller.call("GET", "/_fake/ledger")[1]} == {
        "gpu",
        "storage",
        "download",
        "upload",
    }
    assert [entry["call"] for entry in caller.call("GET", "/_fake/journal")[1]] == ["list"]
    assert caller.call("POST", "/_fake/limits", {"factor": 2, "shape": "text"})[1]["factor"] == 2
    caller.call("POST", "/_fake/heal", {"contract": rented})
    caller.call("POST", "/_fake/outsiders", {"machine": fake.offer()["machine_id"], "gpus": 1})
    caller.call("DELETE", "/_fake/journal")
    assert len(fake.journal) == 0


def test_what_cannot_be_steered_says_so(caller: Caller) -> None:
    assert "GET state" in caller.call("GET", "/_fake/nonsense")[1]["error"]
    assert caller.call("POST", "/_fake/faults", {"name": "nonsense"})[0] == 400
    assert caller.call("POST", "/_fake/traffic", {})[0] == 400


def test_it_runs_as_a_process_and_ends_when_told(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.fakes.vast",
        "--root",
        str(tmp_path),
        "--machines",
        "none",
        "--manual-clock",
    ]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env={}) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        with urllib.request.urlopen(told["url"] + "/_fake/state", timeout=5) as answer:  # noqa: S310
            assert json.loads(answer.read())["credit"] == 100.0
        process.terminate()
        assert process.wait(10) == 0
