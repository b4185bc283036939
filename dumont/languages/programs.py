"""What the command line's help says, from its tree of commands, and the few words that its library tells itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_OF_THE_LIBRARY = (
    *("Arguments", "Options", "Commands", "required", "default: {default}", "env var: {var}", "Aborted!"),
    *("Missing command.", "No such command {name!r}."),
)
_OTHERS = (
    *("{0}; {1}", "{0}: {1}", "{0}, {1}", "{0}. {1}"),
    # Headings of tables and of facts.
    *(
        "INSTANCE",
        "STATUS",
        "AGENT",
        "USE",
        "SLEEPS IN",
        "GOES ON",
        "NAME",
        "WHY",
        "WHY NOT",
        "WHERE",
        "WORK COSTS",
    ),
    *("USABLE IN", "MODE", "SIZE", "CHANGED", "HOW IT STANDS", "WHY IT IS KEPT"),
    # What a message of several lines begins with, and single words in others.
    *("At {0}", "behind", "done"),
    *("status", "why", "agent", "hibernates", "machine", "region", "off"),
)


def words_of_the_command_line() -> Iterator[str]:
    import typer.main

    from dumont.cli.main import app
    from dumont.cli.spoken import HELP, USAGE

    yield from _OF_THE_LIBRARY
    yield from _OTHERS
    yield from (HELP, USAGE)
    yield from _help_of(typer.main.get_command(app))


def _help_of(command: Any) -> Iterator[str]:
    from dumont.cli.spoken import paragraphs

    for text in (command.help, command.short_help, *(getattr(one, "help", "") for one in command.params)):
        yield from paragraphs(text or "")
    for one in getattr(command, "commands", {}).values():
        yield from _help_of(one)
