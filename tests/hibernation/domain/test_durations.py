"""Durations in words; the rest of the pacing is tested through the steps."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hibernation.domain.durations import in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (12.7, "12 s"), (61, "1 min"), (7199, "119 min"), (7200, "2 h"), (90000, "25 h")],
)
def test_a_duration_is_said_in_words(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words
