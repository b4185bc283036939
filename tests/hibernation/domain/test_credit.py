"""How long the credit lasts: each level begins where it should and does not flicker."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hibernation.domain.credit import Account, hours_left, in_a_sentence, is_short, is_worse, level_of
from hibernation.domain.states import CreditLevel

L = CreditLevel


def account(credit: str | None, burn: str = "1", saving: str = "0") -> Account:
    return Account(None if credit is None else Decimal(credit), Decimal(burn), Decimal(saving))


EACH = [
    ("12.01", L.FINE),
    ("12", L.LOW),
    ("2.01", L.LOW),
    ("2", L.FLOOR),
    ("0.76", L.FLOOR),
    ("0.75", L.END),
    ("-3", L.END),
]
EASED = [
    ("2.1", L.FLOOR, L.FLOOR),
    ("2.5", L.FLOOR, L.LOW),
    ("12.5", L.LOW, L.LOW),
    ("15", L.END, L.FINE),
    ("2.1", L.END, L.FLOOR),
]


@pytest.mark.parametrize(("credit", "level"), EACH)
def test_each_level_begins_at_so_many_hours(credit: str, level: L) -> None:
    assert level_of(account(credit), L.FINE) is level


def test_what_saving_everything_costs_is_kept_for_it() -> None:
    assert level_of(account("5", saving="3.5"), L.FINE) is L.FLOOR
    assert level_of(account("5", saving="4.5"), L.FINE) is L.END


def test_where_nothing_bills_only_an_empty_account_is_short() -> None:
    assert level_of(account("0.01", "0"), L.FINE) is L.FINE
    assert level_of(account("0", "0"), L.FINE) is L.FLOOR


def test_a_provider_that_tells_no_credit_is_never_short() -> None:
    assert level_of(account(None), L.END) is L.UNKNOWN
    assert hours_left(account(None)) is None
    assert not is_short(L.UNKNOWN)


@pytest.mark.parametrize(("credit", "before", "after"), EASED)
def test_a_level_ends_only_with_some_to_spare(credit: str, before: L, after: L) -> None:
    assert level_of(account(credit), before) is after


@pytest.mark.parametrize(("level", "before"), [(L.LOW, L.FINE), (L.END, L.LOW), (L.FLOOR, L.UNKNOWN)])
def test_getting_worse_than_fine_is_told(level: L, before: L) -> None:
    assert is_worse(level, before)


@pytest.mark.parametrize(("level", "before"), [(L.FINE, L.UNKNOWN), (L.LOW, L.FLOOR), (L.LOW, L.LOW)])
def test_getting_better_or_staying_is_not(level: L, before: L) -> None:
    assert not is_worse(level, before)


def test_a_sentence_says_how_long_it_lasts() -> None:
    assert in_a_sentence("vast", account("3", "0.5")) == "$3.00 are left with vast, enough for 6 h at $0.50/h"
    assert in_a_sentence("vast", account("3", "0")) == "$3.00 are left with vast"
