"""What we ask of vast.ai: the query for a search and the order of a machine. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hibernation.domain.errors import BadOrder
from hibernation.domain.offers import OfferFilter, gpu_types
from hibernation.domain.offers.fitting import USABLE_MEMORY
from hibernation.domain.regions import countries_wished
from hibernation.providers.base import LaunchSpec

ROWS_IN_PAGE = 64
"""The most that one search answers, whatever is asked for."""
SMALLEST_DISK_GB = 8
_LONGEST = {"label": 60, "image": 1024, "onstart": 4048}
_LONGEST_VALUE = 256
_LONGEST_ENV = 32_768
_MOST_PORTS = 64


def search_query(want: OfferFilter, *, from_price: Decimal | None = None) -> dict[str, Any]:
    """Rentable offers of verified hosts, cheapest first, priced with the disk, from ``from_price`` on."""
    query: dict[str, Any] = {name: {"eq": value} for name, value in _ALWAYS.items()}
    query |= {name: {"gte": value} for name, value in _least(want).items() if value}
    if types := gpu_types(want):
        query["gpu_name"] = {"in": sorted(types)}
    if countries := countries_wished(want.region):
        query["geolocation"] = {"in": sorted(countries)}
    price = {"lte": want.max_price, "gte": from_price}
    if bounds := {name: float(value) for name, value in price.items() if value is not None}:
        query["dph_total"] = bounds
    disk = float(max(want.min_disk_gb, SMALLEST_DISK_GB))
    return query | {
        "order": [["dph_total", "asc"]],
        "type": "on-demand",
        "limit": ROWS_IN_PAGE,
        "allocated_storage": disk,
    }


def order_of(spec: LaunchSpec) -> dict[str, Any]:
    """The order of a machine on demand. ``BadOrder`` where vast.ai would refuse it anyway, which names no value."""
    onstart = _onstart(spec)
    _check_lengths({"label": spec.label, "image": spec.image, "onstart": onstart}, spec.env)
    if len(spec.ports) > _MOST_PORTS:
        raise BadOrder(f"vast.ai opens at most {_MOST_PORTS} ports, not {len(spec.ports)}.")
    return {
        "client_id": "me",
        "image": spec.image,
        "env": {**{f"-p {port}:{port}": "1" for port in spec.ports}, **spec.env},
        "price": None,
        "disk": float(max(spec.disk_gb, SMALLEST_DISK_GB)),
        "label": spec.label,
        "onstart": onstart,
        "runtype": "ssh_direc ssh_proxy",
        # Without it, a GPU that was let meanwhile leaves a contract that stands still and bills its disk.
        "cancel_unavail": True,
        "target_state": "running",
        "force": False,
    }


_ALWAYS = {"rentable": True, "rented": False, "verified": True, "external": False}


def _least(want: OfferFilter) -> dict[str, float]:
    """In the provider's units: MB of GPU memory as the driver leaves it, hundredths of a capability, seconds."""
    return {
        "num_gpus": want.gpu_count,
        "disk_space": float(want.min_disk_gb),
        "gpu_ram": round(want.min_gpu_memory_gb * 1000 * USABLE_MEMORY),
        "compute_cap": round(want.min_compute_capability * 100),
        "cuda_max_good": want.min_cuda,
        "reliability": want.min_reliability,
        "inet_down": want.min_download_mbps,
        "duration": want.min_hours_left * 3600,
    }


def _onstart(spec: LaunchSpec) -> str:
    """It runs at every start, so each line may run again. The key lets us in before anybody attaches it."""
    lines = ["touch ~/.no_auto_tmux"]
    if key := spec.ssh_public_key.strip():
        quoted = shlex.quote(key)
        lines += [
            "mkdir -p -m 700 ~/.ssh",
            f"grep -qxF {quoted} ~/.ssh/authorized_keys 2>/dev/null || echo {quoted} >> ~/.ssh/authorized_keys",
        ]
    return "\n".join([*lines, *filter(None, [spec.onstart])])


def _check_lengths(texts: Mapping[str, str], env: Mapping[str, str]) -> None:
    for name, text in texts.items():
        if len(text) > _LONGEST[name]:
            raise BadOrder(f"vast.ai takes a {name} of {_LONGEST[name]} characters, not {len(text)}.")
    for name, value in env.items():
        if len(value) > _LONGEST_VALUE:
            raise BadOrder(
                f"vast.ai takes {_LONGEST_VALUE} characters in a variable; {name} has {len(value)}."
            )
    if sum(len(name) + len(value) for name, value in env.items()) > _LONGEST_ENV:
        raise BadOrder(f"vast.ai takes {_LONGEST_ENV} characters of variables in all.")
