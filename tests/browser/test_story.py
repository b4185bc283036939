"""A person at the console of a real Dumont: web, beat, workers, and machines that are really rented and ended."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dumont.demo.host import INSTANCE, Host, reserved
from dumont.demo.markets import market_named
from dumont.demo.prepare import USER
from tests.browser.conftest import SHOT, log_in

pytestmark = [pytest.mark.network, pytest.mark.timeout(480)]
PASSWORD = "correct horse battery"
AN_OPERATION = 150_000


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Host]:
    """With one instance awake, on a machine that works."""
    state = tmp_path_factory.mktemp("dumont")
    with reserved(state), Host(state, market_named("local", state), 3600, PASSWORD) as host:
        client = host.start().client
        client.post(f"/api/instances/{INSTANCE}/wake", {})
        deadline = time.monotonic() + AN_OPERATION / 1000
        while (status := client.get(f"/api/instances/{INSTANCE}/status"))["status"] not in (
            "running",
            "idle",
        ):
            assert time.monotonic() < deadline, status
            time.sleep(0.5)
        contract = status["machine"]["contract_id"]
        host.use_gpu(contract, 91)
        (host.workspace(contract) / "model.bin").write_bytes(bytes(range(256)) * 40_000)
        yield host


def wait_for(page: Any, status: str) -> None:
    """The page renews itself; nobody reloads it."""
    page.locator("#live .standing .badge", has_text=re.compile(f"^({status})$")).wait_for(
        timeout=AN_OPERATION
    )


def test_a_person_changes_a_setting_hibernates_watches_and_wakes(host: Host, page: Any, shot: SHOT) -> None:
    url = host.stack.base_url
    log_in(page, url, USER, PASSWORD)
    page.click("text=Instances")
    assert page.locator("#result_list .badge").inner_text() in ("running", "idle")
    shot(page, "story-1-list")
    page.click(f"#result_list >> text={INSTANCE}")

    page.click(".order-settings")
    page.fill("#id_pause_after_minutes", "7")
    shot(page, "story-2-settings")
    page.click("input[value=Save]")
    assert "Changed: pause_after." in page.inner_text(".messagelist")

    page.click(".order-hibernate")
    assert "is destroyed" in page.inner_text(".consequences")
    shot(page, "story-3-hibernate")
    page.click("input[value=Hibernate]")
    page.wait_for_selector(".going .steps")
    shot(page, "story-4-hibernating")
    wait_for(page, "hibernated")
    assert "nothing bills" in page.inner_text(".panels")
    shot(page, "story-5-hibernated")

    page.click(".order-wake")
    page.fill("#id_max_price", "5")
    shot(page, "story-6-wake")
    page.click("input[value=Wake]")
    page.wait_for_selector(".going .steps")
    shot(page, "story-7-waking")
    wait_for(page, "running|idle")
    shot(page, "story-8-awake")

    page.click("a.button >> text=Events")
    told = page.inner_text("#result_list")
    for event in ("config changed", "hibernate started", "hibernated", "wake started", "woke"):
        assert event in told
    assert f"user:{USER}" in told
    shot(page, "story-9-events")


def test_the_browsable_api_takes_a_setting_from_the_same_session(host: Host, page: Any, shot: SHOT) -> None:
    url = host.stack.base_url
    log_in(page, url, USER, PASSWORD)
    page.goto(f"{url}/api/instances/{INSTANCE}/config")
    page.fill("textarea[name=_content]", '{"keep_last": 5}')
    shot(page, "api-config")
    page.click("button:has-text('PUT')")
    page.locator(".response-info", has_text='"keep_last": 5').wait_for()
    page.goto(f"{url}/admin/hibernation/event/?q={INSTANCE}")
    assert "changed: keep_last" in page.inner_text("#result_list")
