"""One real machine of the local provider, reached over SSH, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hibernation.box.ssh import Box
from hibernation.providers.base import RentedMachine
from hibernation.providers.local import LocalProvider
from tests.hibernation.providers.renting import box_of, make_key, running, spec


@dataclass(frozen=True, slots=True)
class Rental:
    provider: LocalProvider
    machine: RentedMachine
    key_file: Path
    box: Box


@pytest.fixture(scope="module")
def rental(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rental]:
    folder = tmp_path_factory.mktemp("rental")
    provider, key_file = LocalProvider(folder / "local"), make_key(folder)
    try:
        machine = running(provider, provider.launch(spec(provider, key_file)))
        yield Rental(provider, machine, key_file, box_of(machine, key_file))
    finally:
        provider.destroy_all()


@pytest.fixture(scope="module")
def box(rental: Rental) -> Box:
    return rental.box
