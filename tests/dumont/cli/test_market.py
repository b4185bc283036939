"""Offers: ranked with reasons, and advice where nothing fits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.caching import forget_all
from tests.dumont.cli.conftest import Terminal
from tests.factories import make_hibernated
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_lists() -> Iterator[None]:
    forget_all()
    yield
    forget_all()


def test_offers_are_ranked_with_reasons(terminal: Terminal, world: World) -> None:
    lines = terminal.run("offers", make_hibernated().pk, "--limit", "2").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["1", "2"]
    assert "4 h at $0.1 = $0.40" in lines[1]
    assert lines[3].startswith("2 of 3 that fit")


def test_where_nothing_fits_it_says_what_to_relax(terminal: Terminal, world: World) -> None:
    instance = make_hibernated(gpu_type="RTX 4090")
    shown = terminal.run("offers", instance.pk, "--max-price", "0.05", "--rejected").stdout
    assert shown.startswith("no offer fits (RTX 4090, at most $0.05/h): raise max_price from $0.05 to $0.1")
    assert "RTX 4090  0.2000  costs $0.2/h" in shown


def test_offers_as_json_are_the_apis(terminal: Terminal, world: World) -> None:
    found = terminal.json("offers", make_hibernated().pk, "--region", "PT", "--gpu", "RTX 4090")
    assert found["wish"]["region"] == "PT"
    assert found["fitting"] == 3
