"""The official client 1.9.1, unmodified, against our fake: it asks what was recorded, and understands the answers.

This keeps the fake honest, and with it every test that uses it. Run it with ``bin/test -m conformance``; the first run
fetches the client (175 MB) into a virtual environment in the user's cache.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.official import Official
from tests.fakes.vast import VastFake

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(900)]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f t"
DEFAULTS = {"verified": {"eq": True}, "external": {"eq": False}, "rentable": {"eq": True}}
Asked = list[tuple[str, str, dict[str, Any]]]


def asked(fake: VastFake) -> Asked:
    """What it asked, but for what every first command does."""
    quiet = ("gpu_names", "user")
    return [(entry.method, entry.path, entry.body) for entry in fake.journal if entry.call not in quiet]


@pytest.fixture
def contract(fake: VastFake) -> int:
    """A contract that runs."""
    contract = fake.rent(label="dumont:x")
    fake.advance(60)
    return contract.id


def test_the_first_command_asks_for_gpu_names_and_for_the_account(
    client_folder: Path, tmp_path: Path, fake: VastFake
) -> None:
    vastai = Official(client_folder, tmp_path, fake)
    assert vastai.raw("show", "instances") == []
    names = fake.journal.of("gpu_names")
    assert [(entry.method, entry.path, entry.key) for entry in names] == [
        ("GET", "/api/v0/gpu_names/unique/", "")
    ]
    assert names[0].agent.startswith("python-requests")
    assert [(entry.path, entry.key, entry.agent) for entry in fake.journal.of("user")] == [
        ("/api/v0/users/current/", "owner", "vastai-cli/1.9.1")
    ]


def test_search_sends_the_recorded_query_and_reads_the_offers(vastai: Official, fake: VastFake) -> None:
    query = "gpu_name=RTX_4090 num_gpus=1 geolocation in [SE,RO,ES,FR,FI]"
    offers = vastai.raw("search", "offers", query, "-o", "dph_total", "--limit", "3")
    body = {
        **DEFAULTS,
        "gpu_name": {"eq": "RTX 4090"},
        "num_gpus": {"eq": "1"},
        "geolocation": {"in": ["SE", "RO", "ES", "FR", "FI"]},
        "order": [["dph_total", "asc"]],
        "type": "on-demand",
        "limit": 3,
        "allocated_storage": 5.0,
    }
    assert asked(fake) == [("POST", "/api/v0/bundles/", body)]
    assert 0 < len(offers) <= 3
    assert {(offer["gpu_name"], offer["num_gpus"], offer["verification"]) for offer in offers} == {
        ("RTX 4090", 1, "verified")
    }
    prices = [offer["dph_total"] for offer in offers]
    assert prices == sorted(prices)
    for offer in offers:
        assert offer["dph_total"] == pytest.approx(offer["dph_base"] + 5 * offer["storage_cost"] / 720)


def test_search_scales_some_numbers_and_sends_the_others_as_strings(vastai: Official, fake: VastFake) -> None:
    query = (
        "gpu_ram>=24 reliability>0.99 cuda_vers>=12.1 driver_version>=535.86.05 duration>2 datacenter=true"
    )
    offers = vastai.raw("search", "offers", query)
    [(_, _, body)] = asked(fake)
    assert {name: body[name] for name in body if name not in DEFAULTS and name != "order"} == {
        "gpu_ram": {"gte": 24000.0},
        "reliability": {"gt": "0.99"},
        "cuda_max_good": {"gte": "12.1"},
        "driver_version": {"gte": 535086005},
        "duration": {"gt": 172800.0},
        "datacenter": {"eq": True},
        "type": "on-demand",
        "allocated_storage": 5.0,
    }
    assert offers
    assert all(offer["hosting_type"] == 1 and offer["gpu_ram"] >= 24000 for offer in offers)


def test_search_of_interruptible_offers_and_without_defaults(vastai: Official, fake: VastFake) -> None:
    bids = vastai.raw("search", "offers", "-i", "num_gpus=1")
    everything = vastai.raw("search", "offers", "-n", "num_gpus=1")
    assert [body["type"] for _, _, body in asked(fake)] == ["bid", "on-demand"]
    assert bids[0]["dph_base"] == bids[0]["min_bid"]
    assert not DEFAULTS.keys() & asked(fake)[1][2].keys()
    assert {offer["verification"] for offer in everything} > {"verified"}


def test_the_newer_search_wraps_the_query(vastai: Official, fake: VastFake) -> None:
    assert vastai.raw("search", "offers", "--new", "num_gpus=1")
    [(method, path, body)] = asked(fake)
    assert (method, path, set(body)) == ("PUT", "/api/v0/search/asks/", {"select_cols", "q"})


def test_create_sends_the_recorded_order_and_the_contract_boots(vastai: Official, fake: VastFake) -> None:
    offer = fake.offer(gpu_name="RTX 3090", num_gpus=1)
    answer = vastai.raw(
        "create", "instance", str(offer["id"]), "--image", "img:1", "--disk", "20", "--label", "dumont:prod:ab12",
        "--ssh", "--direct", "--env", "-p 8080:8080 -e A=b", "--onstart-cmd", "echo hi", "--cancel-unavail",
    )  # fmt: skip
    body = {
        "client_id": "me", "image": "img:1", "env": {"-p 8080:8080": "1", "A": "b"}, "price": None, "disk": 20.0,
        "label": "dumont:prod:ab12", "extra": None, "onstart": "echo hi", "image_login": None, "python_utf8": False,
        "lang_utf8": False, "use_jupyter_lab": False, "jupyter_dir": None, "force": False, "cancel_unavail": True,
        "template_hash_id": None, "user": None, "runtype": "ssh_direc ssh_proxy",
    }  # fmt: skip
    assert asked(fake) == [("PUT", f"/api/v0/asks/{offer['id']}/", body)]
    assert set(answer) == {"success", "new_contract", "instance_api_key"}
    fake.advance(60)
    row = vastai.raw("show", "instance", str(answer["new_contract"]))
    assert (row["actual_status"], row["label"], row["extra_env"]) == ("running", body["label"], body["env"])
    assert row["ports"].keys() == {"22/tcp", "8080/tcp"}


def test_create_of_a_template_and_of_a_bid(vastai: Official, fake: VastFake) -> None:
    offer = fake.offer(num_gpus=1)
    vastai.raw("create", "instance", str(offer["id"]), "--template_hash", "H", "--bid_price", "0.2")
    [(_, _, body)] = asked(fake)
    assert (body["image"], body["template_hash_id"], body["price"], "runtype" in body) == (
        None,
        "H",
        0.2,
        False,
    )
    [contract] = fake.contracts.values()
    assert contract.bid == 0.2


def test_an_offer_that_is_gone_prints_an_error_and_still_exits_0(vastai: Official, fake: VastFake) -> None:
    fake.faults.arm("offer_gone_404")
    done = vastai.run("create", "instance", str(fake.offer()["id"]), "--image", "img:1", "--raw")
    assert done.returncode == 0
    assert '"status_code": 404' in done.stderr
    assert fake.billed() == []


def test_show_instances_reads_every_page(vastai: Official, fake: VastFake) -> None:
    rented = [fake.rent(offer["id"]).id for offer in fake.market.offers() if offer["num_gpus"] == 1][:31]
    for contract_id in set(fake.contracts) - set(rented):
        fake.market.destroy(fake.market.contracts[contract_id])
    rows = vastai.raw("show", "instances")
    assert [row["id"] for row in rows] == rented
    first, second = fake.journal.of("list")
    assert (first.path, first.query) == (
        "/api/v1/instances/",
        {"select_filters": "{}", "order_by": '[{"col": "id", "dir": "asc"}]', "limit": "25"},
    )
    assert second.query == {**first.query, "after_token": _token(rented[24])}


def _token(contract_id: int) -> str:
    return base64.b64encode(json.dumps({"values": {"id": contract_id}}).encode()).decode()


def test_show_instances_as_a_table_and_filtered(vastai: Official, fake: VastFake, contract: int) -> None:
    table = vastai.run("show", "instances")
    assert str(contract) in table.stdout, table.stderr
    assert [path for _, path, _ in asked(fake)] == ["/api/v0/instances/filters/", "/api/v1/instances/"]
    assert "select_cols" in fake.journal.of("list")[0].query
    fake.rent(label="other")
    rows = vastai.raw("show", "instances", "--label", "dumont:x", "--status", "running")
    assert [row["id"] for row in rows] == [contract]


def test_an_instance_that_is_gone_reads_as_null(vastai: Official, fake: VastFake) -> None:
    assert vastai.raw("show", "instance", "499999") == {"instances": None}
    [entry] = fake.journal.of("by_id")
    assert (entry.path, entry.query) == ("/api/v0/instances/499999/", {"owner": "me"})


COMMANDS: dict[str, tuple[list[str], str, str, dict[str, Any]]] = {
    "stop": (["stop", "instance", "ID"], "PUT", "instances/ID/", {"state": "stopped"}),
    "start": (["start", "instance", "ID"], "PUT", "instances/ID/", {"state": "running"}),
    "label": (["label", "instance", "ID", "L"], "PUT", "instances/ID/", {"label": "L"}),
    "reboot": (["reboot", "instance", "ID"], "PUT", "instances/reboot/ID/", {}),
    "recycle": (["recycle", "instance", "ID"], "PUT", "instances/recycle/ID/", {}),
    "attach": (["attach", "ssh", "ID", KEY], "POST", "instances/ID/ssh/", {"ssh_key": KEY}),
    "destroy": (["destroy", "instance", "ID", "-y"], "DELETE", "instances/ID/", {}),
    "bulk": (["destroy", "instances", "ID", "499999", "-y"], "DELETE", "instances/", {"instance_ids": ["ID", 499999]}),
    "bid": (
        ["change", "bid", "ID", "--price", "0.22"], "PUT", "instances/bid_price/ID/",
        {"client_id": "me", "price": 0.22},
    ),
    "key": (["create", "ssh-key", KEY, "-y"], "POST", "ssh/", {"ssh_key": KEY}),
    "copy": (
        ["copy", "ID:/workspace/", "s3.1:/x"], "PUT", "commands/copy_direct/",
        {"client_id": "me", "src_id": "ID", "dst_id": "s3.1", "src_path": "/workspace/", "dst_path": "/x"},
    ),
}  # fmt: skip


def _filled(value: Any, contract: int) -> Any:
    """The contract's id in the place of ID: a number where a list holds it, text elsewhere."""
    if isinstance(value, dict):
        return {name: _filled(each, contract) for name, each in value.items()}
    if isinstance(value, list):
        return [contract if each == "ID" else each for each in value]
    return value.replace("ID", str(contract)) if isinstance(value, str) else value


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_asks_exactly_what_was_recorded(
    vastai: Official, fake: VastFake, contract: int, name: str
) -> None:
    words, method, path, body = COMMANDS[name]
    done = vastai.run(*(_filled(word, contract) for word in words))
    assert done.returncode == 0, done.stderr
    assert "error" not in (done.stdout + done.stderr).lower()
    asks = asked(fake)
    assert asks[0] == (method, "/api/v0/" + _filled(path, contract), _filled(body, contract))
    assert {entry.status for entry in fake.journal} <= {200}


def test_stop_start_label_and_destroy_do_what_they_say(
    vastai: Official, fake: VastFake, contract: int
) -> None:
    number = str(contract)
    vastai.run("stop", "instance", number)
    fake.advance(60)
    assert vastai.raw("show", "instance", number)["actual_status"] == "exited"
    vastai.run("start", "instance", number)
    vastai.run("label", "instance", number, "new")
    fake.advance(60)
    row = vastai.raw("show", "instance", number)
    assert (row["actual_status"], row["label"]) == ("running", "new")
    assert f"destroying instance {number}" in vastai.run("destroy", "instance", number, "-y").stdout
    assert fake.billed() == []


def test_a_start_whose_gpu_is_let_says_queued(vastai: Official, fake: VastFake, contract: int) -> None:
    vastai.run("stop", "instance", str(contract))
    fake.advance(60)
    fake.faults.arm("start_queued")
    done = vastai.run("start", "instance", str(contract))
    assert (done.returncode, "queued" in done.stdout) == (0, True)


def test_ssh_url_prefers_the_direct_port(vastai: Official, fake: VastFake, contract: int) -> None:
    endpoints = fake.contracts[contract].endpoints
    url = vastai.run("ssh-url", str(contract)).stdout.strip()
    assert url == f"ssh://root@{endpoints.direct_host}:{endpoints.direct_port}"
    assert [path for _, path, _ in asked(fake)] == ["/api/v1/instances/"]


def test_logs_fetches_the_result_without_a_key(vastai: Official, fake: VastFake, contract: int) -> None:
    done = vastai.run("logs", str(contract), "--tail", "10")
    assert "image:1: started" in done.stdout, done.stderr
    assert asked(fake) == [("PUT", f"/api/v0/instances/request_logs/{contract}/", {"tail": "10"})]


def test_execute_works_through_the_sdk(vastai: Official, fake: VastFake, contract: int) -> None:
    assert vastai.sdk(f"vast.execute(id={contract}, command='ls -l')").strip() == "ls -l"
    assert asked(fake) == [("PUT", f"/api/v0/instances/command/{contract}/", {"command": "ls -l"})]


def test_keys_of_the_account_are_made_shown_and_deleted(vastai: Official, fake: VastFake) -> None:
    vastai.run("create", "ssh-key", KEY, "-y")
    assert KEY in vastai.run("show", "ssh-keys").stdout
    vastai.run("delete", "ssh-key", "1")
    assert fake.market.account_keys == {}
    assert asked(fake)[-1] == ("DELETE", "/api/v0/ssh/1/", {})


def test_volumes_are_made_shown_and_deleted(vastai: Official, fake: VastFake) -> None:
    offer = vastai.raw("search", "volumes", "disk_space>=50")[0]
    vastai.run("create", "volume", str(offer["id"]), "-s", "20", "-n", "data")
    [volume] = vastai.raw("show", "volumes")
    assert (volume["disk_space"], volume["label"]) == (20, "data")
    [entry] = [entry for entry in fake.journal.of("volumes") if entry.method == "GET"]
    assert entry.query == {"owner": "me", "type": "all_volume"}
    vastai.run("delete", "volume", str(volume["id"]))
    assert fake.calls.volumes == {}


@pytest.mark.parametrize(("status", "said"), [(404, "404"), (401, "401")])
def test_a_key_unknown_is_told(vastai: Official, fake: VastFake, status: int, said: str) -> None:
    fake.keyring.unknown_status = status
    done = vastai.run("show", "instances", "--raw", env={"VAST_API_KEY": "no-such-key"})
    assert f'"status_code": {said}' in done.stderr


def test_the_sdk_rents_twice_where_an_answer_is_lost(vastai: Official, fake: VastFake) -> None:
    """Why Dumont has a client of its own: the official one repeats an order whose answer did not come.

    The first contract exists, bills, and nobody knows its id.
    """
    offers = [offer for offer in fake.market.offers() if offer["num_gpus"] == 1 and not offer["external"]]
    roomy = next(offer for offer in offers if fake.market.catalogue.machines[offer["machine_id"]].gpus >= 2)
    fake.faults.arm("create_response_lost")
    answer = vastai.sdk(
        f"vast.create_instance(id={roomy['id']}, image='img:1', disk=10, label='once', ssh=True)"
    )
    first, second = fake.billed()
    assert answer["new_contract"] == second
    assert {contract.label for contract in fake.contracts.values()} == {"once"}
    orders = fake.journal.of("create")
    assert [entry.status for entry in orders] == [0, 200]
    assert orders[0].body == orders[1].body
    assert first != second


def test_the_sdk_orders_again_after_a_502_too(vastai: Official, fake: VastFake) -> None:
    fake.faults.arm("create_502_after")
    offer = fake.offer(gpu_frac=1.0)
    vastai.sdk(f"vast.create_instance(id={offer['id']}, image='img:1', disk=10)")
    assert [entry.status for entry in fake.journal.of("create")] == [502, 404]
