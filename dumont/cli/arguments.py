"""Arguments and options that several commands share, and what the shell completes them with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dumont.client.errors import ClientError

from .exits import Failure
from .session import Options, Session

_QUICK_SECONDS = 2.0


def complete_instance(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids that begin so, with what each does. A shell that waits for a word is told nothing of what went wrong."""
    given: dict[str, Any] = ctx.find_root().params
    options = Options(given.get("url"), given.get("token_file"), _QUICK_SECONDS, bool(given.get("insecure")))
    try:
        found = Session(options).client.get("/api/instances", {"search": incomplete})["instances"]
    except (ClientError, Failure, OSError, KeyError):
        return []
    known = [(str(row["instance_id"]), str(row["status"])) for row in found]
    return [(name, status) for name, status in known if name.startswith(incomplete) and name.isprintable()]


Instance = Annotated[
    str, typer.Argument(metavar="ID", help="The instance, as vast_12345.", autocompletion=complete_instance)
]
AnyInstance = Annotated[
    str | None,
    typer.Argument(metavar="[ID]", help="Only of this instance.", autocompletion=complete_instance),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON, and nothing else.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Stay until it has ended, and tell how it goes on.")
]
WaitAtMost = Annotated[
    float | None,
    typer.Option("--wait-at-most", min=0, metavar="SECONDS", help="Then exit with 7; the operation goes on."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="How many, the newest.")]
Gpu = Annotated[str | None, typer.Option("--gpu", metavar="NAME", help="As «RTX 3090».")]
Region = Annotated[str | None, typer.Option("--region", help="A region or country, or several: EU,US.")]
MaxPrice = Annotated[str | None, typer.Option("--max-price", metavar="USD", help="By the hour.")]
