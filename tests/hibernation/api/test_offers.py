"""``GET /api/offers``: the ranking, its reasons, and what to relax."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from redis.exceptions import ConnectionError as NoRedis

from hibernation.domain.errors import ProviderUnavailable
from hibernation.domain.offers import Verdict
from hibernation.models import Snapshot
from hibernation.services import forgettable
from hibernation.services.clock import db_now
from hibernation.services.hosts import remember_verdict
from hibernation.services.offers import PEOPLE_A_MINUTE
from tests.caching import forget_all
from tests.factories import make_instance, make_offer, make_pack, make_snapshot
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_lists() -> Iterator[None]:
    forget_all()
    yield
    forget_all()


def ask(api: Client, **question: Any) -> dict[str, Any]:
    reply = api.get("/api/offers", question)
    assert reply.status_code == 200, reply.content
    answer: dict[str, Any] = reply.json()
    return answer


def test_the_ranking_says_what_each_offer_costs_and_why(api: Client, world: World) -> None:
    answer = ask(api)
    assert (answer["provider"], answer["fitting"], answer["advice"]) == ("fake", 3, None)
    assert [one["offer"]["offer_id"] for one in answer["offers"]] == ["offer-1", "offer-2", "offer-3"]
    first = answer["offers"][0]
    assert (first["rank"], first["offer"]["price_usd_per_hour"]) == (1, "0.1000")
    assert first["expected_cost_usd"] == "0.4025"
    assert first["expected_usable_seconds"] == 90
    assert "4 h at $0.1 = $0.40" in first["reasons"]


def test_an_instance_is_asked_for_with_its_wish_and_what_it_would_restore(api: Client, world: World) -> None:
    instance = make_instance(gpu_type="RTX 4090", max_price=Decimal("0.25"), image="img")
    snapshot = make_snapshot(instance, bytes_logical=99 * 10**9, bytes_stored_new=10**9)
    snapshot.packs.add(make_pack(instance, size=30 * 10**9))
    instance.snapshot = Snapshot.objects.get()
    instance.save()
    world.provider.offers = [make_offer(n, disk_gb=100 + n) for n in range(8, 11)]
    world.provider.offers += [
        make_offer(1, download_usd_gb=Decimal("0.01"), disk_gb=200),
        make_offer(2, disk_gb=200),
    ]
    answer = ask(api, instance=instance.pk)
    assert answer["need"] == {"restore_gb": 30, "image_gb": 5, "upload_gb": 1, "session_hours": 4}
    assert answer["wish"]["disk_gb"] == 109
    assert answer["wish"]["max_price_usd_per_hour"] == "0.2500"
    assert [one["offer"]["offer_id"] for one in answer["offers"]] == ["offer-1", "offer-2"]
    assert answer["rejected_by"] == {"max_price": 3, "disk_gb": 1}
    assert answer["rejected"][0]["why"] == "costs $0.9/h"
    assert ask(api, instance=instance.pk, max_price="2", region="PT")["fitting"] == 4


def test_a_host_that_failed_is_shown_as_avoided(api: Client, world: World) -> None:
    remember_verdict(make_offer(1), Verdict.FAILED, "never answered", db_now())
    answer = ask(api)
    assert answer["rejected_by"] == {"host": 1}
    assert "never answered" in answer["rejected"][0]["why"]


def test_where_nothing_fits_it_says_what_to_relax_and_the_price(api: Client, world: World) -> None:
    answer = ask(api, max_price="0.05")
    assert (answer["fitting"], answer["offers"]) == (0, [])
    (one,) = answer["advice"]["relaxations"]
    assert (one["constraint"], one["to"], one["offer"]["offer_id"]) == ("max_price", "0.1", "offer-1")
    assert "raise max_price from $0.05 to $0.1 an hour" in answer["advice"]["sentence"]


def test_lists_are_cut_and_counts_are_not(api: Client, world: World) -> None:
    answer = ask(api, limit=1, max_price="0.2")
    assert (len(answer["offers"]), answer["fitting"]) == (1, 2)
    assert (len(answer["rejected"]), answer["rejected_by"]) == (1, {"max_price": 1})


def test_a_page_that_is_reloaded_does_not_search_again_and_a_wake_does(api: Client, world: World) -> None:
    ask(api)
    searched = len(world.provider.calls("search"))
    ask(api)
    assert len(world.provider.calls("search")) == searched
    world.run(world.wake(world.asleep()), until="launch")
    assert len(world.provider.calls("search")) == 1


def test_many_different_questions_are_put_off_before_the_wakes_are(
    api: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.provider, "lists_cost", True)
    replies = [api.get("/api/offers", {"disk_gb": size}) for size in range(20, 40)]
    assert replies[0].status_code == 200
    assert (replies[-1].status_code, replies[-1].json()["error"]["code"]) == (429, "throttled")
    assert replies[-1].headers["Retry-After"] == "60"
    assert len(world.provider.calls("search")) <= 2 * PEOPLE_A_MINUTE
    world.run(world.wake(world.asleep()), until="launch")


def test_without_redis_lists_are_not_kept_and_nobody_is_refused(
    api: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> None:
        raise NoRedis

    monkeypatch.setattr(forgettable, "_failed_at", -math.inf)
    monkeypatch.setattr(forgettable.cache, "get", fails)
    ask(api)
    searched = len(world.provider.calls("search"))
    ask(api)
    assert len(world.provider.calls("search")) == 2 * searched


@pytest.mark.parametrize(
    "question",
    [
        {"region": "Europe"},
        {"max_price": "cheap"},
        {"disk_gb": "0"},
        {"limit": "201"},
        {"gpu": "RTX 4090"},
        {"instance": "x", "provider": "fake"},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    api: Client, world: World, question: dict[str, str]
) -> None:
    assert api.get("/api/offers", question).status_code == 400
    assert not world.provider.calls("search")


def test_what_does_not_exist_is_not_found(api: Client, world: World) -> None:
    assert api.get("/api/offers", {"instance": "nobody"}).status_code == 404
    assert api.get("/api/offers", {"provider": "nobody"}).status_code == 404


def test_a_provider_that_does_not_answer_is_told_and_not_remembered(
    api: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(want: object) -> None:
        raise ProviderUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(world.provider, "search_offers", fail)
        reply = api.get("/api/offers")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "provider_unavailable")
    assert ask(api)["fitting"] == 3


def test_it_needs_a_token(world: World) -> None:
    assert Client().get("/api/offers").status_code in (401, 403)


def test_many_offers_cost_no_more_queries(
    api: Client, world: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    instance = make_instance()
    world.provider.offers = [make_offer(n) for n in range(1, 100)]
    with django_assert_max_num_queries(12):
        ask(api, instance=instance.pk, limit=100)
