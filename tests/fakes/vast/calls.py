"""What each call about offers and instances does and answers. Called with the market held and up to date."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http import Reply, Request, as_json
from tests.fakes.vast import lists, orders
from tests.fakes.vast.account import Keyring
from tests.fakes.vast.account_calls import OK, AccountCalls
from tests.fakes.vast.contracts import Contract
from tests.fakes.vast.replies import Refusal
from tests.fakes.vast.search import search

_SHELL = ("ls", "rm", "du")


@dataclass(kw_only=True)
class Calls(AccountCalls):
    """``gone_status``: how a destroyed contract reads by its id, 200 with null or 404.

    ``results`` wait to be fetched.
    """

    keyring: Keyring
    base_url: str = ""
    gone_status: int = 200
    results: dict[str, str] = field(default_factory=dict)

    # Offers

    def gpu_names(self, request: Request) -> Any:
        return {"gpu_names": sorted({row["gpu_name"] for row in self.market.catalogue.offers.values()})}

    def search(self, request: Request) -> Any:
        return self._search(request.body)

    def search_new(self, request: Request) -> Any:
        return self._search(request.body.get("q") or {})

    def _search(self, query: dict[str, Any]) -> Any:
        if self.market.faults.take("search_unfiltered") is not None:
            query = {name: query[name] for name in ("type", "limit", "allocated_storage") if name in query}
        return {**OK, "offers": search(self.market.offers(), query)}

    def create(self, request: Request, offer_id: int) -> Any:
        return orders.create(self.market, self.keyring, offer_id, request.body)

    # Instances

    def list(self, request: Request) -> Any:
        faults, ghosts = self.market.faults, [c for c in self.market.ended.values() if c.ghost_polls > 0]
        contracts = [*self.market.contracts.values(), *ghosts]
        rows = sorted((self.market.row(c, in_list=True) for c in contracts), key=lambda row: row["id"])
        if faults.take("list_empty") is not None:
            rows = []
        page = lists.page_of(rows, request.query)
        if not page["next_token"]:
            for ghost in ghosts:
                ghost.ghost_polls -= 1
        elif faults.take("list_cut") is not None:
            page["next_token"] = None
        return page

    def list_v0(self, request: Request) -> Any:
        raise Refusal(410, "deprecated_endpoint", "This endpoint is retired. Use /api/v1/instances/.")

    def filters(self, request: Request) -> Any:
        rows = [self.market.row(contract, in_list=True) for contract in self.market.contracts.values()]
        names = ("actual_status", "verification", "gpu_name")
        combinations = dict.fromkeys(tuple(row[name] for name in names) for row in rows)
        return {**OK, "filters": [dict(zip(names, values, strict=True)) for values in combinations]}

    def count(self, request: Request) -> Any:
        return {**OK, "count": len(self.market.contracts)}

    def by_id(self, request: Request, contract_id: int) -> Any:
        contract = self.market.contracts.get(contract_id)
        if contract is None and self.gone_status == 404:
            raise _no_such(contract_id)
        hidden = contract and self.market.faults.take("by_id_null", **contract.context()) is not None
        return {"instances": None if contract is None or hidden else self.market.row(contract, in_list=False)}

    def destroy(self, request: Request, contract_id: int) -> Any:
        self._destroy(self._contract(contract_id))
        return OK

    def destroy_bulk(self, request: Request) -> Any:
        for contract_id in request.body.get("instance_ids") or []:
            if contract := self.market.contracts.get(int(contract_id)):
                self._destroy(contract)
        return OK

    def _destroy(self, contract: Contract) -> None:
        context, faults = contract.context(), self.market.faults
        if faults.take("destroy_ignored", **context) is None:
            ghost = faults.take("destroy_row_remains", **context) or {}
            self.market.destroy(contract, ghost_polls=ghost.get("polls", 0))

    def start(self, request: Request, contract_id: int) -> Any:
        return self._start(self._contract(contract_id))

    def stop(self, request: Request, contract_id: int) -> Any:
        self.market.stop(self._contract(contract_id))
        return OK

    def label(self, request: Request, contract_id: int) -> Any:
        label = str(request.body["label"])
        if len(label) > 1024:
            raise Refusal(400, "label_too_long", "label: more than 1024 characters")
        self._contract(contract_id).label = label
        return OK

    def change(self, request: Request, contract_id: int) -> Any:
        raise Refusal(400, "invalid_args", "state or label is needed")

    def change_bulk(self, request: Request) -> Any:
        contracts = [self._contract(int(contract_id)) for contract_id in request.body.get("ids") or []]
        for contract in contracts:
            if request.body.get("state") == "running":
                self._start(contract)
            else:
                self.market.stop(contract)
        return OK

    def _start(self, contract: Contract) -> Any:
        if self.market.ledger.credit <= 0:
            raise Refusal(400, "insufficient_credit", "Your account lacks credit; see the billing page.")
        if self.market.start(contract):
            return OK
        msg = "Required resources are currently unavailable, state change queued."
        return {"success": False, "error": "resources_unavailable", "msg": msg}

    def reboot(self, request: Request, contract_id: int) -> Any:
        self.market.reboot(self._contract(contract_id), "rebooting")
        return OK

    def recycle(self, request: Request, contract_id: int) -> Any:
        self.market.reboot(self._contract(contract_id), "recycling")
        return OK

    def bid(self, request: Request, contract_id: int) -> Any:
        contract = self._contract(contract_id)
        contract.bid = float(request.body.get("price") or contract.offer["min_bid"])
        return OK

    # Keys of a machine

    def keys_of(self, request: Request, contract_id: int) -> Any:
        keys = [{"id": number, "public_key": key} for number, key in self._contract(contract_id).keys.items()]
        return {**OK, "ssh_keys": json.dumps(keys)}

    def attach(self, request: Request, contract_id: int) -> Any:
        key = str(request.body.get("ssh_key") or "").strip()
        if len(key.split()) < 2:
            raise Refusal(400, "invalid_args", "ssh_key is not an OpenSSH public key")
        self.market.attach_key(self._contract(contract_id), key)
        return {**OK, "msg": "SSH key attached"}

    def detach(self, request: Request, contract_id: int, key_id: int) -> Any:
        contract = self._contract(contract_id)
        key = contract.keys.pop(key_id, None)
        if key is None:
            raise Refusal(404, "no_such_key", f"no key {key_id}")
        contract.machine_keys = [each for each in contract.machine_keys if each != key]
        return OK

    # Errands on a machine

    def execute(self, request: Request, contract_id: int) -> Any:
        contract, command = self._contract(contract_id), str(request.body.get("command") or "")
        if len(command) > 512 or not command.split() or command.split()[0] not in _SHELL:
            raise Refusal(400, "invalid_args", f"only {', '.join(_SHELL)} are allowed")
        url = self._result(f"{command}\n")
        return {**OK, "result_url": url, "writeable_path": f"/var/lib/docker/{contract.id}", "msg": ""}

    def logs(self, request: Request, contract_id: int) -> Any:
        contract = self._contract(contract_id)
        return {
            **OK,
            "result_url": self._result(
                self.market.machines.logs(contract, int(request.body.get("tail") or 200))
            ),
        }

    def _result(self, text: str) -> str:
        token = secrets.token_hex(8)
        self.results[token] = text
        return f"{self.base_url}/results/{token}/"

    def copy(self, request: Request) -> Any:
        if str(request.body.get("dst_path", "")).rstrip("/") in ("", "/root"):
            raise Refusal(400, "invalid_args", "dst_path must not be / or /root")
        return {**OK, "msg": "Remote to Remote copy initiated"}

    def copy_cancel(self, request: Request) -> Any:
        return OK

    def _contract(self, contract_id: int) -> Contract:
        contract = self.market.contracts.get(contract_id)
        if contract is None:
            raise _no_such(contract_id)
        return contract


def as_reply(answer: Any) -> Reply:
    return answer if isinstance(answer, Reply) else as_json(answer)


def _no_such(contract_id: int) -> Refusal:
    return Refusal(
        404, "no_such_instance", f"error 404/3482: no_such_instance: instance {contract_id} not found"
    )
