"""An instance's page: what it says, and that nothing people or machines supply is taken for markup."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from hibernation.models import Event, Instance
from hibernation.services.clock import db_now
from tests.factories import (
    idle_for,
    make_hibernated,
    make_instance,
    make_machine,
    make_operation,
    make_schedule,
)
from tests.hibernation.admin.pages import listed, order_of, page_of, text_of

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>"


def awake(**more: object) -> Instance:
    instance = make_instance(**more)
    make_machine(instance)
    return instance


def test_a_list_tells_how_each_stands(root: Client) -> None:
    awake(**idle_for(1), name="training")
    told = text_of(root.get(listed("instance")))
    for words in (
        "training",
        "idle",
        "heard 0 s ago",
        "GPU 0 %",
        "hibernates in 119 s",
        "$0.300/h",
        "RTX 4090 PT",
    ):
        assert words in told


def test_a_list_tells_what_goes_on_with_bytes_and_time(root: Client) -> None:
    instance = awake()
    progress = {"bytes_done": 5 << 30, "bytes_total": 10 << 30, "rate_bps": 1 << 20, "eta_seconds": 600}
    make_operation(instance, step="freeze", progress=progress)
    reply = root.get(listed("instance"))
    assert "hibernate: freeze, 5.0 GB of 10.0 GB, 1.0 MB/s, 10 min left" in text_of(reply)
    assert "<progress" in reply.content.decode()


def test_a_silent_agent_is_told(root: Client) -> None:
    awake(last_heartbeat_at=db_now() - timedelta(hours=3))
    assert "heard 3 h 0 min ago" in text_of(root.get(listed("instance")))
    Instance.objects.update(last_heartbeat_at=None)
    assert "never heard" in text_of(root.get(listed("instance")))


def test_the_page_explains_and_offers_what_makes_sense(root: Client) -> None:
    instance = awake(gpu_utilization=91.0)
    reply = root.get(page_of(instance))
    assert "GPU use 91.0 %" in text_of(reply)
    page = reply.content.decode()
    assert order_of(instance, "hibernate") in page
    assert order_of(instance, "save") in page
    assert order_of(instance, "wake") not in page
    asleep = make_hibernated()
    assert order_of(asleep, "wake") in root.get(page_of(asleep)).content.decode()


def test_the_page_shows_the_operation_its_steps_and_the_way_out(root: Client) -> None:
    instance = awake()
    operation = make_operation(instance, step="verify")
    operation.steps.create(step="quiesce", entered_at=db_now(), finished_at=db_now(), waits=3)
    reply = root.get(page_of(instance))
    assert "verify" in text_of(reply)
    assert "so far" in text_of(reply)
    assert f"operation/{operation.pk}/cancel/" in reply.content.decode()


def test_past_the_point_of_no_return_nothing_can_be_cancelled(root: Client) -> None:
    instance = make_hibernated()
    operation = make_operation(instance, snapshot=instance.snapshot, point_of_no_return_at=db_now())
    assert f"operation/{operation.pk}/cancel/" not in root.get(page_of(instance)).content.decode()


def test_a_page_renews_itself_without_scripts_too(root: Client) -> None:
    instance = awake()
    assert (
        '<noscript><meta http-equiv="refresh" content="15">' in root.get(page_of(instance)).content.decode()
    )
    make_operation(instance)
    assert '<noscript><meta http-equiv="refresh" content="3">' in root.get(page_of(instance)).content.decode()


def test_the_page_tells_the_schedule(root: Client) -> None:
    instance = awake()
    make_schedule(instance)
    told = text_of(root.get(page_of(instance)))
    assert "09:00 UTC wake" in told
    assert "18:00 UTC sleep" in told


def test_who_may_only_look_sees_no_button(guest: Client) -> None:
    instance = awake()
    make_operation(instance)
    page = guest.get(page_of(instance)).content.decode()
    assert "order/" not in page
    assert "/settings/" not in page
    assert "cancel/" not in page


def test_an_operations_page_tells_steps_and_error(root: Client) -> None:
    operation = make_operation(make_instance(), waiting_for="the machine to boot")
    operation.steps.create(step="quiesce", entered_at=db_now(), finished_at=db_now())
    path = f"{listed('operation')}{operation.pk}/change/"
    assert "Waits: the machine to boot." in text_of(root.get(path))
    operation.state, operation.finished_at, operation.error = "failed", db_now(), "it broke"
    operation.save()
    reply = root.get(path)
    assert "it broke" in text_of(reply)
    assert "refresh" not in reply.content.decode().split("<body")[0]


@pytest.mark.parametrize("path", ["list", "page", "order", "operation", "events", "machines"])
def test_what_machines_and_people_say_is_never_markup(root: Client, path: str) -> None:
    instance = make_instance(name=EVIL, last_error=EVIL)
    machine = make_machine(
        instance, gpu_type=EVIL, region=EVIL, contract_id=EVIL, provider="runpod", label=EVIL
    )
    operation = make_operation(
        instance, machine=machine, reason=EVIL, waiting_for=EVIL, actor=EVIL, progress={"bytes_total": EVIL}
    )
    Event.objects.create(instance=instance, event_type="woke", timestamp=db_now(), reason=EVIL, actor=EVIL)
    address = {
        "list": listed("instance"),
        "page": page_of(instance),
        "order": order_of(instance, "hibernate"),
        "operation": f"{listed('operation')}{operation.pk}/change/",
        "events": listed("event"),
        "machines": listed("machine"),
    }[path]
    page = root.get(address).content.decode()
    assert "alert(1)" in page
    assert EVIL not in page
