"""The call that rents: what an order must look like, and all the ways in which it is refused."""

from __future__ import annotations

from typing import Any

from tests.fakes.http import Reply, as_json
from tests.fakes.vast.account import Keyring
from tests.fakes.vast.catalogue import Row
from tests.fakes.vast.market import Market
from tests.fakes.vast.replies import Refusal

_RUNTYPES = {
    "ssh", "ssh_proxy", "ssh_direct", "ssh_direc", "jupyter", "jupyter_proxy", "jupyter_direct", "jupyter_direc",
    "args",
}  # fmt: skip
_KNOWN = {
    "client_id", "image", "env", "price", "disk", "label", "extra", "onstart", "image_login", "python_utf8",
    "lang_utf8", "use_jupyter_lab", "jupyter_dir", "force", "cancel_unavail", "template_hash_id", "template_id", "user",
    "runtype", "target_state", "vm", "args", "args_str", "volume_info",
}  # fmt: skip
# What a contract's own key may do, with its own contract only.
_OWN: dict[str, Any] = {"api": {"instance_read": {}, "instance_write": {}}}
_LEAST_DISK = 8.0


def create(market: Market, keyring: Keyring, offer_id: int, body: dict[str, Any]) -> Reply:
    """Rents the offer, or raises ``Refusal``. Called with the market held."""
    offer = market.catalogue.offers.get(offer_id)
    context = {
        "offer": offer_id,
        "label": body.get("label") or "",
        "machine": offer and offer["machine_id"],
        "host": offer and offer["host_id"],
    }
    _fail_if_armed(market, context)
    order = _checked(body, market)
    if offer is None or offer["external"] or not market.is_rentable(offer):
        raise _gone(404)
    if market.ledger.credit <= 0:
        raise Refusal(400, "insufficient_credit", "Your account lacks credit; see the billing page.")
    if order["disk"] > offer["disk_space"]:
        raise Refusal(
            400, "invalid_args", f"disk: {order['disk']} GB is more than the {offer['disk_space']} offered"
        )
    return _rent(market, keyring, offer, order, context)


def _rent(
    market: Market, keyring: Keyring, offer: Row, order: dict[str, Any], context: dict[str, Any]
) -> Reply:
    leftover = market.faults.take("create_leftover", **context)
    low = order["price"] is not None and order["price"] < offer["min_bid"]
    unavailable = market.faults.take("gpu_unavailable", **context) is not None
    if unavailable and order["cancel_unavail"]:
        raise Refusal(410, "no_such_ask", "error 410/3603: no_such_ask: the offer is no longer available.")
    is_stopped = bool(leftover) or low or unavailable or order.get("target_state") == "stopped"
    contract = market.rent(offer, order, boots=not is_stopped)
    keyring.add(f"contract {contract.id}", _OWN, contract=contract.id, text=contract.api_key)
    if leftover or low:
        status, code = (leftover["status"], "start_failed") if leftover else (400, "bid_too_low")
        raise Refusal(status, code, "The instance was created but could not start.", new_contract=contract.id)
    return as_json({"success": True, "new_contract": contract.id, "instance_api_key": contract.api_key})


def _fail_if_armed(market: Market, context: dict[str, Any]) -> None:
    for status in (404, 410, 400):
        if market.faults.take(f"offer_gone_{status}", **context) is not None:
            raise _gone(status)
    if market.faults.take("host_only_403", **context) is not None:
        raise Refusal(403, "invalid_args", "This offer can only be rented by its host.")
    if hit := market.faults.take("insufficient_credit", **context):
        raise Refusal(
            hit["status"], "insufficient_credit", "Your account lacks credit; see the billing page."
        )
    if hit := market.faults.take("spend_rate_limit", **context):
        raise Refusal(hit["status"], "spend_rate_limit", "New accounts may spend only so much an hour.")
    if market.faults.take("create_422", **context) is not None:
        raise Refusal(422, "validation_error", "disk: value is not a valid float")
    if market.faults.take("create_false", **context) is not None:
        raise Refusal(200, "invalid_args", "error 404/3603: no_such_ask: not available")


def _gone(status: int) -> Refusal:
    if status == 410:
        return Refusal(410, "no_such_ask", "error 410/3603: no_such_ask: the offer is no longer available.")
    code = "invalid_args" if status == 404 else "no_such_ask"
    return Refusal(
        status, code, f"error {status}/3603: no_such_ask: Instance type by this id is not available."
    )


def _checked(body: dict[str, Any], market: Market) -> dict[str, Any]:
    """The order with its defaults."""
    if strange := set(body) - _KNOWN:
        raise Refusal(400, "invalid_args", f"unknown fields: {', '.join(sorted(strange))}")
    if not body.get("image") and not (body.get("template_hash_id") or body.get("template_id")):
        raise Refusal(400, "invalid_args", "image or template_hash_id is needed")
    price = _number(body.get("price"), "price")
    if price is not None and not 0.001 <= price <= 128:
        raise Refusal(400, "invalid_price", f"price {price} is not from 0.001 to 128")
    disk = _number(body.get("disk", 10.0), "disk") or 0.0
    if disk < _LEAST_DISK:
        raise Refusal(400, "invalid_args", f"disk: {disk} GB is less than {_LEAST_DISK}")
    if body.get("vm") and not market.account_keys:
        raise Refusal(400, "no_ssh_key_for_vm", "A VM needs an SSH key on the account.")
    _check_texts(body)
    cancel = body.get("cancel_unavail")
    return {
        **body,
        "disk": disk,
        "price": price,
        "cancel_unavail": price is None if cancel is None else cancel,
    }


def _check_texts(body: dict[str, Any]) -> None:
    words = (body.get("runtype") or "ssh").split()
    if strange := set(words) - _RUNTYPES:
        raise Refusal(400, "invalid_args", f"runtype: {', '.join(sorted(strange))}")
    if len(body.get("label") or "") > 256:
        raise Refusal(400, "label_too_long", "label: more than 256 characters")
    if len(body.get("image") or "") > 1024:
        raise Refusal(400, "invalid_args", "image: more than 1024 characters")
    if len(body.get("onstart") or "") + len(str(body.get("args") or "")) > 4048:
        raise Refusal(400, "invalid_args", "onstart: more than 4048 characters")
    env = body.get("env")
    if isinstance(env, dict):
        values = [str(value) for value in env.values()]
        if any(len(value) > 256 for value in values) or sum(map(len, values)) > 32_768:
            raise Refusal(400, "invalid_args", "env: too long")
        if sum(key.startswith("-p ") for key in env) > 64:
            raise Refusal(400, "invalid_args", "env: more than 64 ports")


def _number(value: Any, name: str) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise Refusal(400, "invalid_args", f"{name}: {value!r} is not a number") from None
