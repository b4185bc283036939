"""From Runpod's rows to our values. Tolerant of odd fields."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

from hibernation.domain.offers import Offer
from hibernation.domain.regions import region_of
from hibernation.providers.base import Phase, RentedMachine, SshAddress
from hibernation.providers.fields import (
    CENT_FRACTION,
    HOURS_IN_MONTH,
    Row,
    as_number,
    money_of,
    number_of,
    port_of,
    row_of,
    rows_of,
    text_of,
    whole_of,
)
from hibernation.providers.runpod.orders import CONTAINER_GB, WORKSPACE
from hibernation.providers.runpod.places import country_of, gpu_type_of, offer_id_of

NAME = "runpod"
RUNNING_USD_GB_MONTH = Decimal("0.10")
STOPPED_USD_GB_MONTH = Decimal("0.20")
"""No call tells them; they are the same everywhere."""
UNTOLD_DISK_GB = 1000
"""Nobody says how much disk a host has. An order that asks for too much is refused, and costs nothing."""

# Nobody measures reliability here. What is scarce is what others want, and what a stopped pod will not get back.
_RELIABILITY = {"HIGH": 0.99, "MEDIUM": 0.98, "LOW": 0.95}

# They hold secrets.
_DROPPED = frozenset({"env", "args"})
_PHASES = {
    "PROVISIONING": (Phase.LOADING, "it is being placed"),
    "STARTING": (Phase.LOADING, "its container starts"),
    "RUNNING": (Phase.RUNNING, ""),
    "EXITED": (Phase.STOPPED, "its container has ended"),
    "ERROR": (Phase.FAILED, "its container cannot run"),
}


def offers_of(row: Row, cloud: str, count: int, disk_gb: int) -> Iterator[Offer]:
    """A GPU type as one offer for each place that has it free; nothing where it has no price or is none of NVIDIA's."""
    gpu_id, price = text_of(row, "id"), money_of(row_of(row, "price"), cloud.lower())
    if not gpu_id or not price or row.get(cloud.lower()) is not True or row.get("manufacturer") == "AMD":
        return
    if whole_of(row_of(row, "maxCount"), cloud.lower()) < count:
        return
    disk_hour = (disk_gb + CONTAINER_GB) * RUNNING_USD_GB_MONTH / HOURS_IN_MONTH
    for data_center, availability in _places(row, cloud):
        country = country_of(data_center)
        offer_id = offer_id_of(gpu_id, cloud, data_center)
        yield Offer(
            provider=NAME,
            offer_id=offer_id,
            host=offer_id,
            gpu_type=gpu_type_of(gpu_id),
            gpu_count=count,
            gpu_memory_gb=number_of(row, "memory") or 0.0,
            cuda=_least_cuda(row),
            country=country,
            region=region_of(country),
            price_per_hour=(price * count + disk_hour).quantize(CENT_FRACTION),
            disk_gb=max(disk_gb, UNTOLD_DISK_GB),
            disk_usd_gb_month=STOPPED_USD_GB_MONTH,
            reliability=_RELIABILITY[availability],
            raw=dict(row),
        )


def machine_of(row: Row) -> RentedMachine:
    """A pod as the account's list has it. The row has an ``id``; all else may be missing."""
    status, data_center = text_of(row, "status"), text_of(row, "dataCenterId")
    phase, reason = _PHASES.get(status, (Phase.OFFLINE, f"unknown status {status!r}"))
    gpu, volume = row_of(row, "gpu"), row_of(row_of(row, "mounts"), "persistent")
    gpu_id, country = text_of(gpu, "id"), country_of(data_center)
    return RentedMachine(
        provider=NAME,
        contract_id=text_of(row, "id"),
        label=text_of(row, "name"),
        phase=phase,
        reason=reason,
        gpu_type=gpu_type_of(gpu_id),
        gpu_count=whole_of({"count": 1, **gpu}, "count") if gpu_id else 0,
        country=country,
        region=region_of(country),
        price_per_hour=(money_of(row, "cost") or Decimal(0)).quantize(CENT_FRACTION),
        host=offer_id_of(gpu_id, text_of(row, "cloud"), data_center) if gpu_id else "",
        disk_gb=whole_of(volume, "size") or whole_of(row, "disk"),
        image=text_of(row, "image"),
        ssh=addresses(row),
        workspace=text_of(volume, "path") or WORKSPACE,
        stopped_usd_hour=(whole_of(volume, "size") * STOPPED_USD_GB_MONTH / HOURS_IN_MONTH).quantize(
            CENT_FRACTION
        ),
        started_at=_moment(row, "startedAt") or _moment(row, "createdAt"),
        raw={key: value for key, value in row.items() if key not in _DROPPED},
    )


def addresses(row: Row) -> tuple[SshAddress, ...]:
    """The direct one. Runpod's proxy carries a terminal and neither commands nor files, so it is of no use."""
    direct = row_of(row_of(row, "ssh"), "direct")
    host, port = text_of(direct, "host"), port_of(direct.get("port"))
    if host and port:
        return (SshAddress(host, port, text_of(direct, "username") or "root"),)
    for mapped in rows_of(row_of(row, "runtime"), "ports"):
        host, port = text_of(mapped, "ip"), port_of(mapped.get("public"))
        if mapped.get("private") == 22 and mapped.get("type") == "tcp" and host and port:
            return (SshAddress(host, port),)
    return ()


def _places(row: Row, cloud: str) -> Iterator[tuple[str, str]]:
    """Where it is free, and how much of it. Other people's machines may be in no data centre."""
    data_centers = rows_of(row, "dataCenters")
    if not data_centers and cloud == "COMMUNITY" and text_of(row, "availability") in _RELIABILITY:
        yield "", text_of(row, "availability")
    for one in data_centers:
        name, availability = text_of(one, "id"), text_of(one, "availability")
        if name and ":" not in name and availability in _RELIABILITY:
            yield name, availability


def _least_cuda(row: Row) -> float:
    """What any machine of them has; zero if it is not told. The order asks for no less."""
    free = (
        as_number(one.get("version")) for one in rows_of(row, "cudaVersions") if one.get("available") is True
    )
    return min((version for version in free if version is not None), default=0.0)


def _moment(row: Row, key: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text_of(row, key))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
