"""From vast.ai's rows to our values. Tolerant of odd fields; a row that names no offer or machine is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

from hibernation.domain.offers import Offer
from hibernation.domain.offers.gpus import gpu_name
from hibernation.domain.regions import region_of
from hibernation.providers.base import PriceRise, RentedMachine, SshAddress
from hibernation.providers.fields import (
    CENT_FRACTION,
    HOURS_IN_MONTH,
    Row,
    money_of,
    number_of,
    port_of,
    row_of,
    rows_of,
    text_of,
    whole_of,
)
from hibernation.providers.vast.phases import standing
from hibernation.providers.vast.replies import contract_id

NAME = "vast"
_MB_IN_GB = 1000
_SECONDS_IN_HOUR = 3600
_COUNTRY = re.compile(r"(?:^|[,\s])([A-Z]{2})\s*$")
# They open the machine, or somebody's notebook, and nobody of us needs them.
_PORT_OPTION = re.compile(r"-p\s*\d{1,5}:(\d{1,5})(?:/tcp)?")
_SSH_PORT = 22
_DROPPED = frozenset({"jupyter_token", "instance_api_key"})


def offer_of(row: Row, disk_gb: int) -> Offer | None:
    """An offer with the price of an hour that includes ``disk_gb``, or ``None`` if it has no id, GPU or price."""
    offer_id = contract_id(row.get("id")) or contract_id(row.get("ask_contract_id"))
    price = _hour(row, disk_gb)
    if not offer_id or price is None or not text_of(row, "gpu_name"):
        return None
    country = country_of(row)
    duration = number_of(row, "duration")
    return Offer(
        provider=NAME,
        offer_id=offer_id,
        host=text_of(row, "machine_id"),
        operator=text_of(row, "host_id"),
        gpu_type=gpu_name(text_of(row, "gpu_name")),
        gpu_count=whole_of(row, "num_gpus"),
        gpu_memory_gb=(number_of(row, "gpu_ram") or 0.0) / _MB_IN_GB,
        compute_capability=(number_of(row, "compute_cap") or 0.0) / 100,
        cuda=number_of(row, "cuda_max_good") or 0.0,
        driver=text_of(row, "driver_version"),
        country=country,
        region=region_of(country),
        price_per_hour=price,
        disk_gb=whole_of(row, "disk_space"),
        disk_mb_s=number_of(row, "disk_bw") or 0.0,
        disk_usd_gb_month=money_of(row, "storage_cost") or Decimal(0),
        download_mbps=number_of(row, "inet_down") or 0.0,
        upload_mbps=number_of(row, "inet_up") or 0.0,
        download_usd_gb=money_of(row, "inet_down_cost") or Decimal(0),
        upload_usd_gb=money_of(row, "inet_up_cost") or Decimal(0),
        reliability=_reliability(row),
        hours_left=None if duration is None else duration / _SECONDS_IN_HOUR,
        raw=dict(row),
    )


def machine_of(row: Row) -> RentedMachine:
    """A machine as the account's list has it. The row has an ``id``; all else may be missing."""
    country = country_of(row)
    stand = standing(row)
    return RentedMachine(
        provider=NAME,
        contract_id=contract_id(row["id"]),
        label=text_of(row, "label"),
        phase=stand.phase,
        reason=stand.reason,
        is_our_fault=stand.is_our_fault,
        needs_start=stand.needs_start,
        gpu_type=gpu_name(text_of(row, "gpu_name")),
        gpu_count=whole_of(row, "num_gpus"),
        country=country,
        region=region_of(country),
        price_per_hour=_running_price(row).quantize(CENT_FRACTION),
        host=text_of(row, "machine_id"),
        operator=text_of(row, "host_id"),
        disk_gb=whole_of(row, "disk_space"),
        image=text_of(row, "image_uuid"),
        ssh=addresses(row),
        env={name: value for name, value in ordered_env(row).items() if not name.startswith("-")},
        ports=ordered_ports(row),
        onstart=text_of(row, "onstart"),
        started_at=_moment(row, "start_date"),
        ends_at=_moment(row, "end_date"),
        upload_usd_gb=money_of(row, "inet_up_cost") or Decimal(0),
        stopped_usd_hour=_disk_hour(row),
        raw={key: value for key, value in row.items() if key not in _DROPPED},
    )


def price_rise_of(row: Row) -> PriceRise | None:
    """The GPUs' part alone is told, by the second."""
    contract, price = contract_id(row.get("contract_id")), money_of(row, "new_gpu_costpersec")
    if not contract or price is None:
        return None
    return PriceRise(contract, (price * _SECONDS_IN_HOUR).quantize(CENT_FRACTION))


def listed_price(row: Row) -> Decimal | None:
    """What a search sorts by: USD an hour with the disk that it was asked for."""
    return money_of(row, "dph_total")


def credit_of(row: Row) -> Decimal | None:
    return money_of(row, "credit")


def addresses(row: Row) -> tuple[SshAddress, ...]:
    """Direct first. Host and port of the two ways are never mixed: each pair leads somewhere by itself only."""
    found = []
    host, port = text_of(row, "public_ipaddr"), _mapped_port(row)
    if host and port:
        found.append(SshAddress(host, port, via="direct"))
    host, port = text_of(row, "ssh_host"), port_of(row.get("ssh_port"))
    if host and port:
        # With a notebook the proxy has one port for it, and the next for SSH.
        found.append(SshAddress(host, port + ("jupyter" in text_of(row, "image_runtype")), via="proxy"))
    return tuple(found)


def ordered_env(row: Row) -> dict[str, str]:
    """What was ordered besides the image: variables, and options of docker, which begin with ``-``."""
    told = row.get("extra_env")
    pairs = list(told.items()) if isinstance(told, dict) else told if isinstance(told, list) else []
    return {
        one[0]: str(one[1])
        for one in pairs
        if isinstance(one, list | tuple) and len(one) == 2 and isinstance(one[0], str)
    }


def ordered_ports(row: Row) -> tuple[int, ...]:
    """TCP ports inside the container, but the one of SSH."""
    found = {int(match[1]) for name in ordered_env(row) if (match := _PORT_OPTION.fullmatch(name))}
    return tuple(sorted(port for port in found if 0 < port < 65_536 and port != _SSH_PORT))


def country_of(row: Row) -> str:
    """ISO 3166 alpha-2, or empty. A place reads ``Sweden, SE`` or ``, US``, and may be missing."""
    code = text_of(row, "country_code").upper()
    match = _COUNTRY.search(text_of(row, "geolocation"))
    return match[1] if match else code if re.fullmatch("[A-Z]{2}", code) else ""


def _hour(row: Row, disk_gb: int) -> Decimal | None:
    """The dearer of what is told and what it adds up to: the disk may have been counted in another size."""
    told, base, storage = (money_of(row, key) for key in ("dph_total", "dph_base", "storage_cost"))
    added = None if base is None or storage is None else base + disk_gb * storage / HOURS_IN_MONTH
    known = [price for price in (told, added) if price is not None]
    return max(known).quantize(CENT_FRACTION) if known else None


def _running_price(row: Row) -> Decimal:
    """Also of a machine that stands still: what it costs as soon as it runs."""
    return money_of(row, "dph_total") or money_of(row_of(row, "search"), "totalHour") or Decimal(0)


def _disk_hour(row: Row) -> Decimal | None:
    """What it costs while it is stopped."""
    total, month = money_of(row, "storage_total_cost"), money_of(row, "storage_cost")
    if total is None and month is not None:
        total = month * whole_of(row, "disk_space") / HOURS_IN_MONTH
    return None if total is None else total.quantize(CENT_FRACTION)


def _reliability(row: Row) -> float:
    told = number_of(row, "reliability2")
    return (told if told is not None else number_of(row, "reliability")) or 0.0


def _mapped_port(row: Row) -> int:
    candidates = (one.get("HostPort") for one in rows_of(row_of(row, "ports"), "22/tcp"))
    return next((port for port in map(port_of, candidates) if port), 0)


def _moment(row: Row, key: str) -> datetime | None:
    seconds = number_of(row, key)
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
