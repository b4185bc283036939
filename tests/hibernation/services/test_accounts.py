"""Credit and prices: asked now and then, told once, and what a short account forbids."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from hibernation.domain.errors import CreditTooLow, ProviderUnavailable
from hibernation.domain.states import CreditLevel, Phase
from hibernation.models import Event, Instance, ProviderAccount
from hibernation.providers.base import PriceRise
from hibernation.services.accounts import facts_of_all
from hibernation.services.reconcile import reconcile
from tests.factories import PROVIDER, make_hibernated, make_snapshot
from tests.hibernation.services.world import World, events

pytestmark = pytest.mark.django_db


def account() -> ProviderAccount:
    return ProviderAccount.objects.get(provider=PROVIDER)


def contract(instance: Instance) -> str:
    return instance.machines.get().contract_id or ""


def told() -> list[str]:
    return list(Event.objects.filter(instance=None).order_by("id").values_list("event_type", flat=True))


def credit(world: World, usd: str) -> None:
    """So much is left from now on; nobody waits for the next question."""
    world.provider.credit_left = Decimal(usd)
    ProviderAccount.objects.update(credit_asked_at=None)
    reconcile()


def test_each_crossing_is_told_once(world: World) -> None:
    world.awake()
    for usd in ("10", "3.5", "3.4", "0.5", "0.2", "0.1", "100"):
        credit(world, usd)
        reconcile()
    assert told() == ["credit_low", "credit_low", "credit_low", "credit_restored"]
    assert account().level == CreditLevel.FINE
    assert "enough for" in Event.objects.filter(event_type="credit_low").earliest("id").reason


def test_what_strangers_spend_counts_for_it_is_the_same_credit(world: World) -> None:
    world.provider.rent("somebody's own", Decimal("4"))
    world.provider.rent("somebody's that stands still", Decimal("400"), contract="77")
    world.provider.show("77", phase=Phase.STOPPED)
    credit(world, "10")
    assert account().burn_per_hour == 4
    assert account().level == CreditLevel.LOW
    assert facts_of_all()[0].billing_now_usd_per_hour == 0


def test_what_saving_everything_costs_is_kept(world: World) -> None:
    instance = world.awake()
    instance.snapshot = make_snapshot(instance, bytes_logical=100 * 10**9)
    instance.save()
    world.provider.show(contract(instance), upload_usd_gb=Decimal("0.02"))
    credit(world, "2.5")
    assert account().level == CreditLevel.FLOOR


def test_credit_is_asked_every_few_minutes_and_runs_down_meanwhile(world: World) -> None:
    world.awake()
    credit(world, "3.61")
    assert account().level == CreditLevel.FINE
    world.provider.credit_error = ProviderUnavailable("no answer")
    world.pass_time(130)
    reconcile()
    assert account().level == CreditLevel.LOW


def test_credit_told_long_ago_changes_nothing_any_more(world: World) -> None:
    world.awake()
    credit(world, "5")
    world.provider.credit_error = ProviderUnavailable("no answer")
    world.pass_time(3601)
    reconcile()
    assert account().level == CreditLevel.FINE
    assert facts_of_all()[0].credit_usd is None


def test_a_provider_without_credit_is_never_short(world: World) -> None:
    world.awake()
    reconcile()
    assert (account().level, told()) == (CreditLevel.UNKNOWN, [])


def test_nothing_is_rented_below_the_floor(world: World) -> None:
    world.awake()
    credit(world, "0.5")
    asleep = make_hibernated()
    with pytest.raises(CreditTooLow, match=r"\$0\.50 are left"):
        world.wake(asleep)
    credit(world, "50")
    assert world.wake(asleep).state == "running"


def test_a_list_that_fails_says_so_and_spends_nothing(world: World) -> None:
    instance = world.awake()
    reconcile()
    world.provider.list_error = ProviderUnavailable("maintenance")
    world.pass_time(100)
    reconcile()
    facts = facts_of_all()[0]
    assert facts.list_error == "maintenance"
    assert facts.listed_seconds_ago is not None
    assert facts.listed_seconds_ago >= 100
    assert facts.billing_now_usd_per_hour == pytest.approx(0.3)
    assert events(instance) == []


def test_before_the_first_list_nothing_is_known(world: World) -> None:
    (facts,) = facts_of_all()
    assert (facts.listed_seconds_ago, facts.credit_usd, facts.credit_level) == (None, None, "unknown")


def test_a_price_that_rose_in_the_list_is_told_once(world: World) -> None:
    instance = world.awake(max_price=Decimal("0.35"))
    world.provider.show(contract(instance), price_per_hour=Decimal("0.306"))
    reconcile()
    assert events(instance) == []
    for price in ("0.34", "0.34", "0.36"):
        world.provider.show(contract(instance), price_per_hour=Decimal(price))
        reconcile()
    reasons = list(instance.events.order_by("id").values_list("reason", flat=True))
    assert events(instance) == ["price_rose", "price_rose"]
    assert "more than the $0.350/h allowed" not in reasons[0]
    assert "more than the $0.350/h allowed" in reasons[1]


def test_a_price_that_will_rise_is_told_once(world: World) -> None:
    instance = world.awake()
    since = datetime(2030, 1, 2, tzinfo=UTC)
    world.provider.rises = [
        PriceRise(contract(instance), Decimal("0.4"), since),
        PriceRise("no machine of ours", Decimal(9)),
    ]
    for _ in range(2):
        ProviderAccount.objects.update(prices_asked_at=None)
        reconcile()
    assert events(instance) == ["price_rose"]
    assert "2030-01-02" in instance.events.get().reason
