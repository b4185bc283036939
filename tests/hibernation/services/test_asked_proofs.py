"""Proofs on request: made by a tick in slices, with nothing that was found before, and told when done."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from hibernation.domain.errors import Conflict, NotFound, StoreError
from hibernation.models import Event, Instance, Snapshot
from hibernation.services import asked_proofs
from hibernation.services.asked_proofs import PATIENCE, ask_proof, prove_asked
from hibernation.snapshots.verification import Examiner
from tests.factories import make_instance, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def ask(instance: Instance) -> Snapshot:
    assert instance.snapshot is not None
    return ask_proof(instance.pk, instance.snapshot.name, actor="user:ana")


def last_event() -> Event:
    return Event.objects.latest("id")


def test_a_proof_that_was_asked_for_is_made_and_told(world: World) -> None:
    snapshot = ask(world.asleep())
    assert prove_asked() == 1
    snapshot.refresh_from_db()
    assert (snapshot.proof_asked_at, snapshot.proof_asked_by) == (None, "")
    assert snapshot.report["verification"]["rule"] == "sampled"
    event = last_event()
    assert (event.event_type, event.actor, event.snapshot_name) == (
        "snapshot_verified",
        "user:ana",
        snapshot.name,
    )
    assert event.reason.startswith("proven again on request")
    assert prove_asked() == 0


def test_nothing_that_was_found_right_before_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Examiner.prove
    instance = world.asleep()

    def noted(self: Examiner, key: str, *, decode: bool) -> None:
        read.append(key)
        real(self, key, decode=decode)

    monkeypatch.setattr(Examiner, "prove", noted)
    snapshot = ask(instance)
    prove_asked()
    assert sorted(read) == sorted(snapshot.packs.values_list("key", flat=True))


def test_a_slice_that_is_over_goes_on_with_the_next_tick(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(world.asleep())
    monkeypatch.setattr(asked_proofs, "SLICE", timedelta(0))
    assert prove_asked() == 0
    assert Snapshot.objects.filter(proof_asked_at__isnull=False).exists()
    monkeypatch.setattr(asked_proofs, "SLICE", timedelta(seconds=60))
    assert prove_asked() == 1


def test_damage_is_recorded_in_the_name_of_who_asked(world: World) -> None:
    snapshot = ask(world.asleep())
    key = snapshot.packs.values_list("key", flat=True)[0]
    file = next(path for path in world.store_root.rglob("*") if path.is_file() and str(path).endswith(key))
    file.write_bytes(bytes(file.stat().st_size))
    assert prove_asked() == 1
    snapshot.refresh_from_db()
    assert snapshot.damaged_at is not None
    assert (last_event().event_type, last_event().actor) == ("failed", "user:ana")


def test_a_store_that_does_not_answer_is_asked_again_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise StoreError("away")

    ask(world.asleep())
    monkeypatch.setattr(asked_proofs.Prover, "open", away)
    assert prove_asked() == 0
    Snapshot.objects.update(proof_asked_at=F("proof_asked_at") - PATIENCE - timedelta(seconds=1))
    assert prove_asked() == 1
    assert last_event().reason.endswith("could not be proven again: away")


def test_one_that_breaks_keeps_no_other_from_its_proof(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = ask(world.asleep()), ask(world.asleep())
    real = asked_proofs.Prover.open

    def breaks(snapshot: Snapshot) -> Any:
        if snapshot.pk == bad.pk:
            raise ZeroDivisionError
        return real(snapshot)

    monkeypatch.setattr(asked_proofs.Prover, "open", breaks)
    assert prove_asked() == 2
    good.refresh_from_db()
    assert good.report["verification"]["packs"] > 0


def test_asking_twice_is_asking_once(world: World) -> None:
    instance = world.asleep()
    assert ask(instance).proof_asked_at == ask(instance).proof_asked_at


def test_one_that_was_deleted_meanwhile_is_let_be(world: World) -> None:
    snapshot = ask(world.asleep())
    Snapshot.objects.filter(pk=snapshot.pk).update(state="deleted")
    before = Event.objects.count()
    assert prove_asked() == 1
    assert Event.objects.count() == before


def test_only_what_was_proven_is_proven_again() -> None:
    instance = make_instance()
    frozen = make_snapshot(instance, state="frozen")
    with pytest.raises(Conflict, match="frozen"):
        ask_proof(instance.pk, frozen.name, actor="user:ana")
    with pytest.raises(NotFound):
        ask_proof(instance.pk, "none", actor="user:ana")
