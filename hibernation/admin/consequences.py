"""What an order to an instance will do and cost, in sentences. From rows that are loaded; decides nothing."""

from __future__ import annotations

from decimal import Decimal

from hibernation.admin.words import hourly, reading, size, usd_an_hour
from hibernation.api.serializers import current_machine
from hibernation.models import Instance, Machine, Operation


def of_hibernate(instance: Instance) -> list[str]:
    machine = current_machine(instance)
    if machine is None:
        return ["Saves the workspace, proves the copy, and then ends the rental, once there is a machine."]
    copy = instance.snapshot
    sent = (
        f"what changed since {copy.name}" if copy else f"the whole workspace ({instance.disk_gb} GB at most)"
    )
    return [
        f"Sends {sent} to the store and proves the copy.",
        _end_of(machine, instance),
        f"Whatever runs on it is ended ({reading(instance)} now); its memory is not saved.",
        "Any doubt about the copy leaves the machine running.",
    ]


def _end_of(machine: Machine, instance: Instance) -> str:
    named = f"Then machine {machine} ({machine.gpu_type} {machine.region})"
    end = f"its {usd_an_hour(hourly(machine))} end"
    if not instance.warm_minutes:
        return f"{named} is destroyed, and {end}."
    return f"{named} is stopped, {end}, and its disk bills for {instance.warm_minutes} min until it is destroyed."


def of_wake(instance: Instance) -> list[str]:
    copy = instance.snapshot
    brings = (
        f"restores {copy.name} ({size(copy.bytes_logical)})" if copy else "starts with an empty workspace"
    )
    wish = " ".join(filter(None, (instance.gpu_type, instance.region))) or "any GPU"
    limit = "no limit" if instance.max_price is None else f"{usd_an_hour(instance.max_price)} at most"
    return [
        f"Rents the offer that suits best ({wish}, {limit}) and {brings}.",
        f"It bills from then on{_last_price(instance)}, until it is hibernated again.",
    ]


def of_save(instance: Instance) -> list[str]:
    machine = current_machine(instance)
    price = usd_an_hour(hourly(machine)) if machine else "its price"
    return [
        "Sends what changed since the last copy to the store and proves it, while the machine goes on.",
        f"The machine goes on at {price}; what it sends may cost its host's price of traffic.",
    ]


def of_cancel(operation: Operation) -> list[str]:
    if operation.state == "queued":
        return [f"The {operation.kind} waits and has done nothing: it ends at once."]
    if operation.kind in ("wake", "adopt"):
        return [
            "It turns back at its next step: a machine rented for it is destroyed or left as it was.",
            "What the machine cost until then is to be paid; the stored copy stays as it is.",
        ]
    price = usd_an_hour(hourly(operation.machine)) if operation.machine else "its price"
    return [
        f"It turns back at its next step: the machine stays and goes on billing at {price}.",
        "What was sent so far is used by the next snapshot.",
    ]


def _last_price(instance: Instance) -> str:
    last = instance.machines.order_by("-id").values_list("price_now", "price_per_hour").first()
    price: Decimal | None = None if last is None else last[0] or last[1]
    return "" if price is None else f" (the last machine cost {usd_an_hour(price)})"
