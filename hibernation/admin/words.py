"""What people read in the console: times, sizes, money and states in words, escaped. Nothing asks the database."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import localtime

from hibernation.domain import idle
from hibernation.domain.states import BILLING_MACHINE_STATES, MachineState
from hibernation.models import Instance, Machine, Operation
from hibernation.said import in_language
from hibernation.services.sightings import SPENDS

NOTHING = "–"
NONE = mark_safe('<span class="none">–</span>')
"""The same in a list; on a phone it takes no room."""
_COLOURS = {
    "running": "good",
    "succeeded": "good",
    "verified": "good",
    "active": "good",
    "done": "good",
    "idle": "warn",
    "hibernating": "busy",
    "waking": "busy",
    "provisioning": "busy",
    "queued": "busy",
    "writing": "busy",
    "frozen": "busy",
    "launched": "busy",
    "spare": "busy",
    "intended": "busy",
    "adopting": "busy",
    "destroying": "busy",
    "started": "busy",
    "waiting": "busy",
    "failed": "bad",
    "damaged": "bad",
    "lost": "bad",
    "orphan": "bad",
    "missed": "bad",
    "revoked": "bad",
    "expired": "bad",
    "hibernated": "rest",
    "parked": "rest",
}


def badge(state: str, colour: str = "") -> SafeString:
    """A word with a colour; the word alone says it all."""
    return format_html(
        '<span class="badge {}">{}</span>',
        colour or _COLOURS.get(state, "quiet"),
        in_language(state.replace("_", " ")),
    )


def span(length: timedelta) -> str:
    """``12 s``, ``4 min``, ``3 h 20 min``, ``5 days``: two parts at most, rounded down."""
    seconds = max(0, int(length.total_seconds()))
    minutes, hours = seconds // 60, seconds // 3600
    if seconds < 120:
        return f"{seconds} s"
    if hours < 2:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else in_language(f"{hours // 24} days")


def at(moment: datetime | None) -> str:
    """In the installation's time zone, to the minute."""
    return NOTHING if moment is None else f"{localtime(moment):%Y-%m-%d %H:%M}"


def ago(moment: datetime | None, now: datetime) -> str:
    return NOTHING if moment is None else in_language(f"{span(now - moment)} ago")


def heard(instance: Instance, now: datetime) -> SafeString:
    """When its agent was heard last, and whether that is as it should be."""
    last = instance.last_heartbeat_at
    if last is None:
        return format_html('<span class="{}">{}</span>', "stale", in_language("never heard"))
    late = idle.longest_gap(instance.idle_state)
    colour = "fresh" if now - last <= late else "stale"
    told = in_language(f"heard {span(now - last)} ago")
    return format_html('<span class="{}">{}</span>', colour, told)


def reading(instance: Instance) -> str:
    used = instance.gpu_utilization
    return in_language("GPU unknown") if used is None else f"GPU {used:.0f} %"


def countdown(instance: Instance, now: datetime) -> str:
    """How long until it is hibernated, if nothing changes."""
    due = instance.hibernate_due_at
    return NOTHING if due is None else in_language("now" if due <= now else f"in {span(due - now)}")


def size(number: Any) -> str:
    return filesizeformat(number or 0).replace("\xa0", " ")


def usd_an_hour(price: Decimal | None) -> str:
    return NOTHING if price is None else f"${price:.3f}/h"


def hourly(machine: Machine) -> Decimal:
    """USD an hour that it costs now; of one that stands still, its disk, where that is known."""
    if machine.state not in BILLING_MACHINE_STATES:
        return Decimal(0)
    spends = machine.phase in SPENDS or (machine.phase == "" and machine.state != MachineState.PARKED)
    if not spends:
        return machine.stopped_usd_hour or Decimal(0)
    return machine.price_now or machine.price_per_hour


def goes_on(operation: Operation, now: datetime) -> str:
    """``hibernate: freeze, 1.2 GB of 70 GB, 4 min left``, or what it waits for."""
    return in_language(_goes_on(operation, now))


def _goes_on(operation: Operation, now: datetime) -> str:
    if operation.state == "queued":
        return f"{operation.kind} waits for its turn"
    if operation.state != "running":
        return f"{operation.kind} {operation.state}"
    moved = transfer(operation.progress)
    stopping = "turning back, " if operation.cancel_reason else ""
    told = moved or operation.waiting_for or f"since {span(now - operation.entered_at)}"
    return f"{operation.kind}: {stopping}{operation.step}, {told}"


def transfer(progress: dict[str, Any]) -> str:
    """Bytes, speed and the time left, as far as the step tells them."""
    done, total = progress.get("bytes_done"), progress.get("bytes_total")
    if not total:
        return ""
    parts = [f"{size(done)} of {size(total)}"]
    if progress.get("rate_bps"):
        parts.append(f"{size(progress['rate_bps'])}/s")
    if progress.get("eta_seconds") is not None:
        parts.append(f"{span(timedelta(seconds=float(progress['eta_seconds'])))} left")
    return in_language(", ".join(parts))


def bar(progress: dict[str, Any]) -> SafeString | str:
    """The browser's own bar; empty where a step tells no bytes."""
    done, total = progress.get("bytes_done"), progress.get("bytes_total")
    if not total:
        return ""
    return format_html('<progress max="{}" value="{}">{}</progress>', total, done or 0, transfer(progress))
