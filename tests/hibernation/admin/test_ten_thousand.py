"""Ten thousand rows in every list: as many queries as for ten, and a page in good time. Prints what it measured."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.hibernation.admin.fleet import make_fleet
from tests.hibernation.admin.pages import listed

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.timeout(600)]
FEW, MANY, LONGEST_MS, LOOKS = 10, 10_000, 1500.0, 3
# What people open: the first page, a later one, another order, one state, a search.
PAGES = [
    *(listed(model) for model in (
        "apitoken", "event", "host", "instance", "machine", "operation", "schedule", "schedulerun", "snapshot",
        "usageinterval",
    )),
    f"{listed('instance')}?p=100",
    f"{listed('instance')}?o=-2",
    f"{listed('instance')}?o=6",
    f"{listed('instance')}?status__exact=idle",
    f"{listed('instance')}?q=work+7",
    f"{listed('event')}?q=fleet_00007",
    f"{listed('event')}?p=1500",
    f"{listed('machine')}?q=fleet-777",
    f"{listed('operation')}?state__exact=running",
    f"{listed('snapshot')}?q=fleet_00007",
    "/admin/hibernation/instance/fleet_5F00007/change/",
    "/api/instances?limit=100",
    "/api/operations?limit=100",
]  # fmt: skip


def look(client: Client, page: str) -> tuple[int, float]:
    """Queries and milliseconds of one look."""
    began = time.perf_counter()
    with CaptureQueriesContext(connection) as seen:
        reply: Any = client.get(page)
    assert reply.status_code == 200, page
    return len(seen), (time.perf_counter() - began) * 1000


def test_every_list_is_as_cheap_with_ten_thousand_rows(
    root: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = User.objects.get()
    make_fleet(range(FEW), owner)
    pages = [page for page in PAGES if "p=" not in page]
    for page in pages:
        look(root, page)
    few = {page: look(root, page)[0] for page in pages}
    make_fleet(range(FEW, MANY), owner)
    seen = {page: [look(root, page) for _ in range(LOOKS)] for page in PAGES}
    queries = {page: looks[-1][0] for page, looks in seen.items()}
    times = {page: statistics.median(ms for _, ms in looks) for page, looks in seen.items()}
    with capsys.disabled():
        print(f"\n{'queries':>7} {'ms':>6}  page, of {MANY} rows")
        for page in PAGES:
            print(f"{queries[page]:>7} {times[page]:>6.0f}  {page}")
    assert {page: queries[page] for page in few} == few
    assert {page: ms for page, ms in times.items() if ms > LONGEST_MS} == {}
