"""What agents say and ask over HTTP: whatever is wrong with it, nothing is stored and nobody else is reached."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.protocol import MAX_BODY_BYTES
from agents.snapshot.checksum import crc32_of
from hibernation.domain.states import MachineState
from hibernation.models import Event, Instance, Machine, Operation, Pack, ReadingHour
from hibernation.services import snapshots
from hibernation.services.tokens import issue_agent_token
from tests.factories import make_pack, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
STATUS = "/api/agent/status"


def body(instance: Instance, **more: Any) -> dict[str, Any]:
    return {
        "instance_id": instance.pk,
        "seq": 1,
        "timestamp": datetime.now(UTC).isoformat(),
        "gpu_count": 1,
        "gpu_utilizations": [3.0],
    } | more


def send(
    world: World, instance: Instance, what: Any, path: str = STATUS, token: str | None = None
) -> HttpResponse:
    raw = what if isinstance(what, bytes) else json.dumps(what).encode()
    bearer = world.box(instance).token if token is None else token
    client = Client(headers={"Authorization": f"Bearer {bearer}"}, raise_request_exception=False)
    return client.post(path, raw, content_type="application/json")  # type: ignore[return-value]


def rows() -> list[Any]:
    """Everything a heartbeat could change."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (Instance, Machine, Operation, Event, ReadingHour)
    ]


def code(reply: HttpResponse) -> str:
    return str(json.loads(reply.content)["error"]["code"])


def test_a_heartbeat_is_received(world: World) -> None:
    instance = world.awake()
    reply = send(world, instance, body(instance))
    assert reply.status_code == 200
    assert json.loads(reply.content) == {
        "received": True,
        "instance_id": instance.pk,
        "status": "idle",
        "action": "none",
        "interval": 30.0,
        "guard": {
            "after_seconds": 21600.0,
            "gpu_usage_threshold": 5.0,
            "provider": "fake",
            "contract_id": instance.machines.get().contract_id,
        },
    }
    machine = instance.machines.get()
    assert machine.heartbeat_seq == 1
    assert machine.last_reading["gpu_utilizations"] == [3.0]
    assert "instance_id" not in machine.last_reading


def test_what_the_guard_did_is_noted_and_what_makes_no_sense_is_refused(world: World) -> None:
    instance = world.awake()
    fact = {
        "id": "f1",
        "outcome": "stopped",
        "at": "2026-01-01T00:00:00Z",
        "silent_seconds": 9,
        "reason": "idle",
    }
    reply = send(world, instance, body(instance, guard=fact))
    assert json.loads(reply.content)["guard_noted"] == "f1"
    assert Event.objects.filter(event_type="guard_stopped").count() == 1
    assert "guard" not in instance.machines.get().last_reading
    for wrong in ({"id": ""}, {"outcome": "exploded"}, {"silent_seconds": -1}, {"reason": "x" * 301}):
        assert send(world, instance, body(instance, seq=2, guard={**fact, **wrong})).status_code == 400


def test_the_guides_short_form_is_received(world: World) -> None:
    instance = world.awake()
    short = {
        "instance_id": instance.pk,
        "seq": 1,
        "timestamp": "2026-01-01T00:00:00",
        "gpu_utilization": 50.0,
    }
    assert send(world, instance, short).status_code == 200
    assert Instance.objects.get().gpu_utilization == 50.0


def test_gpus_that_are_counted_and_not_measured_are_unknown(world: World) -> None:
    instance = world.awake()
    assert json.loads(send(world, instance, body(instance, gpu_count=8)).content)["status"] == "running"


def test_unknown_fields_are_let_be(world: World) -> None:
    instance = world.awake()
    assert send(world, instance, body(instance, colour="green")).status_code == 200


WRONG: list[dict[str, Any]] = [
    *({"seq": v} for v in (0, -1, "1", 1.5, True, None, 2**63, 10**400)),
    *({"timestamp": v} for v in ("yesterday", 5, None, "", "2026-13-01T00:00:00Z")),
    *({"instance_id": v} for v in (5, None, "", "x" * 65)),
    *({"gpu_utilizations": v} for v in ([101], [-1], ["5"], [True], 5, None, [[1]], [1.0] * 65)),
    *({"gpu_utilization": v} for v in (101, "50", True)),
    *({"gpu_count": v} for v in (-1, 65, "1", 1.5)),
    {"processes": [{}] * 257},
    {"processes": ["p"]},
    {"errors": ["x" * 201]},
    {"boot_id": "x" * 101},
    {"boot_id": "a\x00b"},
    {"processes": [{"name": "a\x00b"}]},
    {"disk_read_bps": -1},
    {"spooled": "no"},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: ascii(change)[:60])
def test_a_heartbeat_with_a_wrong_field_stores_nothing(world: World, change: dict[str, Any]) -> None:
    instance = world.awake()
    before = rows()
    reply = send(world, instance, body(instance) | change)
    assert (reply.status_code, code(reply)) == (400, "invalid")
    assert rows() == before


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"seq": NaN}',
        b'{"seq": 1, "gpu_utilization": Infinity}',
        b'{"seq": 1e999}',
        b"[" * 60000,
        b'{"processes":[{"a":' + b"[" * 30000 + b"]" * 30000 + b"}]}",
    ],
    ids=lambda raw: ascii(raw[:30]),
)
def test_a_body_that_is_no_heartbeat_stores_nothing(world: World, raw: bytes) -> None:
    instance = world.awake()
    before = rows()
    assert send(world, instance, raw).status_code == 400
    assert rows() == before


def test_a_nan_inside_a_heartbeat_stores_nothing(world: World) -> None:
    instance = world.awake()
    before = rows()
    for number in (float("nan"), float("inf"), -float("inf")):
        assert send(world, instance, body(instance, gpu_utilizations=[number])).status_code == 400
    assert rows() == before


def test_a_heartbeat_that_is_too_large_stores_nothing(world: World) -> None:
    instance = world.awake()
    before = rows()
    raw = json.dumps(body(instance)).encode()
    reply = send(world, instance, raw + b" " * (MAX_BODY_BYTES + 1 - len(raw)))
    assert (reply.status_code, code(reply)) == (413, "too_large")
    assert rows() == before
    assert send(world, instance, raw + b" " * (MAX_BODY_BYTES - len(raw))).status_code == 200


def test_a_heartbeat_of_untold_length_stores_nothing(world: World) -> None:
    instance = world.awake()
    before = rows()
    client = Client(headers={"Authorization": f"Bearer {world.box(instance).token}"})
    raw = json.dumps(body(instance)) + " " * 100_000
    reply = client.post(STATUS, raw, content_type="application/json", CONTENT_LENGTH="")
    assert reply.status_code == 400
    assert rows() == before


@pytest.mark.parametrize(
    "token", ["", "nobody", "dma1.1.1.00", "dmt_x", "dma1.999999999999999999.1." + "0" * 64]
)
def test_a_wrong_token_stores_nothing(world: World, token: str) -> None:
    instance = world.awake()
    before = rows()
    reply = send(world, instance, body(instance), token=token)
    assert (reply.status_code, code(reply)) == (401, "not_authenticated")
    assert rows() == before


def test_no_token_at_all_stores_nothing(world: World) -> None:
    instance = world.awake()
    before = rows()
    assert Client().post(STATUS, body(instance), content_type="application/json").status_code == 401
    assert rows() == before


def test_another_instances_token_stores_nothing(world: World) -> None:
    mine, other = world.awake(), world.awake()
    before = rows()
    reply = send(world, mine, body(other))
    assert (reply.status_code, code(reply)) == (403, "forbidden")
    assert rows() == before


def test_an_unknown_instance_cannot_be_told_from_a_foreign_one(world: World) -> None:
    mine, other = world.awake(), world.awake()
    unknown = send(world, mine, body(mine, instance_id="nobody"))
    assert (unknown.status_code, unknown.content) == (403, send(world, mine, body(other)).content)


def test_an_old_epoch_stores_nothing(world: World) -> None:
    instance = world.awake()
    issue_agent_token(instance.machines.get())
    before = rows()
    assert send(world, instance, body(instance)).status_code == 403
    assert rows() == before


@pytest.mark.parametrize("field", ["jobs", "processes"])
def test_a_reading_that_nests_deeper_than_its_readers_can_go_is_refused(world: World, field: str) -> None:
    instance = world.awake()
    for depth, status in ((15, 200), (16, 400), (800, 400)):
        nested = json.loads('{"a":' * depth + "[]" + "}" * depth)
        reply = send(world, instance, body(instance, seq=depth, **{field: [nested]}))
        assert reply.status_code == status


@pytest.mark.parametrize("state", [MachineState.DESTROYING, MachineState.DESTROYED, MachineState.LOST])
def test_an_ended_rental_stores_nothing(world: World, state: MachineState) -> None:
    instance = world.awake()
    Machine.objects.update(state=state)
    before = rows()
    assert send(world, instance, body(instance)).status_code == 403
    assert rows() == before


@pytest.mark.parametrize("seq", [7, 6, 1])
def test_a_replayed_heartbeat_stores_nothing(world: World, seq: int) -> None:
    instance = world.awake()
    send(world, instance, body(instance, seq=7))
    before = rows()
    reply = send(world, instance, body(instance, seq=seq, gpu_utilizations=[99]))
    assert (reply.status_code, code(reply)) == (409, "stale_sequence")
    assert rows() == before


def test_a_spooled_heartbeat_is_history_only(world: World) -> None:
    instance = world.awake()
    send(world, instance, body(instance, seq=7))
    before = rows()[:-1]
    assert (
        send(world, instance, body(instance, seq=6, spooled=True, gpu_utilizations=[99])).status_code == 200
    )
    assert rows()[:-1] == before
    assert 99 in ReadingHour.objects.get().gpu_max


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS = [
    "instance_id", "seq", "timestamp", "gpu_count", "gpu_utilization", "gpu_utilizations", "processes", "boot_id",
    "agent_version", "errors", "spooled", "jobs", "disk_read_bps", "gpu_names",
]  # fmt: skip
MOMENTS = st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_heartbeat_breaks_the_server(world: World, data: st.DataObject) -> None:
    instance = Instance.objects.first() or world.awake()
    change = data.draw(st.dictionaries(st.sampled_from(FIELDS), JSON | MOMENTS, max_size=4))
    change["spooled"] = data.draw(st.booleans())
    change["timestamp"] = data.draw(MOMENTS | JSON)
    raw = json.dumps(body(instance, seq=data.draw(st.integers(1, 2**62))) | change).encode()
    start = data.draw(st.integers(0, len(raw)))
    cut = raw[:start] + data.draw(st.binary(max_size=3)) + raw[start:] if data.draw(st.booleans()) else raw
    assert send(world, instance, cut).status_code in (200, 400, 403, 409)


# What a box asks for its freeze and its restore.


def wish(count: int = 1, **more: Any) -> dict[str, Any]:
    return {"objects": [{"kind": "pack", "size": 10, "crc32": "a" * 8, "tier": 0} | more] * count}


def freezing(world: World) -> tuple[Instance, Operation, str]:
    """A machine whose snapshot is being written, and where it asks for uploads."""
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="freeze")
    from hibernation.services import operations

    operations.claim(operation.pk, "freeze")
    operation.refresh_from_db()
    assert operation.snapshot is not None
    return instance, operation, f"/api/agent/snapshots/{operation.snapshot.name}/uploads"


def test_uploads_are_signed_for_fresh_keys_of_the_instance(world: World) -> None:
    instance, _, path = freezing(world)
    reply = send(world, instance, {"objects": wish()["objects"] + wish(kind="manifest")["objects"]}, path)
    first, second = json.loads(reply.content)["objects"]
    assert reply.status_code == 200
    assert first["key"].startswith(f"{instance.pk}/packs/")
    assert second["key"].startswith(f"{instance.pk}/manifests/")
    assert Pack.objects.filter(instance=instance, key=first["key"], size=10, crc32="a" * 8).exists()
    assert "signature=" in first["url"]


def test_a_box_cannot_reserve_without_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MAX_OBJECTS", 3)
    instance, operation, path = freezing(world)
    make_pack(instance, created_at=operation.created_at - timedelta(days=1))
    assert send(world, instance, wish(2), path).status_code == 200
    refused = send(world, instance, wish(2), path)
    assert (refused.status_code, code(refused)) == (400, "too_many_objects")
    assert send(world, instance, wish(1), path).status_code == 200
    assert Pack.objects.filter(instance=instance).count() == 4


def test_what_was_signed_can_be_stored_and_read_back(world: World) -> None:

    instance, operation, path = freezing(world)
    data = b"0123456789"
    asked = wish(crc32=crc32_of([data]))
    [signed] = json.loads(send(world, instance, asked, path).content)["objects"]
    anybody = Client()
    target = signed["url"].partition("/api/")[2]
    assert (
        anybody.put(f"/api/{target}", b"x" * 10, content_type="application/octet-stream").status_code == 400
    )
    assert anybody.put(f"/api/{target}", data, content_type="application/octet-stream").status_code == 201
    assert anybody.get(f"/api/{target}").status_code == 403
    operation.snapshot.packs.add(Pack.objects.get())
    [readable] = json.loads(
        send(world, instance, {"keys": [signed["key"]]}, path.replace("uploads", "downloads")).content
    )["objects"]
    reply = anybody.get(f"/api/{readable['url'].partition('/api/')[2]}")
    assert b"".join(reply.streaming_content) == data
    reply.close()


@pytest.mark.parametrize("change", ["cancelled", "frozen", "ended"])
def test_nothing_is_uploaded_to_a_snapshot_that_is_not_being_written(world: World, change: str) -> None:
    instance, operation, path = freezing(world)
    if change == "cancelled":
        Operation.objects.update(cancel_reason="cancelled")
    elif change == "frozen":
        operation.snapshot.state = "frozen"
        operation.snapshot.save(update_fields=["state"])
    else:
        Operation.objects.update(
            state="failed", finished_at=datetime.now(UTC), lease_token=None, lease_until=None
        )
    reply = send(world, instance, wish(), path)
    assert (reply.status_code, code(reply)) == (409, "operation_cancelled")
    assert not Pack.objects.exists()


def test_another_machine_of_the_instance_may_not_upload(world: World) -> None:
    instance, operation, path = freezing(world)
    other = world.awake()
    operation.machine = other.machines.get()
    operation.save(update_fields=["machine"])
    reply = send(world, instance, wish(), path)
    assert (reply.status_code, code(reply)) == (409, "operation_cancelled")


@pytest.mark.parametrize("what", ["uploads", "downloads"])
def test_another_instances_snapshot_is_not_found(world: World, what: str) -> None:
    _, _, path = freezing(world)
    other = world.awake()
    asked = wish() if what == "uploads" else {"keys": ["k"]}
    reply = send(world, other, asked, path.replace("uploads", what))
    assert (reply.status_code, code(reply)) == (404, "not_found")


@pytest.mark.parametrize("what", ["uploads", "downloads"])
@pytest.mark.parametrize(("end", "status"), [("epoch", 403), ("destroying", 403), ("nobody", 401)])
def test_a_token_that_speaks_for_no_rental_gets_no_urls(
    world: World, what: str, end: str, status: int
) -> None:
    instance, _, path = freezing(world)
    token = world.box(instance).token if end != "nobody" else "nobody"
    if end == "epoch":
        issue_agent_token(instance.machines.get())
    elif end == "destroying":
        Machine.objects.update(state="destroying")
    asked = wish() if what == "uploads" else {"keys": ["k"]}
    assert send(world, instance, asked, path.replace("uploads", what), token).status_code == status


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"objects": []},
        {"objects": [{}]},
        wish(size=0),
        wish(size=-1),
        wish(size=(1 << 30) + 1),
        wish(size=True),
        wish(crc32="A" * 8),
        wish(crc32="a" * 7),
        wish(kind="secret"),
        wish(tier=2),
        wish(count=1001),
        b"{",
        b"[" * 60000,
    ],
    ids=lambda asked: str(asked)[:50],
)
def test_a_wish_for_uploads_that_makes_no_sense_is_refused(world: World, asked: Any) -> None:
    instance, _, path = freezing(world)
    assert send(world, instance, asked, path).status_code == 400
    assert not Pack.objects.exists()


@pytest.mark.parametrize(
    "keys", [[], ["x" * 256], [5], "key", ["k"] * 1001, ["a\x00b"]], ids=lambda k: str(k)[:40]
)
def test_a_wish_for_downloads_that_makes_no_sense_is_refused(world: World, keys: Any) -> None:
    instance, _, path = freezing(world)
    assert send(world, instance, {"keys": keys}, path.replace("uploads", "downloads")).status_code == 400


def test_a_list_of_wishes_that_is_too_long_is_not_read(world: World) -> None:
    instance, _, path = freezing(world)
    reply = send(world, instance, b" " * (256 * 1024 + 1), path)
    assert (reply.status_code, code(reply)) == (413, "too_large")


def test_only_objects_of_the_snapshot_can_be_downloaded(world: World) -> None:
    instance, other = world.awake(), world.awake()
    snapshot = make_snapshot(instance)
    mine, loose, foreign = make_pack(instance), make_pack(instance), make_pack(other)
    snapshot.packs.add(mine)
    path = f"/api/agent/snapshots/{snapshot.name}/downloads"
    assert send(world, instance, {"keys": [mine.key]}, path).status_code == 200
    for key in (loose.key, foreign.key, "nothing"):
        reply = send(world, instance, {"keys": [mine.key, key]}, path)
        assert (reply.status_code, code(reply)) == (404, "not_found")


def test_a_machine_that_names_a_foreign_manifest_cannot_read_it(world: World) -> None:
    instance, other = world.awake(), world.awake()
    foreign = make_pack(other, kind="manifest")
    snapshot = make_snapshot(instance, manifest_key=foreign.key)
    path = f"/api/agent/snapshots/{snapshot.name}/downloads"
    assert send(world, instance, {"keys": [foreign.key]}, path).status_code == 404


@pytest.mark.parametrize(
    "path", ["/api/agent/snapshots/a%00b/downloads", "/api/agent/snapshots/nothing/downloads"]
)
def test_an_unknown_snapshot_has_nothing_to_download(world: World, path: str) -> None:
    assert send(world, world.awake(), {"keys": ["k"]}, path).status_code in (400, 404)
