"""Runpod's names for GPUs and data centres, in ours. Pure."""

from __future__ import annotations

import re

from hibernation.domain.regions import OTHER, region_of

CLOUDS = ("SECURE", "COMMUNITY")
"""Halls of Runpod's partners, and other people's machines."""

_GPUS = {
    "NVIDIA A100 80GB PCIe": "A100 PCIE",
    "NVIDIA A100-SXM4-80GB": "A100 SXM4",
    "NVIDIA H100 PCIe": "H100 PCIE",
    "NVIDIA H100 80GB HBM3": "H100 SXM",
    "NVIDIA RTX 5000 Ada Generation": "RTX 5000Ada",
    "NVIDIA RTX 6000 Ada Generation": "RTX 6000Ada",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "RTX PRO 6000 WS",
    "NVIDIA GeForce RTX 4080 SUPER": "RTX 4080S",
    "Tesla V100-PCIE-16GB": "Tesla V100",
}
_MAKERS = re.compile(r"^(NVIDIA |AMD )?(GeForce )?")
_COUNTRIES_FIRST = frozenset({"US", "CA"})


def gpu_type_of(gpu_id: str) -> str:
    """``NVIDIA GeForce RTX 4090`` is ``RTX 4090``."""
    return _GPUS.get(gpu_id) or _MAKERS.sub("", gpu_id)


def country_of(data_center: str) -> str:
    """ISO 3166 alpha-2, or empty: ``EU-RO-1`` is in Romania, but ``US-IL-1`` in Illinois."""
    parts = data_center.split("-")
    if parts[0] in _COUNTRIES_FIRST:
        return parts[0]
    return parts[1] if len(parts) > 1 and region_of(parts[1]) != OTHER else ""


def offer_id_of(gpu_id: str, cloud: str, data_center: str) -> str:
    return f"{gpu_id}:{cloud}:{data_center}"


def parts_of(offer_id: str) -> tuple[str, str, str]:
    """GPU, cloud and data centre, which is empty where it was not told; ``ValueError`` if it is no offer's id."""
    gpu_id, cloud, data_center = offer_id.rsplit(":", 2)
    if not gpu_id or cloud not in CLOUDS:
        raise ValueError(offer_id)
    return gpu_id, cloud, data_center
