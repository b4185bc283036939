"""``offers``: which machine a wake would rent now, and why that one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dumont.client.units import duration

from .arguments import AsJson, Gpu, Instance, MaxPrice, Region
from .orders import wish
from .output import print_json, say, table
from .session import session_of


def offers(
    ctx: typer.Context,
    instance: Instance,
    gpu: Gpu = None,
    region: Region = None,
    max_price: MaxPrice = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="Of each list.")] = 5,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Also those that would not do, and why.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Rank the offers as a wake would, with the reasons."""
    asked = {"instance": instance, "limit": limit, **wish(gpu, region, max_price)}
    found = session_of(ctx).client.get("/api/offers", asked)
    if as_json:
        print_json(found)
        return
    if found["offers"]:
        _rank(found)
    else:
        _advise(found)
    if rejected:
        rows = (
            (_gpu(row["offer"]), row["offer"]["price_usd_per_hour"], row["why"]) for row in found["rejected"]
        )
        table(("GPU", "$/H", "WHY NOT"), rows, "No offer was rejected.")


def _rank(found: dict[str, Any]) -> None:
    table(
        ("#", "GPU", "WHERE", "$/H", "WORK COSTS", "USABLE IN", "WHY"),
        (
            (
                row["rank"],
                _gpu(row["offer"]),
                row["offer"]["country"] or row["offer"]["region"],
                row["offer"]["price_usd_per_hour"],
                f"${float(row['expected_cost_usd']):.2f}",
                duration(row["expected_usable_seconds"]),
                "; ".join(row["reasons"]),
            )
            for row in found["offers"]
        ),
        "",
    )
    say(
        f"{len(found['offers'])} of {found['fitting']} that fit; {sum(found['rejected_by'].values())} faults in others."
    )


def _advise(found: dict[str, Any]) -> None:
    advice = found["advice"] or {"sentence": "Nothing fits.", "relaxations": []}
    say(advice["sentence"])
    # The sentence names the first one.
    for one in advice["relaxations"][1:]:
        say(f"  {one['sentence']}")


def _gpu(offer: dict[str, Any]) -> str:
    return f"{offer['gpu_count']}x {offer['gpu_type']}" if offer["gpu_count"] > 1 else str(offer["gpu_type"])
