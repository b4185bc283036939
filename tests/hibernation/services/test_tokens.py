"""Tokens: a changed one is never believed, and what is stored cannot be used."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from hibernation.models import ApiToken, Machine
from hibernation.services.tokens import (
    AgentToken,
    create_api_token,
    find_api_token,
    issue_agent_token,
    read_agent_token,
)
from tests.factories import make_instance, make_machine


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
