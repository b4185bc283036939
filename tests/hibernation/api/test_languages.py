"""What the API says is told in the language that is asked for; codes and what is stored are the same in all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from hibernation.domain import idle
from hibernation.domain.facts import Policy
from hibernation.models import Event, Instance
from hibernation.services.clock import db_now
from tests.factories import idle_for, make_instance, make_machine, make_operation, make_snapshot

pytestmark = pytest.mark.django_db
PT = {"Accept-Language": "pt-BR,pt;q=0.9,en;q=0.5"}


def events_of(api: Client, instance: Instance, **headers: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = api.get(f"/api/instances/{instance.pk}/events", headers=headers).json()[
        "events"
    ]
    return rows


def told(instance: Instance, event: str, reason: str) -> None:
    Event.objects.create(instance=instance, event_type=event, timestamp=db_now(), reason=reason)


def test_the_guides_own_sentences_come_out(api: Client) -> None:
    instance, policy = make_instance(), Policy(pause_after=timedelta(minutes=3))
    told(instance, "idle_detected", idle.judge([3.2], policy).why)
    told(instance, "hibernated", idle.for_so_long(policy))
    assert [row["reason"] for row in events_of(api, instance, **PT)] == [
        "GPU ociosa por 3 minutos",
        "GPU utilização < 5.0%",
    ]


def test_one_minute_is_one(api: Client) -> None:
    instance = make_instance()
    told(instance, "hibernated", idle.for_so_long(Policy(pause_after=timedelta(minutes=1))))
    assert events_of(api, instance, **PT)[0]["reason"] == "GPU ociosa por 1 minuto"


@pytest.mark.parametrize("accepted", ["", "en", "de", "en-GB,pt;q=0.5"])
def test_whoever_asks_for_no_portuguese_gets_english(api: Client, accepted: str) -> None:
    instance = make_instance()
    told(instance, "hibernated", "GPU idle for 3 minutes")
    assert events_of(api, instance, **{"Accept-Language": accepted})[0]["reason"] == "GPU idle for 3 minutes"


def test_an_installation_may_speak_portuguese_to_those_who_ask_for_nothing(
    api: Client, settings: Settings
) -> None:
    settings.LANGUAGE_CODE = "pt-br"
    instance = make_instance()
    told(instance, "hibernated", "GPU idle for 3 minutes")
    assert events_of(api, instance)[0]["reason"] == "GPU ociosa por 3 minutos"
    assert events_of(api, instance, **{"Accept-Language": "en"})[0]["reason"] == "GPU idle for 3 minutes"


def test_a_sentence_of_somebody_else_is_told_as_it_is(api: Client) -> None:
    instance = make_instance()
    told(instance, "failed", "hibernation failed: docker: no such {thing} %s")
    assert events_of(api, instance, **PT)[0]["reason"] == "a hibernação falhou: docker: no such {thing} %s"


def test_a_page_of_events_has_a_tag_for_each_language(api: Client) -> None:
    instance = make_instance()
    told(instance, "hibernated", "GPU idle for 3 minutes")
    path = f"/api/instances/{instance.pk}/events"
    english, portuguese = api.get(path), api.get(path, headers=PT)
    assert "Accept-Language" in english["Vary"]
    assert api.get(path, headers=PT | {"If-None-Match": portuguese["ETag"]}).status_code == 304
    assert api.get(path, headers=PT | {"If-None-Match": english["ETag"]}).status_code == 200


def test_a_status_explains_itself(api: Client) -> None:
    instance = make_instance(**idle_for(1))
    make_machine(instance)
    reply = api.get(f"/api/instances/{instance.pk}/status", headers=PT).json()
    assert reply["explanation"].startswith("ociosa desde ")
    assert reply["explanation"].endswith(" s se não voltar a trabalhar")
    assert reply["status"] == "idle"


def test_an_operation_tells_why_what_it_waits_for_and_how_it_failed(api: Client) -> None:
    operation = make_operation(
        make_instance(),
        reason="GPU idle for 3 minutes (threshold 5 %)",
        waiting_for="the workspace is being saved",
        error="the snapshot failed on the machine: disk full",
        error_code="freeze_failed",
    )
    reply = api.get(f"/api/operations/{operation.pk}", headers=PT).json()
    assert reply["reason"] == "GPU ociosa por 3 minutos (limite 5%)"
    assert reply["waiting_for"] == "o workspace está sendo salvo"
    assert reply["error"] == "o snapshot falhou na máquina: disk full"
    assert (reply["error_code"], reply["state"]) == ("freeze_failed", operation.state)


def test_an_error_keeps_its_code(api: Client) -> None:
    reply = api.get("/api/instances/nowhere/status", headers=PT)
    assert reply.status_code == 404
    assert reply.json()["error"] == {"code": "not_found", "message": "Não existe a instância 'nowhere'."}


def test_what_is_wrong_with_a_field_is_told(api: Client) -> None:
    instance = make_instance()
    reply = api.put(
        f"/api/instances/{instance.pk}/config",
        {"nothing": 1},
        content_type="application/json",
        headers=PT,
    )
    error = reply.json()["error"]
    assert (error["code"], error["message"]) == ("invalid", "Alguns campos não são válidos.")
    assert error["fields"]["nothing"] == "Não existe esta configuração."


def test_why_a_snapshot_is_kept_is_told(api: Client) -> None:
    instance = make_instance()
    instance.snapshot = make_snapshot(instance)
    instance.save()
    rows = api.get(f"/api/instances/{instance.pk}/snapshots", headers=PT).json()["snapshots"]
    assert rows[0]["retention"] == {"keep": True, "reason": "a última cópia boa"}


def test_nothing_that_is_stored_changes_with_the_language(api: Client) -> None:
    instance = make_instance()
    make_machine(instance)
    api.put(
        f"/api/instances/{instance.pk}/config",
        {"pause_after_minutes": 7},
        content_type="application/json",
        headers=PT,
    )
    assert Event.objects.filter(instance=instance, reason__startswith="changed: ").exists()
