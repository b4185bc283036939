"""Data keys: wrapped, unwrapped, refused, rotated; and that a rotation costs no pack and no snapshot."""

from __future__ import annotations

import pytest
from django.core.checks import Error, run_checks
from django.core.management import CommandError, call_command
from pytest_django import DjangoDbBlocker, Settings

from hibernation.checks import check_wrapping_keys
from hibernation.domain.states import OperationState
from hibernation.models import Instance, Pack, Snapshot, WorkspaceKey
from hibernation.services.instances import configure
from hibernation.services.keys import (
    KeyUnavailable,
    current_key,
    fingerprint,
    keys_of,
    rewrap_all,
    wrapping_keys_in_use,
)
from tests.factories import make_instance
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
OLD, NEW = bytes(32), bytes(range(32))


@pytest.fixture(autouse=True)
def _old_key(settings: Settings) -> None:
    settings.DUMONT_ENCRYPTION_KEYS = [OLD]


def test_a_key_is_made_once_and_gives_the_same_two_keys_each_time() -> None:
    instance = make_instance()
    key = current_key(instance)
    assert current_key(instance) == key
    first, again = keys_of(key), keys_of(WorkspaceKey.objects.get())
    assert (first.id, first.cipher) == (again.id, again.cipher)
    assert first.id != first.cipher


def test_no_two_workspaces_share_a_key() -> None:
    one, other = keys_of(current_key(make_instance())), keys_of(current_key(make_instance()))
    assert len({one.id, other.id, one.cipher, other.cipher}) == 4


def test_what_is_stored_is_not_the_key() -> None:
    key = current_key(make_instance())
    assert len(bytes(key.wrapped)) == 12 + 32 + 16
    assert keys_of(key).id not in bytes(key.wrapped)


def test_without_the_wrapping_key_it_is_said_which_one_is_missing_and_what_to_do(settings: Settings) -> None:
    key = current_key(make_instance())
    settings.DUMONT_ENCRYPTION_KEYS = [NEW]
    with pytest.raises(KeyUnavailable, match=rf"{fingerprint(OLD)}.*Add that key after the first one"):
        keys_of(key)


def test_a_damaged_key_is_refused() -> None:
    key = current_key(make_instance())
    wrapped = bytearray(key.wrapped)
    wrapped[20] ^= 1
    key.wrapped = bytes(wrapped)
    with pytest.raises(KeyUnavailable, match="damaged"):
        keys_of(key)


def test_a_key_does_not_pass_for_another_workspaces() -> None:
    key, other = current_key(make_instance()), current_key(make_instance())
    key.wrapped = other.wrapped
    with pytest.raises(KeyUnavailable, match="damaged"):
        keys_of(key)


def test_a_rotation_wraps_every_key_once(settings: Settings) -> None:
    before = [keys_of(current_key(make_instance())).id for _ in range(3)]
    settings.DUMONT_ENCRYPTION_KEYS = [NEW, OLD]
    assert (rewrap_all(), rewrap_all()) == (3, 0)
    settings.DUMONT_ENCRYPTION_KEYS = [NEW]
    assert [keys_of(key).id for key in WorkspaceKey.objects.order_by("pk")] == before
    assert wrapping_keys_in_use() == {fingerprint(NEW): 3}


def test_a_rotation_without_the_old_key_stops_and_changes_nothing_more(settings: Settings) -> None:
    key = current_key(make_instance())
    settings.DUMONT_ENCRYPTION_KEYS = [NEW]
    with pytest.raises(KeyUnavailable):
        rewrap_all()
    settings.DUMONT_ENCRYPTION_KEYS = [OLD]
    keys_of(WorkspaceKey.objects.get(pk=key.pk))


def test_a_snapshot_from_before_a_rotation_wakes_after_it(world: World, settings: Settings) -> None:
    instance = world.asleep()
    packs = list(Pack.objects.order_by("pk").values())
    stored = {path: path.read_bytes() for path in world.store_root.rglob("*") if path.is_file()}
    settings.DUMONT_ENCRYPTION_KEYS = [NEW, OLD]
    rewrap_all()
    settings.DUMONT_ENCRYPTION_KEYS = [NEW]
    done = world.run(world.wake(instance))
    assert done.state == OperationState.SUCCEEDED, done.error
    assert (world.box(instance).workspace / "notes.txt").read_text() == "hello"
    assert list(Pack.objects.order_by("pk").values()) == packs
    assert {path: path.read_bytes() for path in stored} == stored


def _stop(world: World, instance: Instance) -> Snapshot:
    """Hibernate as far as a proven snapshot, and stay awake."""
    operation = world.run(world.hibernate(instance), until="fence")
    operation.cancel_reason = "superseded"
    operation.save()
    world.run(operation)
    snapshot = Snapshot.objects.latest("pk")
    assert snapshot.state == "verified"
    instance.refresh_from_db()
    return snapshot


def test_switching_encryption_makes_a_new_key_and_everything_is_sent_again(world: World) -> None:
    instance = world.awake()
    sealed = _stop(world, instance)
    same = _stop(world, instance)
    configure(instance.pk, {"encryption_enabled": False}, actor="user:ana")
    clear = _stop(world, instance)
    configure(instance.pk, {"encryption_enabled": True}, actor="user:ana")
    again = _stop(world, instance)
    assert sealed.key == same.key
    assert [s.key.encrypts for s in (sealed, clear, again)] == [True, False, True]
    assert len({s.key_id for s in (sealed, clear, again)}) == 3
    packs = [set(s.packs.values_list("pk", flat=True)) for s in (sealed, same, clear, again)]
    assert packs[0] == packs[1]
    assert not packs[0] & packs[2]
    assert not packs[3] & (packs[0] | packs[2])
    assert keys_of(clear.key).cipher is None


def test_the_command_rotates_and_says_when_the_old_key_may_go(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    current_key(make_instance())
    settings.DUMONT_ENCRYPTION_KEYS = [NEW, OLD]
    call_command("rotate_keys")
    said = capsys.readouterr().out
    assert f"1 data keys were wrapped anew; the key {fingerprint(NEW)} wraps all" in said
    assert f"The key {fingerprint(OLD)} wraps none any more. Remove it" in said


def test_the_command_says_which_key_it_lacks(settings: Settings) -> None:
    current_key(make_instance())
    settings.DUMONT_ENCRYPTION_KEYS = [NEW]
    with pytest.raises(CommandError, match=fingerprint(OLD)):
        call_command("rotate_keys")


def test_the_check_names_the_key_that_is_missing(settings: Settings) -> None:
    current_key(make_instance())
    assert run_checks(databases=["default"], tags=["database"]) == []
    settings.DUMONT_ENCRYPTION_KEYS = [NEW]
    (found,) = run_checks(databases=["default"], tags=["database"])
    assert isinstance(found, Error)
    assert found.id == "hibernation.E001"
    assert f"1 data keys of workspaces are wrapped by the key {fingerprint(OLD)}" in found.msg


def test_the_check_leaves_the_database_alone_unless_asked(django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.block():
        assert check_wrapping_keys() == []


def test_the_check_waits_for_the_first_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkspaceKey._meta, "db_table", "not_there_yet")
    assert check_wrapping_keys(databases=["default"]) == []
