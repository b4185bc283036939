"""What is known of GPU types, and which may stand in for which. Pure.

Memory and bandwidth are from NVIDIA's data sheets of each product, compute capability from its list of CUDA GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Gpu:
    """``bandwidth_gb_s`` is of its memory: what bounds most training and inference, so a fair measure of speed."""

    memory_gb: float
    compute_capability: float
    bandwidth_gb_s: int


GPUS: dict[str, Gpu] = {
    "Tesla T4": Gpu(16, 7.5, 320),
    "Tesla V100": Gpu(16, 7.0, 900),
    "RTX 2080 Ti": Gpu(11, 7.5, 616),
    "TITAN RTX": Gpu(24, 7.5, 672),
    "RTX 3060": Gpu(12, 8.6, 360),
    "RTX 3060 Ti": Gpu(8, 8.6, 448),
    "RTX 3070": Gpu(8, 8.6, 448),
    "RTX 3070 Ti": Gpu(8, 8.6, 608),
    "RTX 3080": Gpu(10, 8.6, 760),
    "RTX 3080 Ti": Gpu(12, 8.6, 912),
    "RTX 3090": Gpu(24, 8.6, 936),
    "RTX 3090 Ti": Gpu(24, 8.6, 1008),
    "RTX A4000": Gpu(16, 8.6, 448),
    "RTX A5000": Gpu(24, 8.6, 768),
    "RTX A6000": Gpu(48, 8.6, 768),
    "A10": Gpu(24, 8.6, 600),
    "A40": Gpu(48, 8.6, 696),
    # An A100 has 40 or 80 GB under one name; the offer says which.
    "A100 PCIE": Gpu(40, 8.0, 1555),
    "A100 SXM4": Gpu(40, 8.0, 1555),
    "RTX 4060": Gpu(8, 8.9, 272),
    "RTX 4060 Ti": Gpu(8, 8.9, 288),
    "RTX 4070": Gpu(12, 8.9, 504),
    "RTX 4070 Ti": Gpu(12, 8.9, 504),
    "RTX 4080": Gpu(16, 8.9, 717),
    "RTX 4080S": Gpu(16, 8.9, 736),
    "RTX 4090": Gpu(24, 8.9, 1008),
    "RTX 5000Ada": Gpu(32, 8.9, 576),
    "RTX 6000Ada": Gpu(48, 8.9, 960),
    "L4": Gpu(24, 8.9, 300),
    "L40": Gpu(48, 8.9, 864),
    "L40S": Gpu(48, 8.9, 864),
    "H100 PCIE": Gpu(80, 9.0, 2000),
    "H100 SXM": Gpu(80, 9.0, 3350),
    "H100 NVL": Gpu(94, 9.0, 3900),
    "H200": Gpu(141, 9.0, 4800),
    "B200": Gpu(180, 10.0, 7700),
    "RTX 5070": Gpu(12, 12.0, 672),
    "RTX 5070 Ti": Gpu(16, 12.0, 896),
    "RTX 5080": Gpu(16, 12.0, 960),
    "RTX 5090": Gpu(32, 12.0, 1792),
    "RTX PRO 6000 WS": Gpu(96, 12.0, 1792),
}
"""By the marketplaces' names."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "A100": ("A100 PCIE", "A100 SXM4"),
    "H100": ("H100 PCIE", "H100 SXM", "H100 NVL"),
}
"""Names that people say, and the types that are meant."""

SLOWER_BY = 0.8
"""A stand-in has at least this part of the wished type's speed."""


def gpu_name(text: str) -> str:
    """The name as we spell it: ``RTX_4090`` is ``RTX 4090``."""
    return text.replace("_", " ").strip()


@lru_cache(maxsize=256)
def wished_types(wish: str) -> tuple[str, ...]:
    """The types that a wish names, itself first."""
    name = gpu_name(wish)
    return (name, *FAMILIES.get(name, ()))


def facts_of(wish: str) -> Gpu | None:
    """What is known of a type; of a family, its least. ``None`` for an unknown one, which nothing may stand in for."""
    known = [GPUS[name] for name in wished_types(wish) if name in GPUS]
    return min(known, key=lambda gpu: (gpu.memory_gb, gpu.bandwidth_gb_s), default=None)


@lru_cache(maxsize=256)
def equivalents(wish: str) -> tuple[str, ...]:
    """The types that may stand in for the wished one: nothing that ran there must fail here.

    At least its memory and compute capability, not much slower, and of the same major capability: CUDA promises that
    what was compiled for 8.6 runs on 8.9, and not that it runs on 12.0, where many a workspace's libraries fail.
    """
    wished = facts_of(wish)
    if wished is None:
        return ()
    named = wished_types(wish)
    return tuple(name for name, gpu in GPUS.items() if name not in named and _stands_in(gpu, wished))


def _stands_in(gpu: Gpu, wished: Gpu) -> bool:
    return (
        gpu.memory_gb >= wished.memory_gb
        and gpu.compute_capability >= wished.compute_capability
        and int(gpu.compute_capability) == int(wished.compute_capability)
        and gpu.bandwidth_gb_s >= SLOWER_BY * wished.bandwidth_gb_s
    )
