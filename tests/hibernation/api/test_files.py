"""Looking into a snapshot over HTTP: hostile names, ranges, holes, damage, and what is refused."""

from __future__ import annotations

import hashlib
import os
import resource
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from hibernation.api import files
from hibernation.domain.states import SnapshotState
from hibernation.models import Instance, Pack
from hibernation.services import browse
from hibernation.services.browse import shelf
from tests.factories import make_hibernated, make_instance, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
HOSTILE = [b"\xff\xfe.bin", b"new\nline", b'quo"te', b"per%cent+plus & so=on", "ümläut".encode(), b"..."]
BIG = bytes(range(256)) * (9 << 12)


@pytest.fixture(autouse=True)
def empty_shelf() -> None:
    shelf.clear()


def fill(workspace: Path) -> None:
    for number, name in enumerate(HOSTILE):
        with open(os.path.join(os.fsencode(workspace), name), "wb") as file:
            file.write(b"content %d" % number)
    (workspace / "dir").mkdir()
    (workspace / "dir" / "big.bin").write_bytes(BIG)
    (workspace / "dir" / "empty").touch()
    (workspace / "dir" / "out").symlink_to("/etc/passwd")
    os.link(workspace / "dir" / "big.bin", workspace / "dir" / "again")
    with (workspace / "sparse").open("wb") as file:
        file.truncate(3 << 20)
        file.seek(2 << 20)
        file.write(b"here")


@pytest.fixture
def asleep(world: World) -> Instance:
    instance = world.awake()
    fill(world.box(instance).workspace)
    world.run(world.hibernate(instance))
    instance.refresh_from_db()
    assert instance.snapshot is not None
    return instance


def at(instance: Instance, rest: str) -> str:
    assert instance.snapshot is not None
    return f"/api/instances/{instance.pk}/snapshots/{instance.snapshot.name}/{rest}"


def listing(api: Client, address: str) -> list[dict[str, Any]]:
    reply = api.get(address)
    assert reply.status_code == 200, reply.content
    found: list[dict[str, Any]] = reply.json()["entries"]
    return found


def read(api: Client, address: str, **headers: str) -> bytes:
    reply = api.get(address, headers=headers)
    assert reply.status_code in (200, 206), reply.content
    body = b"".join(reply)
    assert len(body) == int(reply.headers["Content-Length"])
    return body


def test_every_file_of_the_workspace_is_found_and_read(api: Client, asleep: Instance, world: World) -> None:
    workspace = world.box(asleep).workspace
    found = {}
    for entry in [*listing(api, at(asleep, "files")), *listing(api, at(asleep, "files?path=dir"))]:
        if entry["type"] == "file":
            found[hashlib.sha256(read(api, entry["href"])).hexdigest()] = entry["size"]
    wanted = {}
    for folder, _, names in os.walk(os.fsencode(workspace)):
        for name in names:
            path = os.path.join(folder, name)
            if b"data" not in folder and not os.path.islink(path):
                data = Path(os.fsdecode(path)).read_bytes()
                wanted[hashlib.sha256(data).hexdigest()] = len(data)
    assert wanted.items() == found.items()


def test_an_entry_tells_what_it_is(api: Client, asleep: Instance) -> None:
    entries = {entry["name"]: entry for entry in listing(api, at(asleep, "files?path=dir/"))}
    assert list(entries) == ["again", "big.bin", "empty", "out"]
    out = entries["out"]
    assert (out["type"], out["target"], out["href"], out["mode"]) == ("symlink", "/etc/passwd", None, None)
    big = entries["big.bin"]
    assert (big["type"], big["size"], big["path"]) == ("file", len(BIG), "dir/big.bin")
    assert big["mtime"].endswith("Z")
    assert {entries["again"]["target"], entries["big.bin"]["target"]} == {None, "dir/again"}
    folder = next(e for e in listing(api, at(asleep, "files")) if e["name"] == "dir")
    assert listing(api, folder["href"]) == list(entries.values())


def test_names_that_people_cannot_read_are_replaced_and_still_lead_there(
    api: Client, asleep: Instance
) -> None:
    entries = {entry["name"]: entry for entry in listing(api, at(asleep, "files"))}
    assert read(api, entries["\ufffd\ufffd.bin"]["href"]) == b"content 0"
    reply = api.get(entries["new\ufffdline"]["href"])
    assert reply.headers["Content-Disposition"] == (
        "attachment; filename=\"new_line\"; filename*=UTF-8''new%0Aline"
    )
    assert b"".join(reply) == b"content 1"
    reply = api.head(entries['quo"te']["href"])
    assert 'filename="quo_te"' in reply.headers["Content-Disposition"]


def test_a_file_comes_as_something_to_be_saved(api: Client, asleep: Instance) -> None:
    reply = api.get(at(asleep, "files/content?path=dir/big.bin"), headers={"Accept": "text/html"})
    assert b"".join(reply) == BIG
    told = {name: reply.headers[name] for name in ("Content-Type", "X-Content-Type-Options")}
    assert told == {"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff"}
    assert reply.headers["Content-Security-Policy"] == "sandbox"


def test_pages_lead_through_a_folder_and_a_search(api: Client, asleep: Instance) -> None:
    for start in ("files?limit=2", "files?limit=2&search=i"):
        whole = [e["path"] for e in listing(api, at(asleep, start.replace("limit=2", "limit=1000")))]
        seen, address = [], at(asleep, start)
        while address:
            page = api.get(address).json()
            assert len(page["entries"]) <= 2
            seen += [entry["path"] for entry in page["entries"]]
            address = page["next"]
        assert seen == whole
        assert len(whole) > 4


@pytest.mark.parametrize(
    ("span", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=100-", 100, None), ("bytes=-5", -5, None), ("bytes=7-99", 7, 100)],
)
def test_a_range_is_served(api: Client, asleep: Instance, span: str, start: int, end: int | None) -> None:
    address = at(asleep, "files/content?path=dir/big.bin")
    assert read(api, address, Range=span) == BIG[start:end]
    etag = api.head(address).headers["ETag"]
    assert read(api, address, **{"Range": span, "If-Range": etag}) == BIG[start:end]
    assert read(api, address, **{"Range": span, "If-Range": '"older"'}) == BIG


@pytest.mark.parametrize("span", [f"bytes={len(BIG)}-", "bytes=0-1,3-4", "lines=1-2", "bytes=-"])
def test_a_range_that_the_file_does_not_have_is_refused(api: Client, asleep: Instance, span: str) -> None:
    reply = api.get(at(asleep, "files/content?path=dir/big.bin"), headers={"Range": span})
    assert (reply.status_code, reply.headers["Content-Range"]) == (416, f"bytes */{len(BIG)}")


def test_holes_are_zeros_also_in_ranges(api: Client, asleep: Instance) -> None:
    address = at(asleep, "files/content?path=sparse")
    whole = bytearray(3 << 20)
    whole[2 << 20 : (2 << 20) + 4] = b"here"
    assert read(api, address) == whole
    assert read(api, address, Range="bytes=2097150-2097155") == b"\0\0here"


def test_head_tells_the_size_and_sends_nothing(api: Client, asleep: Instance) -> None:
    reply = api.head(at(asleep, "files/content?path=dir/big.bin"))
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["Content-Length"] == str(len(BIG))
    assert read(api, at(asleep, "files/content?path=dir/empty")) == b""


@pytest.mark.parametrize(
    ("rest", "status", "code"),
    [
        ("files?path=nothing", 404, "not_found"),
        ("files?path=../..", 404, "not_found"),
        ("files?path=dir/big.bin", 404, "not_found"),
        ("files?path=dir/out", 404, "not_found"),
        ("files?limit=0", 400, "invalid"),
        ("files?limit=1001", 400, "invalid"),
        ("files?limit=%FF", 400, "invalid"),
        ("files/content", 409, "not_a_file"),
        ("files/content?path=dir", 409, "not_a_file"),
        ("files/content?path=dir/out", 409, "not_a_file"),
        ("files/content?path=/etc/passwd", 404, "not_found"),
        ("files/content?path=dir/../dir/big.bin", 404, "not_found"),
        ("files/content?path=dir%00", 404, "not_found"),
    ],
)
def test_what_is_not_there_is_refused(
    api: Client, asleep: Instance, rest: str, status: int, code: str
) -> None:
    reply = api.get(at(asleep, rest))
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_a_cursor_from_anywhere_is_only_a_place_to_go_on_from(api: Client, asleep: Instance) -> None:
    assert listing(api, at(asleep, "files?cursor=%FF%FF%FF")) == []
    assert len(listing(api, at(asleep, "files?cursor=%00"))) > 3


def test_a_snapshot_is_looked_into_only_where_it_belongs(api: Client, asleep: Instance) -> None:
    other = make_instance()
    assert asleep.snapshot is not None
    name = asleep.snapshot.name
    for address in (f"{other.pk}/snapshots/{name}", f"{asleep.pk}/snapshots/x", f"nobody/snapshots/{name}"):
        for what in ("files", "files/content?path=notes.txt"):
            assert api.get(f"/api/instances/{address}/{what}").status_code == 404


@pytest.mark.parametrize(
    ("state", "status", "code"), [("deleted", 410, "gone"), ("frozen", 409, "not_proven")]
)
def test_only_a_proven_snapshot_is_looked_into(api: Client, state: str, status: int, code: str) -> None:
    instance = make_hibernated()
    snapshot = make_snapshot(instance, state=SnapshotState(state))
    for what in ("files", "files/content?path=x"):
        reply = api.get(f"/api/instances/{instance.pk}/snapshots/{snapshot.name}/{what}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_nobody_looks_without_a_token(client: Client, asleep: Instance) -> None:
    assert client.get(at(asleep, "files")).status_code == 401
    assert client.get(at(asleep, "files/content?path=notes.txt")).status_code == 401


def pack_of_big(world: World, instance: Instance) -> Path:
    return max((world.store_root / p.key for p in Pack.objects.all()), key=lambda path: path.stat().st_size)


def test_damage_before_the_first_byte_is_told_and_recorded(
    api: Client, asleep: Instance, world: World
) -> None:
    path = pack_of_big(world, asleep)
    data = bytearray(path.read_bytes())
    path.write_bytes(bytes(byte ^ 1 for byte in data))
    reply = api.get(at(asleep, "files/content?path=dir/big.bin"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "snapshot_unproven")
    asleep.refresh_from_db()
    assert asleep.snapshot is not None
    assert asleep.snapshot.state_reason.startswith("damaged: pack ")
    assert asleep.snapshot.name in asleep.last_error
    assert asleep.state_generation == 1
    events = asleep.events.filter(data__code="snapshot_damaged")
    assert events.count() == 1
    api.get(at(asleep, "files/content?path=dir/big.bin"))
    assert events.count() == 1


def test_damage_later_ends_the_body_early(api: Client, asleep: Instance, world: World) -> None:
    """The first chunk is right and sent; of the second not a byte is."""
    tree = shelf.take(asleep.snapshot)  # type: ignore[arg-type]
    entry = tree.entry("dir/big.bin")
    assert entry is not None
    assert len(entry.refs) == 2
    second = tree.chunks[entry.refs[1][0]]
    path = world.store_root / tree.packs[second.pack]
    data = bytearray(path.read_bytes())
    data[second.offset + 20] ^= 1
    path.write_bytes(data)
    reply = api.get(at(asleep, "files/content?path=dir/big.bin"))
    assert reply.status_code == 200
    blocks: list[bytes] = []
    with pytest.raises(browse.Damaged):
        blocks.extend(reply)
    sent = b"".join(blocks)
    assert sent == BIG[: len(sent)]
    assert 0 < len(sent) < len(BIG)


def test_a_pack_that_is_gone_is_damage(api: Client, asleep: Instance, world: World) -> None:
    pack_of_big(world, asleep).unlink()
    assert api.get(at(asleep, "files/content?path=dir/big.bin")).status_code == 502


def test_a_store_that_fails_is_no_damage(api: Client, asleep: Instance, world: World) -> None:
    path = pack_of_big(world, asleep)
    path.write_bytes(path.read_bytes()[:100])
    assert api.get(at(asleep, "files/content?path=dir/big.bin")).status_code == 503
    assert not asleep.events.filter(data__code="snapshot_damaged").exists()


def test_a_table_that_is_too_big_is_not_parsed(
    api: Client, asleep: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "MAX_TABLE", 100)
    reply = api.get(at(asleep, "files"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "manifest_too_big")


def test_a_tree_that_is_too_big_is_used_and_not_kept(
    api: Client, asleep: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "MAX_KEPT", 100)
    assert listing(api, at(asleep, "files"))
    assert not shelf._trees


def test_a_tree_is_built_once(api: Client, asleep: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listing(api, at(asleep, "files"))
    monkeypatch.setattr(browse, "_build", lambda snapshot: pytest.fail("built again"))
    assert listing(api, at(asleep, "files?path=dir"))


def test_whoever_finds_no_place_is_asked_to_come_again(
    api: Client, asleep: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FILES", places := files.FILES.__class__(1))
    reply = api.get(at(asleep, "files/content?path=notes.txt"))
    for rest in ("files", "files/content?path=notes.txt"):
        assert api.get(at(asleep, rest)).status_code == 503
    assert b"".join(reply) == b"hello"
    assert api.get(at(asleep, "files/content?path=" + quote("no"))).status_code == 404
    assert api.head(at(asleep, "files/content?path=notes.txt")).status_code == 200
    assert api.get(at(asleep, "files/content?path=dir")).status_code == 409
    assert places.take() is not None


def test_a_gigabyte_is_streamed_in_a_few_megabytes(api: Client, world: World) -> None:
    instance = world.awake()
    with (world.box(instance).workspace / "sparse").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"middle")
    world.run(world.hibernate(instance))
    instance.refresh_from_db()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reply = api.get(at(instance, "files/content?path=sparse"))
    size = sum(len(block) for block in reply)
    assert size == 1 << 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
