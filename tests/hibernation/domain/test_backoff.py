"""Waiting: quick at first, then calm, never longer than the cap."""

from __future__ import annotations

from hibernation.domain.backoff import poll_seconds, retry_seconds


def test_polls_start_quick_and_calm_down() -> None:
    waits = [poll_seconds(n) for n in range(30)]
    assert waits[0] == 0.25
    assert waits == sorted(waits)
    assert waits[-1] == 5.0


def test_retries_double_up_to_the_cap() -> None:
    assert [retry_seconds(n) for n in (0, 1, 2, 5, 6)] == [1, 2, 4, 32, 60]
    assert retry_seconds(3, first=0.5, cap=15) == 4
    assert retry_seconds(3, cap=5) == 5


def test_huge_counts_do_not_overflow() -> None:
    assert retry_seconds(10**6) == 60
    assert poll_seconds(10**6) == 5
