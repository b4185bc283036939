"""``manage.py adopt_instance``."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from hibernation.models import Operation, Team
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def adopt(*options: str) -> str:
    out = StringIO()
    call_command("adopt_instance", "12345", *options, stdout=out)
    return out.getvalue()


def test_a_rental_is_adopted_with_consent(world: World) -> None:
    world.provider.rent("my own", contract="12345")
    with pytest.raises(CommandError, match="may-be-destroyed"):
        adopt()
    assert "fake_12345 is being adopted" in adopt("--may-be-destroyed", "--name", "training")
    operation = Operation.objects.get()
    assert (operation.actor, operation.instance.name) == ("command line", "training")


def test_a_rental_is_adopted_for_a_team(world: World) -> None:
    world.provider.rent("my own", contract="12345")
    Team.objects.create(name="research")
    with pytest.raises(CommandError, match="no team 'x'"):
        adopt("--may-be-destroyed", "--team", "x")
    adopt("--may-be-destroyed", "--team", "research")
    assert Operation.objects.get().instance.team.name == "research"


def test_what_cannot_be_adopted_is_told(world: World) -> None:
    with pytest.raises(CommandError, match="has no machine 12345"):
        adopt("--may-be-destroyed")
