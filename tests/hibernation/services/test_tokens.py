"""Tokens: a changed one is never believed, and what is stored cannot be used."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from hibernation.domain.errors import DumontError
from hibernation.models import ApiToken, Machine
from hibernation.services.clock import db_now
from hibernation.services.heartbeats import Forbidden
from hibernation.services.snapshots import issue_downloads, issue_uploads
from hibernation.services.tokens import (
    AgentToken,
    create_api_token,
    find_api_token,
    issue_agent_token,
    read_agent_token,
)
from tests.factories import make_instance, make_machine
from tests.hibernation.services.world import World


def signed(machine_id: int = 42, epoch: int = 3) -> str:
    from hibernation.services import tokens

    return f"dma1.{machine_id}.{epoch}.{tokens._signature(machine_id, epoch)}"


def test_a_token_we_signed_is_read() -> None:
    assert read_agent_token(signed()) == AgentToken(42, 3)


@given(st.data())
def test_a_token_with_any_change_is_nobody(data: st.DataObject) -> None:
    raw = signed()
    place = data.draw(st.integers(0, len(raw)))
    kept = data.draw(st.integers(place, min(len(raw), place + 3)))
    changed = raw[:place] + data.draw(st.text(max_size=3)) + raw[kept:]
    assert changed == raw or read_agent_token(changed) is None


@given(st.text(max_size=200))
def test_any_other_text_is_nobody(raw: str) -> None:
    assert read_agent_token(raw) is None


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_signature_does_not_fit_another_machine_or_epoch(machine_id: int, epoch: int) -> None:
    signature = signed().rpartition(".")[2]
    token = read_agent_token(f"dma1.{machine_id}.{epoch}.{signature}")
    assert token is None or (machine_id, epoch) == (42, 3)


@pytest.mark.django_db
def test_a_new_agent_token_raises_the_epoch_and_starts_the_sequence_anew() -> None:
    machine = make_machine(make_instance(), heartbeat_seq=7)
    first, second = issue_agent_token(machine), issue_agent_token(machine)
    assert first != second
    row = Machine.objects.get(pk=machine.pk)
    assert (row.token_epoch, row.heartbeat_seq) == (2, 0)


@pytest.mark.django_db
def test_only_the_hash_of_a_persons_token_is_stored() -> None:
    raw = create_api_token(User.objects.create_user("ana"), "laptop")
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text FROM hibernation_apitoken t")
        [(row,)] = cursor.fetchall()
    assert raw not in row
    assert raw.removeprefix("dmt_") not in row
    assert find_api_token(raw) == ApiToken.objects.get()
    assert ApiToken.objects.get().last_used_at is not None


@pytest.mark.django_db
def test_the_stored_hash_is_no_token() -> None:
    create_api_token(User.objects.create_user("ana"), "laptop")
    digest = ApiToken.objects.get().digest
    assert find_api_token(digest) is None
    assert find_api_token(f"dmt_{digest}") is None


@pytest.mark.django_db
def test_a_token_dies_at_its_time() -> None:
    assert (
        find_api_token(create_api_token(User.objects.create_user("ana"), "t", timedelta(seconds=-1))) is None
    )


@pytest.mark.django_db
def test_a_wake_makes_an_agents_token_anew_and_the_one_before_opens_nothing(world: World) -> None:
    instance = world.asleep()
    before = world.box(instance).token
    with pytest.raises(Forbidden, match="ended"):
        world.beat(instance, 1.0, token=before)
    assert world.run(world.wake(instance)).state == "succeeded"
    after = world.box(instance).token
    assert after != before
    world.beat(instance, 1.0)
    with pytest.raises(Forbidden):
        world.beat(instance, 1.0, token=before)


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["destroying", "destroyed", "lost", "void", "abandoned"])
def test_an_agents_token_opens_nothing_once_its_machine_is_being_ended(world: World, state: str) -> None:
    instance = world.awake()
    ended = {"destroyed_at": db_now()} if state == "destroyed" else {}
    Machine.objects.update(state=state, **ended)
    token = read_agent_token(world.box(instance).token)
    assert token is not None
    with pytest.raises(Forbidden):
        world.beat(instance, 1.0)
    with pytest.raises(DumontError):
        issue_uploads(token, "any", [])
    with pytest.raises(DumontError):
        issue_downloads(token, "any", [])
