"""The settings page: the API's rules, and only what a person changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from hibernation.admin.instance_settings import SettingsForm
from hibernation.models import Event, Instance
from hibernation.services.orders import environment_of
from tests.factories import make_instance
from tests.hibernation.admin.pages import settings_of, text_of

pytestmark = pytest.mark.django_db


def filled(instance: Instance) -> dict[str, Any]:
    """What a browser sends of an untouched page."""
    form, sent = SettingsForm(instance), {}
    for field in form:
        value = field.initial
        for name in (field.html_name, field.html_initial_name):
            if value is True:
                sent[name] = "on" if name == field.html_name else "True"
            elif value is not None and value is not False:
                sent[name] = str(value).replace("\n", "\r\n")
    return sent


def change(client: Client, instance: Instance, **more: Any) -> Any:
    return client.post(settings_of(instance), {**filled(instance), **more}, follow=True)


def test_a_setting_is_changed_and_told(root: Client) -> None:
    instance = make_instance()
    assert "Changed: pause_after." in text_of(change(root, instance, pause_after_minutes="7"))
    instance.refresh_from_db()
    assert instance.pause_after == timedelta(minutes=7)
    event = Event.objects.get()
    assert (event.event_type, event.actor, list(event.data)) == (
        "config_changed",
        "user:root",
        ["pause_after"],
    )


def test_an_untouched_page_changes_nothing(root: Client) -> None:
    instance = make_instance(ignore_rules="a\nb", ports=[80, 443], onstart="echo 1\necho 2", name=" x")
    assert "Nothing was changed." in text_of(change(root, instance))
    assert not Event.objects.exists()


def test_what_others_changed_meanwhile_stays(root: Client) -> None:
    instance = make_instance()
    sent = filled(instance)
    Instance.objects.update(keep_last=9)
    root.post(settings_of(instance), {**sent, "keep_daily": "2"})
    instance.refresh_from_db()
    assert (instance.keep_last, instance.keep_daily) == (9, 2)


def test_a_box_that_is_unticked_is_off(root: Client) -> None:
    instance = make_instance()
    sent = filled(instance)
    del sent["auto_hibernation_enabled"]
    root.post(settings_of(instance), sent)
    instance.refresh_from_db()
    assert not instance.auto_hibernation_enabled


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"gpu_usage_threshold": "0"}, "greater than or equal to 0.01"),
        ({"pause_after_minutes": "0.5"}, "greater than or equal to 1"),
        ({"gpu_usage_threshold": "much"}, "Enter a number"),
        ({"ports": "80, http"}, "A valid integer is required"),
        ({"ports": "80 80"}, "different numbers"),
        ({"env": "1BAD=x"}, "cannot be the name of a variable"),
        ({"keep_last": "0"}, "greater than or equal to 1"),
    ],
)
def test_what_the_api_refuses_is_refused(root: Client, wish: dict[str, str], told: str) -> None:
    instance = make_instance()
    reply = change(root, instance, **wish)
    assert told in text_of(reply)
    assert not Event.objects.exists()


def test_variables_are_written_and_never_read(root: Client) -> None:
    instance = make_instance()
    change(root, instance, env="TOKEN=s3cret=1\r\nMODE=fast")
    instance.refresh_from_db()
    assert environment_of(instance) == {"TOKEN": "s3cret=1", "MODE": "fast"}
    page = root.get(settings_of(instance)).content.decode()
    assert "MODE, TOKEN" in page
    assert "s3cret" not in page
    assert "s3cret" not in str(Event.objects.get().data)
    change(root, instance, forget_env="on")
    instance.refresh_from_db()
    assert instance.env_names == []


def test_lists_of_lines_and_numbers_arrive_as_such(root: Client) -> None:
    instance = make_instance(snapshot_interval=timedelta(minutes=30))
    change(root, instance, ports="8080, 22", ignore_rules="*.tmp\r\ncache/", snapshot_interval_minutes="")
    instance.refresh_from_db()
    assert (instance.ports, instance.ignore_rules) == ([8080, 22], "*.tmp\ncache/")
    assert instance.snapshot_interval is None
