"""From vast.ai's rows to our values. Tolerant of odd fields; a row that names no offer or machine is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from hibernation.domain.offers import Offer
from hibernation.domain.offers.gpus import gpu_name
from hibernation.domain.regions import region_of
from hibernation.providers.base import PriceRise, RentedMachine, SshAddress
from hibernation.providers.vast.phases import standing
from hibernation.providers.vast.replies import as_number, contract_id

NAME = "vast"
HOURS_IN_MONTH = 720
_MB_IN_GB = 1000
_SECONDS_IN_HOUR = 3600
_COUNTRY = re.compile(r"(?:^|[,\s])([A-Z]{2})\s*$")
# They open the machine, or somebody's notebook, and nobody of us needs them.
_DROPPED = frozenset({"jupyter_token", "instance_api_key"})
_CENT_FRACTION = Decimal("0.000001")

Row = Mapping[str, Any]


def offer_of(row: Row, disk_gb: int) -> Offer | None:
    """An offer with the price of an hour that includes ``disk_gb``, or ``None`` if it has no id, GPU or price."""
    offer_id = contract_id(row.get("id")) or contract_id(row.get("ask_contract_id"))
    price = _hour(row, disk_gb)
    if not offer_id or price is None or not _text(row, "gpu_name"):
        return None
    country = country_of(row)
    duration = _float(row, "duration")
    return Offer(
        provider=NAME,
        offer_id=offer_id,
        host=_text(row, "machine_id"),
        operator=_text(row, "host_id"),
        gpu_type=gpu_name(_text(row, "gpu_name")),
        gpu_count=_int(row, "num_gpus"),
        gpu_memory_gb=(_float(row, "gpu_ram") or 0.0) / _MB_IN_GB,
        compute_capability=(_float(row, "compute_cap") or 0.0) / 100,
        cuda=_float(row, "cuda_max_good") or 0.0,
        driver=_text(row, "driver_version"),
        country=country,
        region=region_of(country),
        price_per_hour=price,
        disk_gb=_int(row, "disk_space"),
        disk_mb_s=_float(row, "disk_bw") or 0.0,
        disk_usd_gb_month=_money(row, "storage_cost") or Decimal(0),
        download_mbps=_float(row, "inet_down") or 0.0,
        upload_mbps=_float(row, "inet_up") or 0.0,
        download_usd_gb=_money(row, "inet_down_cost") or Decimal(0),
        upload_usd_gb=_money(row, "inet_up_cost") or Decimal(0),
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
        label=_text(row, "label"),
        phase=stand.phase,
        reason=stand.reason,
        is_our_fault=stand.is_our_fault,
        needs_start=stand.needs_start,
        gpu_type=gpu_name(_text(row, "gpu_name")),
        gpu_count=_int(row, "num_gpus"),
        country=country,
        region=region_of(country),
        price_per_hour=_running_price(row).quantize(_CENT_FRACTION),
        host=_text(row, "machine_id"),
        operator=_text(row, "host_id"),
        disk_gb=_int(row, "disk_space"),
        image=_text(row, "image_uuid"),
        ssh=addresses(row),
        started_at=_moment(row, "start_date"),
        ends_at=_moment(row, "end_date"),
        upload_usd_gb=_money(row, "inet_up_cost") or Decimal(0),
        raw={key: value for key, value in row.items() if key not in _DROPPED},
    )


def price_rise_of(row: Row) -> PriceRise | None:
    """The GPUs' part alone is told, by the second."""
    contract, price = contract_id(row.get("contract_id")), _money(row, "new_gpu_costpersec")
    if not contract or price is None:
        return None
    return PriceRise(contract, (price * _SECONDS_IN_HOUR).quantize(_CENT_FRACTION))


def listed_price(row: Row) -> Decimal | None:
    """What a search sorts by: USD an hour with the disk that it was asked for."""
    return _money(row, "dph_total")


def credit_of(row: Row) -> Decimal | None:
    return _money(row, "credit")


def addresses(row: Row) -> tuple[SshAddress, ...]:
    """Direct first. Host and port of the two ways are never mixed: each pair leads somewhere by itself only."""
    found = []
    host, port = _text(row, "public_ipaddr"), _mapped_port(row)
    if host and port:
        found.append(SshAddress(host, port, via="direct"))
    host, port = _text(row, "ssh_host"), _port(row.get("ssh_port"))
    if host and port:
        # With a notebook the proxy has one port for it, and the next for SSH.
        found.append(SshAddress(host, port + ("jupyter" in _text(row, "image_runtype")), via="proxy"))
    return tuple(found)


def country_of(row: Row) -> str:
    """ISO 3166 alpha-2, or empty. A place reads ``Sweden, SE`` or ``, US``, and may be missing."""
    code = _text(row, "country_code").upper()
    match = _COUNTRY.search(_text(row, "geolocation"))
    return match[1] if match else code if re.fullmatch("[A-Z]{2}", code) else ""


def _hour(row: Row, disk_gb: int) -> Decimal | None:
    """The dearer of what is told and what it adds up to: the disk may have been counted in another size."""
    told, base, storage = (_money(row, key) for key in ("dph_total", "dph_base", "storage_cost"))
    added = None if base is None or storage is None else base + disk_gb * storage / HOURS_IN_MONTH
    known = [price for price in (told, added) if price is not None]
    return max(known).quantize(_CENT_FRACTION) if known else None


def _running_price(row: Row) -> Decimal:
    """Also of a machine that stands still: what it costs as soon as it runs."""
    search = row.get("search")
    told = _money(search, "totalHour") if isinstance(search, dict) else None
    return _money(row, "dph_total") or told or Decimal(0)


def _reliability(row: Row) -> float:
    told = _float(row, "reliability2")
    return (told if told is not None else _float(row, "reliability")) or 0.0


def _mapped_port(row: Row) -> int:
    ports = row.get("ports")
    maps = ports.get("22/tcp") if isinstance(ports, dict) else None
    candidates = (
        (one.get("HostPort") for one in maps or () if isinstance(one, dict)) if isinstance(maps, list) else ()
    )
    return next((port for port in map(_port, candidates) if port), 0)


def _port(value: object) -> int:
    number = as_number(value)
    return int(number) if number is not None and 0 < number < 65_536 else 0


def _moment(row: Row, key: str) -> datetime | None:
    seconds = _float(row, key)
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _money(row: Row, key: str) -> Decimal | None:
    """Never below zero: a price that we do not understand must not look like a bargain."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    return amount if amount.is_finite() and 0 <= amount < 10**9 else None


def _int(row: Row, key: str) -> int:
    return int(max(0.0, _float(row, key) or 0.0))


def _float(row: Row, key: str) -> float | None:
    return as_number(row.get(key))


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
