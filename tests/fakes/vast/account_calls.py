"""What each call about the account does and answers: its keys, volumes, secrets and money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http import Request
from tests.fakes.vast import events
from tests.fakes.vast.market import Market
from tests.fakes.vast.replies import Refusal
from tests.fakes.vast.search import search

OK: dict[str, Any] = {"success": True}


@dataclass(kw_only=True)
class AccountCalls:
    market: Market
    secrets: dict[str, str] = field(default_factory=dict)
    volumes: dict[int, dict[str, Any]] = field(default_factory=dict)
    templates: list[dict[str, Any]] = field(default_factory=list)

    # SSH keys that every new contract gets

    def ssh_keys(self, request: Request) -> Any:
        if not self.market.account_keys:
            raise Refusal(404, "not_found", "no SSH keys")
        return [_key_row(number, key) for number, key in self.market.account_keys.items()]

    def ssh_key_create(self, request: Request) -> Any:
        number = self.market.new_key_id()
        self.market.account_keys[number] = str(request.body.get("ssh_key") or "").strip()
        return {**OK, "key": _key_row(number, self.market.account_keys[number])}

    def ssh_key_change(self, request: Request, key_id: int) -> Any:
        self._account_key(key_id)
        self.market.account_keys[key_id] = str(request.body.get("ssh_key") or "").strip()
        return {**OK, "key": _key_row(key_id, self.market.account_keys[key_id])}

    def ssh_key_delete(self, request: Request, key_id: int) -> Any:
        self._account_key(key_id)
        del self.market.account_keys[key_id]
        return OK

    def _account_key(self, key_id: int) -> None:
        if key_id not in self.market.account_keys:
            raise Refusal(404, "not_found", f"no SSH key {key_id}")

    # Volumes, secrets, templates

    def volumes_search(self, request: Request) -> Any:
        query = {name: value for name, value in request.body.items() if name not in ("type", "order")}
        rows = search([row for row in self.market.offers() if row["num_gpus"] == 1], query)
        return {**OK, "offers": rows}

    def volumes_list(self, request: Request) -> Any:
        return {"volumes": list(self.volumes.values())}

    def volume_create(self, request: Request) -> Any:
        number = 77 + len(self.volumes)
        offer = self.market.catalogue.offers.get(int(request.body.get("id") or 0))
        if offer is None:
            raise Refusal(404, "invalid_args", "error 404/3603: no_such_ask")
        self.volumes[number] = {
            "id": number,
            "label": request.body.get("name") or f"V.{number}",
            "disk_space": request.body.get("size"),
            "machine_id": offer["machine_id"],
            "storage_cost": offer["storage_cost"],
            "start_date": self.market.clock.now(),
            "status": "active",
            "instances": [],
        }
        return {**OK, "volume_name": f"V.{number}"}

    def volume_delete(self, request: Request) -> Any:
        if self.volumes.pop(int(request.query.get("id") or 0), None) is None:
            raise Refusal(404, "not_found", "no such volume")
        return OK

    def secrets_list(self, request: Request) -> Any:
        return {**OK, "secrets": dict(self.secrets)}

    def secret_write(self, request: Request) -> Any:
        self.secrets[str(request.body["key"])] = str(request.body["value"])
        return OK

    def secret_delete(self, request: Request) -> Any:
        self.secrets.pop(str(request.body.get("key")), None)
        return OK

    def templates_list(self, request: Request) -> Any:
        return {**OK, "templates_found": len(self.templates), "templates": self.templates}

    # Money

    def user(self, request: Request) -> Any:
        return {
            "id": 1,
            "email": "account@vast.invalid",
            "username": "account",
            "credit": self.market.ledger.credit,
            "balance": 0.0,
            "ssh_key": None,
            "can_pay": True,
            "has_billing": True,
            "host_agreement_accepted": False,
        }

    def charges(self, request: Request) -> Any:
        lines = self.market.ledger.as_json()
        rows = [{"type": f"instance-{line['contract']}", **line, "amount": line["usd"]} for line in lines]
        return {**OK, "count": len(rows), "total": len(rows), "next_token": None, "results": rows}

    def price_rises(self, request: Request) -> Any:
        rows = [self._rise_row(rise) for rise in self.market.rises.values()]
        return {**OK, "count": len(rows), "truncated": False, "pending_price_increases": rows}

    def accept_rise(self, request: Request) -> Any:
        rise = self._rise(request.body)
        events.accept(self.market, rise)
        return {**OK, "pending_price_increase_id": rise.id, "contract_id": rise.contract_id}

    def reject_rise(self, request: Request) -> Any:
        rise = self._rise(request.body)
        del self.market.rises[rise.contract_id]
        return {**OK, "pending_price_increase_id": rise.id, "contract_id": rise.contract_id}

    def _rise(self, body: Mapping[str, Any]) -> events.Rise:
        wanted = body.get("pending_price_increase_id")
        for rise in self.market.rises.values():
            if rise.id == wanted:
                return rise
        raise Refusal(404, "no_pending_price_increase", "no pending price increase")

    def _rise_row(self, rise: events.Rise) -> dict[str, Any]:
        contract = self.market.contracts[rise.contract_id]
        offer = contract.offer
        traffic = {
            "bwu_cost": offer["inet_up_cost"],
            "bwd_cost": offer["inet_down_cost"],
            "platform_fee": None,
        }
        traffic["disk_ram_costpersec"] = offer["storage_cost"] / 720 / 3600
        return {
            "pending_price_increase_id": rise.id,
            "contract_id": rise.contract_id,
            "host_id": offer["host_id"],
            "new_gpu_costpersec": rise.gpu_price / 3600,
            "old_gpu_costpersec": contract.gpu_price / 3600,
            **{f"{age}_{name}": value for age in ("new", "old") for name, value in traffic.items()},
            "contract_end_date": contract.end_date,
            "ask_end_date": rise.due,
            "created_at": rise.created_at,
        }


def _key_row(number: int, key: str) -> dict[str, Any]:
    return {"id": number, "user_id": 1, "public_key": key, "created_at": None, "deleted_at": None}
