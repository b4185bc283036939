"""Settings, whatever is sent: taken whole and shown as they were sent, or refused and nothing changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hibernation.api.serializers import ConfigSerializer
from hibernation.models import Instance
from tests.factories import make_instance

pytestmark = pytest.mark.django_db
FIELDS = sorted(ConfigSerializer().fields)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
LIKELY = st.integers(-1, 1001) | st.floats(0, 100) | st.booleans() | st.lists(st.text(max_size=9), max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), LIKELY | JSON, max_size=4))
def test_any_settings_are_taken_whole_or_not_at_all(api: Client, change: dict[str, Any]) -> None:
    instance = Instance.objects.first() or make_instance()
    path = f"/api/instances/{instance.pk}/config"
    before = api.get(path).json()
    reply = api.put(path, json.dumps(change), content_type="application/json")
    after = api.get(path).json()
    if reply.status_code == 200:
        assert reply.json() == after
        others = set(before) - set(change) - _moved_by(change)
        assert {name: after[name] for name in others} == {name: before[name] for name in others}
    else:
        assert reply.status_code == 400
        assert after == before


def _moved_by(change: dict[str, Any]) -> set[str]:
    """Variables are sent whole and shown by name."""
    return {"env_names"} if "env" in change else set()
