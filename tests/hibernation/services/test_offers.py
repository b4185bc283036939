"""Looking at the market: what the next rental is for, and what is asked of the provider."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hibernation.domain.offers import OfferFilter, Verdict
from hibernation.models import Instance, UsageInterval
from hibernation.services.clock import db_now
from hibernation.services.hosts import remember_verdict
from hibernation.services.offers import look, need_of
from tests.factories import make_instance, make_machine, make_offer, make_pack, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def used(instance: Instance, *hours: float) -> None:
    now = db_now()
    for length in hours:
        UsageInterval.objects.create(
            machine=make_machine(instance, state="destroyed"),
            instance=instance,
            price_per_hour=1,
            started_at=now - timedelta(hours=length),
            ended_at=now,
        )


def test_a_fresh_instance_restores_nothing_and_works_four_hours() -> None:
    need = need_of(make_instance(), None)
    assert (need.restore_gb, need.image_gb, need.upload_gb, need.session_hours) == (0, 0, 0, 4)


@pytest.mark.parametrize(
    ("hours", "guess"), [((2, 4), 3), ((0.1,), 1), ((1000,), 72), ((100, 2, 2, 2, 2, 2), 2)]
)
def test_sessions_are_guessed_from_the_last_ones(hours: tuple[float, ...], guess: float) -> None:
    instance = make_instance()
    used(instance, *hours)
    assert need_of(instance, None).session_hours == pytest.approx(guess)


def test_a_rental_that_goes_on_says_nothing_about_sessions() -> None:
    instance = make_instance()
    used(instance, 10)
    UsageInterval.objects.create(
        machine=make_machine(instance), instance=instance, price_per_hour=1, started_at=db_now()
    )
    assert need_of(instance, None).session_hours == pytest.approx(10)


def test_what_is_stored_is_restored_and_what_snapshots_sent_will_be_sent() -> None:
    instance = make_instance(image="img")
    make_snapshot(instance, bytes_stored_new=4 * 10**9)
    snapshot = make_snapshot(instance, bytes_stored_new=2 * 10**9)
    snapshot.packs.add(make_pack(instance, size=10**9), make_pack(instance, size=2 * 10**9))
    need = need_of(instance, snapshot)
    assert (need.restore_gb, need.image_gb, need.upload_gb) == (3, 5, 3)
    assert need.download_gb == 8


def test_one_search_is_enough_where_something_is_found(world: World) -> None:
    seen = look(make_instance(), None, OfferFilter(gpu_type="RTX 4090"))
    assert (len(seen.offers), seen.widely) == (3, False)
    assert world.provider.calls("search") == ["search"]


def test_looking_widely_tells_each_offer_once(world: World) -> None:
    seen = look(make_instance(), None, OfferFilter(gpu_type="RTX 4090", region="SE"), widely=True)
    assert (len(seen.offers), seen.widely) == (3, True)
    assert len(world.provider.calls("search")) == 3


def test_what_is_remembered_of_the_providers_hosts_comes_along(world: World) -> None:
    remember_verdict(make_offer(2), Verdict.TOO_SLOW, "9 Mbit/s", db_now())
    seen = look(make_instance(), None, OfferFilter())
    assert seen.hosts["host-2"].reason == "9 Mbit/s"
