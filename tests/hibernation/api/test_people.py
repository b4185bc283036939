"""The API of people and scripts over real HTTP requests: the guide's shapes, and every wrong request its answer."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from hibernation.domain.states import InstanceStatus
from hibernation.models import ApiToken, Event, Instance, Operation, ProviderAccount
from hibernation.services.clock import db_now
from hibernation.services.orders import environment_of
from hibernation.services.reconcile import reconcile
from hibernation.services.tokens import create_api_token
from tests.factories import idle_for, make_hibernated, make_instance, make_machine
from tests.hibernation.services.world import World, assert_consistent

pytestmark = pytest.mark.django_db

CONFIG = {
    "image": "",
    "disk_gb": 10,
    "ports": [],
    "env_names": [],
    "onstart": [],
    "post_wake_hook": "",
    "allow_equivalent_gpus": True,
    "min_cuda": 0.0,
    "min_reliability": 0.9,
    "min_download_mbps": 0,
    "auto_hibernation_enabled": True,
    "gpu_usage_threshold": 5.0,
    "hibernate_busy_at_the_end": True,
    "pause_after_minutes": 3,
    "delete_after_minutes": 30,
    "keep_warm_minutes": 0,
    "precopy_enabled": True,
    "snapshot_interval_minutes": None,
    "transfer_limit_mbit": None,
    "encryption_enabled": True,
    "default_ignore_rules": True,
    "ignore_rules": [],
    "leave_out_model_cache": False,
    "keep_last": 3,
    "keep_daily": 7,
}
ROUTES = [
    ("get", "/api/instances"),
    ("get", "/api/instances/x"),
    ("get", "/api/instances/x/status"),
    ("get", "/api/instances/x/config"),
    ("put", "/api/instances/x/config"),
    ("post", "/api/instances/x/hibernate"),
    ("post", "/api/instances/x/wake"),
    ("get", "/api/instances/x/events"),
    ("get", "/api/operations"),
    ("get", "/api/operations/1"),
    ("get", "/api/hibernation/stats"),
]


def put(api: Client, instance: Instance, body: Any) -> Any:
    raw = body if isinstance(body, str | bytes) else json.dumps(body)
    return api.put(f"/api/instances/{instance.pk}/config", raw, content_type="application/json")


def code(reply: Any) -> str:
    return str(reply.json()["error"]["code"])


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("header", [None, "Bearer dmt_nobody", "Bearer dma1.1.1.00", "Bearer ", "Basic YTpi"])
def test_nobody_gets_in_without_a_living_token(db: None, method: str, path: str, header: str | None) -> None:
    client = Client(headers={"Authorization": header} if header else {})
    reply = getattr(client, method)(path)
    assert reply.status_code == 401
    assert set(reply.json()) == {"error"}
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="dumont"'


@pytest.mark.parametrize("change", ["revoked", "expired", "inactive"])
def test_a_dead_token_is_refused(change: str) -> None:
    user = User.objects.create_user("ana")
    raw = create_api_token(user, "t", timedelta(days=1))
    client = Client(headers={"Authorization": f"Bearer {raw}"})
    assert client.get("/api/hibernation/stats").status_code == 200
    if change == "inactive":
        User.objects.update(is_active=False)
    else:
        ApiToken.objects.update(**{"revoked_at" if change == "revoked" else "expires_at": db_now()})
    assert client.get("/api/hibernation/stats").status_code == 401


@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if "/x" in r[1]])
def test_an_unknown_instance_is_not_found(api: Client, method: str, path: str) -> None:
    reply = getattr(api, method)(path, content_type="application/json")
    assert (reply.status_code, code(reply)) == (404, "not_found")


@pytest.mark.parametrize(
    "path", ["/api/instances/a%00b/status", "/api/instances/%2e%2e/status", "/api/operations/x"]
)
def test_an_impossible_id_is_not_found(api: Client, path: str) -> None:
    assert api.get(path).status_code == 404


def test_an_unknown_operation_is_not_found(api: Client) -> None:
    assert api.get("/api/operations/999999999999999999").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("delete", "/api/instances/x/config"),
        ("post", "/api/instances/x/config"),
        ("get", "/api/instances/x/hibernate"),
        ("put", "/api/instances/x/wake"),
        ("post", "/api/instances/x/status"),
        ("post", "/api/hibernation/stats"),
        ("delete", "/api/operations/1"),
        ("get", "/api/agent/status"),
    ],
)
def test_a_method_that_makes_no_sense_is_refused(api: Client, method: str, path: str) -> None:
    assert getattr(api, method)(path).status_code == 405


def test_status_has_the_guides_shape(api: Client, world: World) -> None:
    instance = world.awake(**idle_for(1))
    contract = int(instance.machines.get().contract_id or 0)
    status = api.get(f"/api/instances/{instance.pk}/status").json()
    assert status["instance_id"] == instance.pk
    assert (status["status"], status["gpu_utilization"], status["last_activity"]) == ("idle", 0.0, None)
    assert status["auto_hibernation"] == {
        "enabled": True,
        "pause_after_minutes": 3,
        "delete_after_minutes": 30,
        "gpu_usage_threshold": 5.0,
    }
    assert status["vast_info"] == {"instance_id": contract, "gpu_type": "RTX 4090", "region": "PT"}
    assert (status["freshness"], status["operation"], status["machine"]["state"]) == ("fresh", None, "active")
    assert status["explanation"].startswith("idle since ")


def test_status_shows_the_operation_in_flight(api: Client, world: World) -> None:
    instance = world.awake()
    operation = world.hibernate(instance)
    shown = api.get(f"/api/instances/{instance.pk}/status").json()["operation"]
    assert (shown["id"], shown["kind"], shown["steps"][0]["step"]) == (operation.pk, "hibernate", "quiesce")


@pytest.mark.parametrize(("minutes", "freshness"), [(0, "fresh"), (2, "stale"), (20, "lost")])
def test_status_tells_how_fresh_it_is(api: Client, minutes: float, freshness: str) -> None:
    instance = make_instance(last_heartbeat_at=db_now() - timedelta(minutes=minutes))
    assert api.get(f"/api/instances/{instance.pk}").json()["freshness"] == freshness


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"gpu_utilization": 42.0}, "GPU use 42.0 %"),
        ({}, "GPU use unknown: counted as active"),
        ({"last_error": "it broke"}, "it broke"),
        ({"status": "idle", "auto_hibernation_enabled": False}, "idle, but automatic hibernation is off"),
        ({"status": "idle"}, "idle"),
        ({"status": "waking"}, "waking"),
    ],
)
def test_status_says_why(api: Client, fields: dict[str, Any], says: str) -> None:
    instance = make_instance(**fields)
    assert api.get(f"/api/instances/{instance.pk}/status").json()["explanation"] == says


def test_a_contract_that_is_no_number_is_shown_as_it_is(api: Client) -> None:
    instance = make_instance()
    make_machine(instance, contract_id="local-7")
    assert api.get(f"/api/instances/{instance.pk}/status").json()["vast_info"]["instance_id"] == "local-7"


def test_the_list_has_every_instance(api: Client) -> None:
    ids = sorted(make_instance().pk for _ in range(3))
    assert [row["instance_id"] for row in api.get("/api/instances").json()["instances"]] == ids


def test_config_has_the_guides_shape(api: Client) -> None:
    instance = make_instance()
    reply = api.get(f"/api/instances/{instance.pk}/config")
    assert reply.json() == {"instance_id": instance.pk, **CONFIG}


@pytest.mark.parametrize(
    "change",
    [
        {"pause_after_minutes": 5},
        {"pause_after_minutes": 1.5, "auto_hibernation_enabled": False},
        {"gpu_usage_threshold": 100},
        {"delete_after_minutes": 1},
        {"precopy_enabled": False, "encryption_enabled": False, "default_ignore_rules": False},
        {"snapshot_interval_minutes": 30, "transfer_limit_mbit": 500},
        {"snapshot_interval_minutes": None, "transfer_limit_mbit": None},
        {"ignore_rules": ["*.tmp", "", "  !kept.tmp", "# a remark"], "leave_out_model_cache": True},
        {"keep_last": 1, "keep_daily": 0},
        {"keep_warm_minutes": 1440},
        {"image": "img:1", "disk_gb": 50, "ports": [8080, 6006]},
        {"onstart": ["echo hi", "nvidia-smi"], "post_wake_hook": "make serve"},
        {"allow_equivalent_gpus": False, "min_cuda": 12.4, "min_reliability": 0, "min_download_mbps": 200},
        {},
    ],
)
def test_config_changes_what_is_sent_and_nothing_else(api: Client, change: dict[str, Any]) -> None:
    instance = make_instance()
    reply = put(api, instance, change)
    assert reply.status_code == 200
    assert reply.json() == {"instance_id": instance.pk, **CONFIG, **change}
    assert api.get(f"/api/instances/{instance.pk}/config").json() == reply.json()
    event = Event.objects.get()
    assert (event.event_type, event.actor) == ("config_changed", "user:ana")


WRONG = [
    *({"pause_after_minutes": v} for v in (0, 0.5, -1, True, "3", None, [], {}, 1e300, 10**400, 525601)),
    *({"delete_after_minutes": v} for v in (0, False, "30", "nan", 10**30)),
    *({"gpu_usage_threshold": v} for v in (0, -5, 100.1, True, "5", None, [5], 10**400)),
    *({"auto_hibernation_enabled": v} for v in (1, 0, "true", None, [])),
    *({"snapshot_interval_minutes": v} for v in (0, 0.5, True, "30", [])),
    *({"transfer_limit_mbit": v} for v in (0, -1, 1.5, True, "5", 10**9)),
    *({"min_reliability": v} for v in (-0.1, 1.1, True, "1", None)),
    *({"min_download_mbps": v} for v in (-1, 1.5, None)),
    *({"keep_last": v} for v in (0, -1, 1.0, True, None, "3", 1001)),
    *({"keep_warm_minutes": v} for v in (-1, 1.5, True, "5", None, 1441)),
    *({"keep_daily": v} for v in (-1, 1.0, False, None, 1001)),
    *(
        {"ignore_rules": v}
        for v in ("*.tmp", None, [1], [None], ["a\nb"], ["a\u2028b"], ["a\x00"], ["a"] * 501, ["a" * 501])
    ),
    *({name: v} for name in ("precopy_enabled", "leave_out_model_cache") for v in (None, 1, "yes")),
    {"pause_minutes": 3},
    {"pause_after_minutes": 5, "nonsense": 1},
    {"\x00": 1},
    {"\ud800": 1},
]


@pytest.mark.parametrize("body", WRONG, ids=lambda body: ascii(body)[:60])
def test_a_config_that_makes_no_sense_changes_nothing(api: Client, body: dict[str, Any]) -> None:
    instance = make_instance()
    before = Instance.objects.values().get()
    reply = put(api, instance, body)
    assert reply.status_code == 400
    assert set(reply.json()["error"]) >= {"code", "message"}
    assert Instance.objects.values().get() == before
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'"text"',
        b"7",
        b"null",
        b"\xff\xfe",
        b'{"pause_after_minutes": NaN}',
        b'{"pause_after_minutes": Infinity}',
        b'{"pause_after_minutes": -Infinity}',
        b'{"pause_after_minutes": 1e999}',
        b'{"pause_after_minutes": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 20000 + b"]" * 20000 + b"}",
        b"[" * 50000,
    ],
    ids=lambda raw: raw[:30].decode("latin-1"),
)
def test_a_body_that_is_not_our_json_is_refused(api: Client, raw: bytes) -> None:
    assert put(api, make_instance(), raw).status_code == 400


def test_a_body_that_is_too_large_is_refused(api: Client) -> None:
    instance = make_instance()
    reply = put(api, instance, b'{"pause_after_minutes": 5, "x": "' + b"a" * 70_000 + b'"}')
    assert (reply.status_code, code(reply)) == (413, "too_large")


def test_a_body_of_untold_length_is_not_read(api: Client) -> None:
    instance = make_instance()
    api.put(
        f"/api/instances/{instance.pk}/config",
        b'{"pause_after_minutes": 5}' + b" " * 100_000,
        content_type="application/json",
        CONTENT_LENGTH="",
    )
    assert Instance.objects.get().pause_after == timedelta(minutes=3)


def test_another_content_type_is_refused(api: Client) -> None:
    path = f"/api/instances/{make_instance().pk}/config"
    assert api.put(path, "pause_after_minutes=5", content_type="text/plain").status_code == 415


def test_hibernate_answers_at_once_with_the_operation(api: Client, world: World) -> None:
    instance = world.awake()
    reply = api.post(f"/api/instances/{instance.pk}/hibernate")
    operation = Operation.objects.get()
    assert reply.status_code == 202
    assert reply.headers["Location"] == f"/api/operations/{operation.pk}"
    assert (reply.json()["id"], reply.json()["state"], reply.json()["actor"]) == (
        operation.pk,
        "running",
        "user:ana",
    )
    assert (operation.forced, operation.actor) == (True, "user:ana")
    assert api.get(reply.headers["Location"]).json()["id"] == operation.pk


@pytest.fixture
def prompt(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Whoever waits sees the operation run to its end."""
    monkeypatch.setattr(
        "hibernation.api.replies.wait_for", lambda pk, seconds: world.run(Operation.objects.get(pk=pk))
    )
    return world


@pytest.mark.parametrize(("query", "headers"), [("?wait=60", {}), ("", {"Prefer": "respond-async, wait=60"})])
def test_hibernate_and_wait_gives_the_guides_answer(
    api: Client, prompt: World, query: str, headers: dict[str, str]
) -> None:
    instance = prompt.awake()
    reply = api.post(f"/api/instances/{instance.pk}/hibernate{query}", headers=headers)
    instance.refresh_from_db()
    assert reply.status_code == 200
    assert instance.snapshot is not None
    assert reply.json() == {
        "success": True,
        "snapshot_id": instance.snapshot.name,
        "instance_destroyed": True,
    }
    assert instance.snapshot.name.startswith(f"{instance.pk}_hibernate_")
    assert_consistent(instance)


def test_wake_and_wait_gives_the_guides_answer(api: Client, prompt: World) -> None:
    instance = prompt.asleep()
    body = {"gpu_type": "RTX 4090", "region": "PT", "max_price": 0.5}
    reply = api.post(f"/api/instances/{instance.pk}/wake?wait=60", body, content_type="application/json")
    machine = instance.machines.get(state="active")
    assert reply.status_code == 200
    answer = reply.json()
    assert answer.pop("time_taken") >= 0
    assert {"choose", "launch", "loading", "reach", "test", "install", "thaw"} <= set(answer.pop("stages"))
    assert answer == {
        "success": True,
        "instance_id": instance.pk,
        "vast_instance_id": int(machine.contract_id or 0),
        "ssh_host": "127.0.0.1",
        "ssh_port": 22,
        "snapshot_restored": True,
    }


def test_a_wait_that_ends_badly_says_why(api: Client, prompt: World) -> None:
    instance = prompt.awake()
    prompt.box(instance).changes = [1] * 9
    reply = api.post(f"/api/instances/{instance.pk}/hibernate?wait=60")
    assert (reply.status_code, reply.json()["success"]) == (409, False)
    assert reply.json()["error"]["code"] == "workspace_busy"


def test_a_wait_that_is_too_short_answers_what_is(api: Client, world: World) -> None:
    instance = world.awake()
    reply = api.post(f"/api/instances/{instance.pk}/hibernate?wait=0.1")
    assert (reply.status_code, reply.json()["state"]) == (202, "running")


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon", "1e400", ""])
def test_a_wait_that_is_no_time_is_refused(api: Client, world: World, wait: str) -> None:
    instance = world.awake()
    reply = api.post(f"/api/instances/{instance.pk}/hibernate?wait={wait}")
    assert (reply.status_code, code(reply)) == (400, "invalid")
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"max_price": -1},
        {"max_price": True},
        {"max_price": "cheap"},
        {"max_price": 1e300},
        {"max_price": 0.123456},
        {"gpu_type": ["RTX"]},
        {"gpu_type": "x" * 65},
        {"gpu_type": "a\x00b"},
        {"region": ""},
        {"region": None},
        {"maxprice": 1},
    ],
    ids=str,
)
def test_a_wish_that_makes_no_sense_starts_nothing(api: Client, world: World, body: dict[str, Any]) -> None:
    instance = make_hibernated()
    reply = api.post(f"/api/instances/{instance.pk}/wake", body, content_type="application/json")
    assert (reply.status_code, code(reply)) == (400, "invalid")
    assert not Operation.objects.exists()


def test_hibernating_what_sleeps_and_waking_what_is_awake_conflict(api: Client, world: World) -> None:
    asleep, awake = make_hibernated(), make_instance()
    for path in (f"{asleep.pk}/hibernate", f"{awake.pk}/wake"):
        reply = api.post(f"/api/instances/{path}", content_type="application/json")
        assert (reply.status_code, code(reply)) == (409, "conflict")


def test_asking_twice_is_one_operation(api: Client, world: World) -> None:
    path = f"/api/instances/{world.awake().pk}/hibernate"
    assert api.post(path).json()["id"] == api.post(path).json()["id"]


def test_an_idempotency_key_names_one_operation(api: Client, prompt: World) -> None:
    path, headers = f"/api/instances/{prompt.awake().pk}/hibernate", {"Idempotency-Key": "once"}
    first = api.post(path + "?wait=60", headers=headers)
    assert api.post(path, headers=headers).json() == first.json()
    assert Operation.objects.count() == 1


@pytest.mark.parametrize("key", ["", "x" * 129, "a\x00b", "käse"])
def test_an_idempotency_key_is_short_and_printable(api: Client, world: World, key: str) -> None:
    path = f"/api/instances/{world.awake().pk}/hibernate"
    assert api.post(path, headers={"Idempotency-Key": key}).status_code == 400


def told(instance: Instance, count: int) -> None:
    now = db_now()
    Event.objects.bulk_create(
        Event(instance=instance, event_type="idle_detected", timestamp=now, reason=str(n), snapshot_name="s")
        for n in range(count)
    )


def test_events_are_newest_first_in_the_guides_shape(api: Client) -> None:
    instance = make_instance()
    told(instance, 3)
    answer = api.get(f"/api/instances/{instance.pk}/events?limit=2").json()
    assert [event["reason"] for event in answer["events"]] == ["2", "1"]
    expected = {"event_type", "timestamp", "gpu_utilization", "snapshot_id", "reason"}
    assert expected <= set(answer["events"][0])
    assert answer["events"][0]["snapshot_id"] == "s"


def test_the_cursor_leads_to_older_events_and_ends(api: Client) -> None:
    instance = make_instance()
    told(instance, 5)
    seen, path = [], f"/api/instances/{instance.pk}/events?limit=2"
    while path:
        answer = api.get(path).json()
        seen += [event["reason"] for event in answer["events"]]
        path = answer["next"]
    assert seen == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize("limit", ["0", "501", "-1", "x", "1e2", "", "9" * 30, "٣"])
def test_a_limit_out_of_bounds_is_refused(api: Client, limit: str) -> None:
    reply = api.get(f"/api/instances/{make_instance().pk}/events", {"limit": limit})
    assert (reply.status_code, code(reply)) == (400, "invalid")
    assert reply.json()["error"]["fields"] == {"limit": "A whole number from 1 to 500."}


@pytest.mark.parametrize(
    "cursor",
    ["x", "%00", *(base64.b64encode(c).decode() for c in (b"p=x", b"p=%00", b"o=-1", b"p=" + b"9" * 5000))],
)
def test_a_forged_cursor_is_refused(api: Client, cursor: str) -> None:
    for path in (f"/api/instances/{make_instance().pk}/events", "/api/operations"):
        assert api.get(path, {"cursor": cursor}).status_code in (200, 400, 404)


def test_stats_have_every_key(api: Client) -> None:
    make_instance()
    make_hibernated()
    stats = api.get("/api/hibernation/stats").json()
    assert stats == {
        "total_instances": 2,
        **{s.value: 0 for s in InstanceStatus},
        "running": 1,
        "hibernated": 1,
        "storage": {"bytes": 0, "objects": 0, "snapshots": 1},
        "billing_now_usd_per_hour": 0,
        "credit_usd": None,
        "credit_hours_left": None,
        "providers": {
            "local": {
                "listed_seconds_ago": None,
                "list_error": "",
                "billing_now_usd_per_hour": 0,
                "credit_usd": None,
                "credit_hours_left": None,
                "credit_level": "unknown",
            }
        },
    }


def test_stats_tell_what_bills_and_how_long_the_credit_lasts(api: Client, world: World) -> None:
    world.awake()
    world.provider.rent("somebody's own", Decimal("0.7"))
    world.provider.credit_left = Decimal(24)
    reconcile()
    stats = api.get("/api/hibernation/stats").json()
    assert (stats["billing_now_usd_per_hour"], stats["credit_usd"], stats["credit_hours_left"]) == (
        0.3,
        24,
        24,
    )
    assert stats["providers"]["fake"]["listed_seconds_ago"] < 60


def test_a_machine_tells_what_its_provider_says_of_it(api: Client, world: World) -> None:
    instance = world.awake()
    ends_at = db_now() + timedelta(days=3)
    world.provider.show(instance.machines.get().contract_id or "", ends_at=ends_at, reason="success")
    reconcile()
    machine = api.get(f"/api/instances/{instance.pk}").json()["machine"]
    assert (machine["phase"], machine["phase_reason"], machine["price_now"]) == (
        "running",
        "success",
        "0.3000",
    )
    assert machine["ends_at"][:16] == ends_at.isoformat()[:16]


def test_a_machine_that_is_kept_warm_is_shown_with_its_time_and_cost(api: Client, world: World) -> None:
    world.provider.can_stop = world.provider.can_park = True
    instance = world.awake(warm_minutes=30)
    contract = instance.machines.get().contract_id or ""
    world.provider.show(contract, stopped_usd_hour=Decimal("0.0014"))
    reconcile()
    world.run(world.hibernate(instance))
    operation = instance.operations.get()
    reply = api.get(f"/api/operations/{operation.pk}").json()["result"]
    status = api.get(f"/api/instances/{instance.pk}/status").json()
    machine = status["machine"]
    assert (status["status"], machine["state"], status["vast_info"]["instance_id"]) == (
        "hibernated",
        "parked",
        int(contract),
    )
    assert machine["stopped_usd_hour"] == "0.001400"
    assert machine["parked_until"][:19] == reply["kept_warm_until"][:19]
    assert reply["instance_destroyed"] is False


def test_a_stopped_machine_and_a_short_account_refuse_in_a_sentence(api: Client, world: World) -> None:
    instance = world.awake()
    instance.machines.update(phase="stopped", down_since=db_now())
    Instance.objects.update(last_error="the machine is stopped")
    reply = api.post(f"/api/instances/{instance.pk}/hibernate")
    assert (reply.status_code, code(reply)) == (409, "conflict")
    assert "the machine is stopped" in reply.json()["error"]["message"]
    ProviderAccount.objects.create(provider="fake", level="floor", credit=1, credit_at=db_now())
    reply = api.post(f"/api/instances/{make_hibernated().pk}/wake", content_type="application/json")
    assert (reply.status_code, code(reply)) == (409, "credit_too_low")


def test_variables_are_set_and_only_their_names_are_shown(api: Client) -> None:
    instance = make_instance()
    url = f"/api/instances/{instance.pk}/config"
    reply = api.put(url, {"env": {"HF_TOKEN": "s3cret", "A": ""}}, content_type="application/json")
    assert reply.status_code == 200, reply.json()
    assert reply.json()["env_names"] == ["A", "HF_TOKEN"]
    assert "s3cret" not in reply.content.decode() + api.get(url).content.decode()
    instance.refresh_from_db()
    assert environment_of(instance) == {"HF_TOKEN": "s3cret", "A": ""}
    assert api.put(url, {"env": {}}, content_type="application/json").json()["env_names"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"env": {"A": "x" * 257}},
        {"env": {"1A": "x"}},
        {"env": {"DUMONT_INSTANCE_ID": "x"}},
        {"env": {f"A{n}": "x" * 250 for n in range(140)}},
        {"env": ["A=b"]},
        {"ports": list(range(1, 66))},
        {"ports": [80, 80]},
        {"ports": [0]},
        {"onstart": ["x" * 3001]},
        {"post_wake_hook": "x" * 1001},
        {"image": "x" * 1025},
        {"disk_gb": 0},
    ],
)
def test_what_no_provider_would_take_is_refused(api: Client, change: dict[str, Any]) -> None:
    instance = make_instance()
    url = f"/api/instances/{instance.pk}/config"
    assert api.put(url, change, content_type="application/json").status_code == 400
