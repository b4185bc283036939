"""Which machines are given back before their work is done, and how hard."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from hibernation.domain.giving_back import LAST, SOON, GivingBack, Pressure, decide, pressures
from hibernation.domain.states import CreditLevel, InstanceStatus
from tests.hibernation.domain.factories import NOON

SECOND = timedelta(seconds=1)
SOFT, HARD, DEAR = Pressure("soft"), Pressure("hard", hard=True), Pressure("dear", saves=False)
G = GivingBack


def pressed(**changes: Any) -> tuple[Pressure, ...]:
    facts: dict[str, Any] = {"ends_at": None, "level": CreditLevel.FINE, "price": None, "max_price": None}
    return pressures(**facts | changes, credit="$1 is left", now=NOON)


def decided(*pressure: Pressure, **changes: Any) -> GivingBack:
    facts: dict[str, Any] = {"is_idle": False, "may_end_busy": True, "save_is_due": True}
    return decide(pressure, **{"status": InstanceStatus.RUNNING} | facts | changes)


def test_a_machine_that_nothing_presses_for_stays() -> None:
    assert pressed() == ()
    assert pressed(ends_at=NOON + SOON + SECOND, price=Decimal("0.5"), max_price=Decimal("0.5")) == ()
    assert decided() is G.NOTHING


@pytest.mark.parametrize(
    ("left", "hard"), [(SOON, False), (LAST + SECOND, False), (LAST, True), (-SOON, True)]
)
def test_a_rental_that_ends_presses(left: timedelta, hard: bool) -> None:
    (found,) = pressed(ends_at=NOON + left)
    assert (found.hard, found.saves) == (hard, True)
    assert "ends in" in found.why


@pytest.mark.parametrize(
    ("level", "hard"), [(CreditLevel.LOW, None), (CreditLevel.FLOOR, False), (CreditLevel.END, True)]
)
def test_credit_that_ends_presses(level: CreditLevel, hard: bool | None) -> None:
    assert [found.hard for found in pressed(level=level)] == ([] if hard is None else [hard])


def test_a_price_above_what_is_allowed_presses_but_saves_nothing() -> None:
    (found,) = pressed(price=Decimal("0.51"), max_price=Decimal("0.5"))
    assert (found.saves, found.hard) == (False, False)
    assert "$0.510/h" in found.why


def test_the_hardest_comes_first() -> None:
    found = pressed(ends_at=NOON, level=CreditLevel.FLOOR, price=Decimal(2), max_price=Decimal(1))
    assert [(one.hard, one.saves) for one in found] == [(True, True), (False, True), (False, False)]


def test_what_works_is_saved_and_what_idles_is_given_back() -> None:
    assert decided(SOFT) is G.SAVE
    assert decided(SOFT, save_is_due=False) is G.NOTHING
    assert decided(DEAR) is G.NOTHING
    assert decided(SOFT, is_idle=True) is decided(DEAR, is_idle=True) is G.WHEN_IDLE


def test_at_the_very_end_what_works_is_given_back_where_that_is_allowed() -> None:
    assert decided(HARD) is G.NOW
    assert decided(HARD, may_end_busy=False) is G.SAVE
    assert decided(HARD, may_end_busy=False, is_idle=True) is G.WHEN_IDLE


@pytest.mark.parametrize(
    "status", [InstanceStatus.HIBERNATING, InstanceStatus.WAKING, InstanceStatus.HIBERNATED]
)
def test_what_is_on_its_way_or_at_rest_is_let_be(status: InstanceStatus) -> None:
    assert decided(HARD, status=status) is G.NOTHING
