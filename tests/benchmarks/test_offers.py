"""The benchmark of the ranking runs; its figures mean nothing here."""

from __future__ import annotations

import pytest

from benchmarks import offers


def test_every_line_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["offers", "--offers", "60", "--rounds", "1"])
    offers.main()
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("60 offers")
    assert len(told) == 6
