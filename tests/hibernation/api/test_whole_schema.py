"""Every call of the published description, asked whatever fits it and whatever does not, with rows that ids hit.

Nothing fails inside, no status or shape is undocumented, what does not fit is refused and what fits is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from hibernation.domain.access import Role
from hibernation.domain.states import EventType
from hibernation.models import ApiToken
from hibernation.services.adopt import issue_enrolment
from hibernation.services.clock import db_now
from hibernation.services.teams import default_team
from hibernation.services.tokens import create_api_token
from hibernation.services.transitions import emit
from tests.factories import (
    PROVIDER,
    idle_for,
    make_hibernated,
    make_operation,
    make_schedule,
    make_snapshot,
    make_user,
)
from tests.hibernation.api.test_description import DESCRIPTION
from tests.hibernation.services.world import World

EXAMPLES = 15
CONFIG = SchemathesisConfig.from_dict({"generation": {"deterministic": True, "database": "none"}})
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION, config=CONFIG)
SCHEMA.app = get_wsgi_application()


@dataclass
class Place:
    """What a request finds: ids of rows by the name that the description gives to them, and who may ask."""

    known: dict[str, list[str]]
    tokens: dict[str, str]

    def aim(self, case: schemathesis.Case) -> None:
        """Three of four ids that fit become ids of rows, so that more than 404 is met."""
        if case.meta is not None and case.meta.is_negative_at(ParameterLocation.PATH):
            return
        for name, value in (case.path_parameters or {}).items():
            number = crc32(str(value).encode())
            if name in self.known and number % 4:
                case.path_parameters[name] = self.known[name][number % len(self.known[name])]
        # A request that waits for an operation that nobody runs would take its time.
        if "wait" in (case.query or {}) and isinstance(case.query["wait"], int | float):
            case.query["wait"] = 0

    def token(self, path: str) -> str:
        part = next((part for part in self.tokens if path.startswith(part)), "")
        return self.tokens[part]


@pytest.fixture
def place(world: World, settings: Settings) -> Place:
    awake = world.awake(name="<b>train</b>")
    asleep = world.asleep()
    idle = world.awake(**idle_for(1))
    operation = make_operation(make_hibernated(), kind="wake", step="choose", status_before="hibernated")
    make_schedule(asleep)
    emit(EventType.IDLE_DETECTED, "idle", instance=awake, now=db_now(), actor="agent")
    freezing = world.run(world.hibernate(idle), until="freeze")
    kept = make_snapshot(awake)
    settings.DUMONT_REQUESTS_PER_MINUTE = settings.DUMONT_STRANGERS_PER_MINUTE = 0
    user, team = make_user("ana"), default_team()
    make_user("eva", Role.MEMBER)
    ids = [awake.pk, asleep.pk, idle.pk, operation.instance_id]
    operations = [str(operation.pk), str(freezing.pk)]
    name = asleep.snapshot.name if asleep.snapshot else ""
    enrolment, _ = issue_enrolment(PROVIDER, actor="user:ana", team=team)
    token = create_api_token(user, "test")
    create_api_token(user, "other")
    known = {
        "instance_id": ids,
        "id": [*ids, *operations],
        "name": [name, kept.name],
        "snapshot": [name, kept.name],
        "team_id": [str(team.pk)],
        # Not the one that asks with it: what is revoked opens nothing any more.
        "token_id": [str(ApiToken.objects.get(name="other").pk)],
        "username": ["eva"],
    }
    of_machines = {"/api/agent/": world.box(idle).token, "/api/enrolments/claim": enrolment}
    return Place(known, {**of_machines, "": token})


@pytest.fixture
def one_connection() -> Iterator[None]:
    """As Django's own test client has it: the connection is the test's."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@SCHEMA.parametrize()
@hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
        HealthCheck.too_slow,
    ],
)
def test_every_call_keeps_to_its_description(
    case: schemathesis.Case, place: Place, one_connection: None
) -> None:
    place.aim(case)
    case.call_and_validate(
        headers={"Authorization": f"Bearer {place.token(case.operation.path)}"},
        # What fits may still break a rule that no schema can state, such as that an instance is not awake.
        excluded_checks=[positive_data_acceptance],
    )
