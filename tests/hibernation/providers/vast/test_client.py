"""What goes over the wire, what is repeated and what never is, and that no list is a part of one."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from hibernation.domain.errors import (
    DumontError,
    LaunchDeferred,
    LaunchLeftover,
    NotFound,
    OfferGone,
    ProviderDenied,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.providers.vast.client import VastClient
from tests.hibernation.providers.free_limiter import FreeLimiter
from tests.hibernation.providers.vast.stub import CUT, DROP, KEY, Stub, client_of

pytestmark = pytest.mark.network

OK = {"success": True}
HTML_502 = b"<html>502 Bad Gateway</html>"
ORDER: dict[str, Any] = {"image": "img:1", "env": {"A": "value-of-a-variable"}}


def page(*ids: int, total: int, token: str | None = None) -> dict[str, Any]:
    return {
        "success": True,
        "total_instances": total,
        "next_token": token,
        "instances": [{"id": one} for one in ids],
    }


def create(client: VastClient) -> str:
    return client.create("101", ORDER, who="label", secrets=tuple(ORDER["env"].values()))


def test_every_call_is_sent_as_documented(stub: Stub, client: VastClient, limiter: FreeLimiter) -> None:
    stub.says(OK | {"offers": []}).says(OK | {"new_contract": 555}).says(OK).says(OK).says(OK).says(OK).says(
        OK
    )
    client.search({"limit": 64}, who="q")
    assert create(client) == "555"
    client.destroy("555")
    client.destroy_many(["555", "556"])
    client.set_state("555", "stopped")
    client.set_label("555", "mine")
    client.attach_key("555", "ssh-ed25519 AAAA\n")
    assert stub.calls == [
        "POST /api/v0/bundles/",
        "PUT /api/v0/asks/101/",
        "DELETE /api/v0/instances/555/",
        "DELETE /api/v0/instances/",
        "PUT /api/v0/instances/555/",
        "PUT /api/v0/instances/555/",
        "POST /api/v0/instances/555/ssh/",
    ]
    assert [one.body for one in stub.asked] == [
        {"limit": 64}, ORDER, {}, {"instance_ids": [555, 556]}, {"state": "stopped"}, {"label": "mine"},
        {"ssh_key": "ssh-ed25519 AAAA"},
    ]  # fmt: skip
    assert {one.headers["authorization"] for one in stub.asked} == {f"Bearer {KEY}"}
    calls = [call for call, _, _ in limiter.acquired]
    assert calls == ["search", "create", "destroy", "destroy", "manage", "manage", "attach"]


def test_the_account_and_price_rises_are_read(stub: Stub, client: VastClient) -> None:
    stub.says({"id": 1, "credit": 12.5}).says(OK | {"pending_price_increases": [{"contract_id": 5}]})
    assert client.account()["credit"] == 12.5
    assert client.price_rises() == [{"contract_id": 5}]
    assert stub.calls == ["GET /api/v0/users/current/", "GET /api/v0/instances/pending-price-increases/"]


def test_a_list_follows_every_page(stub: Stub, client: VastClient, limiter: FreeLimiter) -> None:
    stub.says(page(1, 2, total=3, token="t1")).says(page(3, total=3))
    assert [row["id"] for row in client.list_instances()] == [1, 2, 3]
    assert stub.asked[1].query == stub.asked[0].query | {"after_token": "t1"}
    assert stub.asked[0].query == {
        "select_filters": "{}",
        "order_by": '[{"col": "id", "dir": "asc"}]',
        "limit": "25",
    }
    assert [urgent for _, _, urgent in limiter.acquired] == [False, True]


def test_an_account_without_instances_has_an_empty_list(stub: Stub, client: VastClient) -> None:
    stub.says(page(total=0))
    assert client.list_instances() == []


@pytest.mark.parametrize(
    "pages",
    [
        [page(1, 2, total=3)],
        [page(1, 2, total=2, token="t"), page(2, total=3)],
        [page(total=0) | {"total_instances": None}],
        [page(1, total=2, token="t"), page(2, total=2, token="t")],
        [page(1, total=1) | {"next_token": 7}],
        [page(1, total=1) | {"instances": [{"label": "no id"}]}],
        [page(1, total=1) | {"instances": [1]}],
        [page(1, total=1) | {"instances": None}],
        [OK],
    ],
)
def test_a_list_that_does_not_add_up_is_an_error(stub: Stub, client: VastClient, pages: list[Any]) -> None:
    for one in pages:
        stub.says(one)
    with pytest.raises(ProviderUnavailable):
        client.list_instances()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, {"error": "auth_error", "msg": "Invalid user key"}, ProviderDenied),
        (410, {"error": "deprecated_endpoint"}, ProviderError),
        (404, {"error": "not_found"}, ProviderError),
        (429, b"threshold=1.0", RateLimited),
    ],
)
def test_a_list_that_is_refused_is_an_error_at_once(
    stub: Stub, client: VastClient, status: int, body: Any, expected: type
) -> None:
    stub.says(body, status)
    with pytest.raises(DumontError) as failure:
        client.list_instances()
    assert type(failure.value) is expected
    assert len(stub.asked) == 1


def test_a_read_is_tried_three_times(stub: Stub, client: VastClient) -> None:
    stub.says(HTML_502, 502).says(DROP).says(page(1, total=1))
    assert len(client.list_instances()) == 1
    stub.says(CUT).says(b"{", 200).says(b"", 503)
    with pytest.raises(ProviderUnavailable):
        client.list_instances()
    assert len(stub.asked) == 6


def test_a_refusal_for_haste_is_everybodys(stub: Stub, client: VastClient, limiter: FreeLimiter) -> None:
    stub.says({"detail": "API requests too frequent endpoint threshold=3.0"}, 429, Retry_After="5")
    with pytest.raises(RateLimited) as failure:
        client.destroy("5")
    assert limiter.penalties == [("destroy", 5.0, 3.0)]
    assert failure.value.retry_after == 5.0


def test_without_a_permit_nothing_is_sent(stub: Stub, client: VastClient, limiter: FreeLimiter) -> None:
    limiter.refuses = RateLimited("too many", 7.0)
    with pytest.raises(RateLimited):
        client.destroy("5")
    with pytest.raises(LaunchDeferred) as failure:
        create(client)
    assert failure.value.retry_after == 7.0
    limiter.refuses = ProviderUnavailable("no Redis")
    with pytest.raises(ProviderRefused):
        create(client)
    assert stub.asked == []


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, DROP, ProviderUnavailable),
        (200, CUT, ProviderUnavailable),
        (502, HTML_502, ProviderUnavailable),
        (504, b"", ProviderUnavailable),
        (200, b"not json", ProviderUnavailable),
        (200, {"success": True}, ProviderError),
        (200, {"success": False, "msg": "hm"}, ProviderError),
        (307, b"", ProviderError),
        (404, {"error": "invalid_args", "msg": "no_such_ask"}, OfferGone),
        (429, b"Too many requests", LaunchDeferred),
        (400, {"error": "below market", "new_contract": 9}, LaunchLeftover),
    ],
)
def test_a_launch_is_sent_once_whatever_comes_back(
    stub: Stub, client: VastClient, status: int, body: Any, expected: type
) -> None:
    stub.says(body, status, Location=f"{stub.url}/api/v0/asks/101/").says(OK | {"new_contract": 1})
    with pytest.raises(ProviderError) as failure:
        create(client)
    assert type(failure.value) is expected
    assert len(stub.asked) == 1


def test_a_launch_has_a_connection_of_its_own(stub: Stub, client: VastClient) -> None:
    stub.says(page(total=0)).says(OK | {"new_contract": 1}).says(page(total=0)).says(OK | {"new_contract": 2})
    client.list_instances()
    create(client)
    client.list_instances()
    create(client)
    listing, first, again, second = (one.connection for one in stub.asked)
    assert listing == again
    assert len({listing, first, second}) == 3


@pytest.mark.parametrize("answer", [DROP, HTML_502])
def test_what_changes_something_is_sent_once(stub: Stub, client: VastClient, answer: bytes) -> None:
    acts: list[Callable[[], None]] = [
        lambda: client.destroy("5"),
        lambda: client.set_state("5", "running"),
        lambda: client.attach_key("5", "k"),
    ]
    for act in acts:
        stub.says(answer, 502).says(OK)
        with pytest.raises(ProviderUnavailable):
            act()
        stub.answers.clear()
    assert len(stub.asked) == len(acts)


@pytest.mark.parametrize("contract", ["", "5/../6", "x", "-1", "０", "5?a=b"])
def test_what_is_no_id_is_asked_of_nobody(stub: Stub, client: VastClient, contract: str) -> None:
    with pytest.raises(NotFound):
        client.destroy(contract)
    assert stub.asked == []


def test_a_log_is_fetched_once_it_is_there_and_without_the_key(stub: Stub, client: VastClient) -> None:
    stub.says(OK | {"result_url": f"{stub.url}/log?sign=secret-of-a-url"}).says(b"", 404).says(b"line\n\xff")
    assert client.logs("5", 10) == "line\n\ufffd"
    assert stub.asked[0].body == {"tail": "10"}
    assert stub.calls == ["PUT /api/v0/instances/request_logs/5/", "GET /log", "GET /log"]
    assert "authorization" not in stub.asked[1].headers


@pytest.mark.parametrize("found", [{}, {"result_url": 5}, {"result_url": "file:///etc/passwd"}])
def test_a_log_without_an_address_is_an_error(stub: Stub, client: VastClient, found: dict[str, Any]) -> None:
    stub.says(OK | found)
    with pytest.raises(ProviderError):
        client.logs("5", 10)


def test_a_log_that_does_not_come_can_be_asked_for_again(stub: Stub, client: VastClient) -> None:
    stub.says(OK | {"result_url": f"{stub.url}/log"})
    for _ in range(6):
        stub.says(b"", 404)
    with pytest.raises(ProviderUnavailable):
        client.logs("5", 10)


def test_nothing_secret_is_logged_or_raised(
    stub: Stub, client: VastClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = json.dumps([f"Bearer {KEY}", ORDER["env"]])
    failures = []
    stub.says({"error": "invalid_args", "msg": echo}, 400).says({"error": "odd", "msg": echo}, 400)
    stub.says(OK | {"result_url": f"{stub.url}/log?sign=secret-of-a-url"}).says(DROP)
    for act in (lambda: create(client), lambda: create(client), lambda: client.logs("5", 1)):
        try:
            act()
        except DumontError as error:
            failures.append("".join(traceback.format_exception(error)) + repr(error))
    assert len(failures) == 3
    said = caplog.text + "".join(failures) + repr(client)
    for secret in (KEY, "value-of-a-variable", "secret-of-a-url"):
        assert secret not in said


def test_nobody_there_is_unavailable(limiter: FreeLimiter) -> None:
    with client_of("http://127.0.0.1:9", limiter) as client:
        with pytest.raises(ProviderUnavailable, match="create got no answer"):
            create(client)
        with pytest.raises(ProviderUnavailable):
            client.list_instances()
