"""Calls the fake vast.ai as the barest client would: one connection, no judgement about the answers."""

from __future__ import annotations

import http.client
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from tests.fakes.vast import VastFake

ORDER = {
    "image": "img:1",
    "disk": 20,
    "runtype": "ssh_direc ssh_proxy",
    "label": "dumont:x",
    "cancel_unavail": True,
}


class Caller:
    """Answers are ``(status, body)``: the JSON that came, or the text. ``(0, None)``: the connection ended."""

    def __init__(self, fake: VastFake, key: str | None = None) -> None:
        self.fake, self._key = fake, fake.key if key is None else key
        self._connection = http.client.HTTPConnection(urlsplit(fake.url).netloc, timeout=10)
        self.headers: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self._connection.getresponse()
            text = answer.read().decode()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            self._connection.close()
            return 0, None
        self.headers = dict(answer.getheaders())
        return answer.status, json.loads(text) if self.headers["Content-Type"] == "application/json" else text

    def search(self, **query: Any) -> list[dict[str, Any]]:
        offers: list[dict[str, Any]] = self.call("POST", "/api/v0/bundles/", query)[1]["offers"]
        return offers

    def create(self, offer_id: int | None = None, **order: Any) -> tuple[int, Any]:
        offer_id = offer_id or self.fake.offer(num_gpus=1)["id"]
        return self.call("PUT", f"/api/v0/asks/{offer_id}/", {**ORDER, **order})

    def rented(self, offer_id: int | None = None, **order: Any) -> int:
        """The id of a new contract."""
        contract_id: int = self.create(offer_id, **order)[1]["new_contract"]
        return contract_id

    def running(self, **order: Any) -> int:
        """The id of a new contract that runs by now."""
        contract_id = self.rented(**order)
        self.fake.advance(60)
        return contract_id

    def row(self, contract_id: int) -> Any:
        return self.call("GET", f"/api/v0/instances/{contract_id}/?owner=me")[1]["instances"]

    def page(self, **query: Any) -> tuple[int, Any]:
        """One page of the list; values are sent as JSON, but for the cursor."""
        texts = {name: value if name == "after_token" else json.dumps(value) for name, value in query.items()}
        return self.call(
            "GET", "/api/v1/instances/?" + "&".join(f"{n}={quote(text)}" for n, text in texts.items())
        )

    def listed(self) -> list[int]:
        return [row["id"] for row in self.page()[1]["instances"]]

    def change(self, contract_id: int, **body: Any) -> tuple[int, Any]:
        return self.call("PUT", f"/api/v0/instances/{contract_id}/", body)

    def destroy(self, contract_id: int) -> tuple[int, Any]:
        return self.call("DELETE", f"/api/v0/instances/{contract_id}/", {})

    def status(self, contract_id: int) -> tuple[Any, Any, Any]:
        """actual, cur, intended."""
        row = self.row(contract_id)
        return row["actual_status"], row["cur_state"], row["intended_status"]
