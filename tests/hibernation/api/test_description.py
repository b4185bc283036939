"""The published description: whole, true to its own examples, and readable in a browser without anybody else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from jsonschema import Draft202012Validator

from hibernation.api.examples import ANSWERS, WISHES
from tests.hibernation.api.test_health_and_schema import SCHEMA

DESCRIPTION: dict[str, Any] = yaml.safe_load(SCHEMA.read_text())
PAGES = {"docs", "schema", ""}
"""For people; they describe and are not described."""


def calls() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DESCRIPTION["paths"].items():
        for method, call in methods.items():
            yield path, method, call


def examples() -> Iterator[tuple[str, Any, Any]]:
    for path, method, call in calls():
        places = [("sent", call.get("requestBody", {})), *call["responses"].items()]
        for where, place in places:
            for media in place.get("content", {}).values():
                shown = [one["value"] for one in media.get("examples", {}).values()]
                shown += [media["example"]] if "example" in media else []
                for example in shown:
                    yield f"{method} {path} {where}", media["schema"], example


SHOWN = list(examples())


def test_it_is_of_the_version_that_json_schema_is_a_part_of() -> None:
    assert DESCRIPTION["openapi"].startswith("3.1")


@pytest.mark.parametrize(("where", "schema", "example"), SHOWN, ids=[where for where, *_ in SHOWN])
def test_every_example_fits_its_schema(where: str, schema: Any, example: Any) -> None:
    whole = {**schema, "components": DESCRIPTION["components"]}
    assert [error.message for error in Draft202012Validator(whole).iter_errors(example)] == []


def test_every_example_belongs_to_a_call() -> None:
    names = {call["operationId"] for _, _, call in calls()}
    assert {*WISHES, *ANSWERS} <= names


def test_the_main_calls_have_examples_of_what_is_sent_and_told() -> None:
    told = {where.rpartition(" ")[0] for where, *_ in SHOWN}
    for call in (
        "post /api/agent/status",
        "get /api/instances/{id}/status",
        "put /api/instances/{id}/config",
        "post /api/instances/{id}/hibernate",
        "post /api/instances/{id}/wake",
        "put /api/instances/{instance_id}/schedule",
        "get /api/instances/{id}/events",
        "get /api/hibernation/stats",
    ):
        assert call in told


@pytest.mark.parametrize(
    ("path", "method", "call"), list(calls()), ids=[f"{method} {path}" for path, method, _ in calls()]
)
def test_every_call_says_what_it_is_whose_it_is_and_how_it_is_refused(
    path: str, method: str, call: dict[str, Any]
) -> None:
    assert call["summary"]
    assert len(call["tags"]) == 1
    refusals = {status for status in call["responses"] if status >= "400"}
    if {} not in call["security"]:
        assert {"401", "403", "503"} <= refusals
    if "{" in path:
        assert "404" in refusals
    if "requestBody" in call:
        assert {"400", "413"} <= refusals
    for status in refusals:
        assert "$ref" in call["responses"][status]


def test_every_address_of_the_api_is_described() -> None:
    described = {re.sub(r"\{\w+\}", "x", path) for path in DESCRIPTION["paths"]}
    served = {f"/api{path}" for path in addresses("api/") if path.strip("/") not in PAGES}
    assert served - described == set()


def addresses(prefix: str) -> Iterator[str]:
    """Every address below ``prefix``, with ``x`` where it has a part that differs."""
    resolvers = (one for one in get_resolver().url_patterns if isinstance(one, URLResolver))
    (api,) = (one for one in resolvers if str(one.pattern) == prefix)
    yield from (f"/{plain(path)}" for path in flat(api))


def flat(resolver: URLResolver) -> Iterator[str]:
    for one in resolver.url_patterns:
        if isinstance(one, URLPattern):
            yield str(one.pattern)
        else:
            yield from (f"{one.pattern}{path}" for path in flat(one))


def plain(pattern: str) -> str:
    without = re.sub(r"\(\?P<\w+>(?:[^()]|\([^()]*\))*\)|<[^>]+>", "x", pattern)
    return without.replace("^", "").replace("$", "").replace("\\Z", "").replace("\\.", ".")


def test_the_docs_are_a_page_of_our_own_files(client: Client) -> None:
    for address in ("/api/docs", "/api/docs?script="):
        reply = client.get(address, headers={"Accept": "text/html"})
        assert reply.status_code == 200
        text = reply.content.decode()
        assert not re.search(r"https?://|//cdn", text.replace("http://testserver", ""))
    page = client.get("/api/docs").content.decode()
    files = re.findall(r'(?:src|href)="/static/([^"]+)"', page)
    assert len(files) >= 3
    assert all(finders.find(file) for file in files)
    assert "<script>" not in page
