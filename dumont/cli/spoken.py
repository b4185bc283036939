"""Commands whose help is told in the chosen language: it is written in English where each command is."""

from __future__ import annotations

import os
from typing import Any

from typer.core import TyperCommand, TyperGroup

from .language import choose, in_language, wanted

HELP = "Show this message and exit."
USAGE = "Usage: "


def paragraphs(text: str) -> list[str]:
    """Each on one line, as it is told."""
    return [" ".join(one.split()) for one in text.split("\n\n") if one.strip()]


def _told(text: str | None) -> str | None:
    return text and "\n\n".join(in_language(one) for one in paragraphs(text))


def _tell(command: Any) -> None:
    """The tree of commands is made anew for each run, so this may change it."""
    command.help, command.short_help = _told(command.help), _told(command.short_help)
    for parameter in command.params:
        parameter.help = _told(getattr(parameter, "help", None))
    for one in getattr(command, "commands", {}).values():
        _tell(one)


class _Speaks:
    """Of a command: what its library says in help."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        pieces = self.collect_usage_pieces(ctx)  # type: ignore[attr-defined]
        formatter.write_usage(ctx.command_path, " ".join(pieces), prefix=in_language(USAGE))

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.help = in_language(HELP)
        return option


class SpokenCommand(_Speaks, TyperCommand):
    pass


class SpokenGroup(_Speaks, TyperGroup):
    """Chooses the language, before anything is parsed."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        choose(wanted(args, os.environ))
        _tell(self)
        return super().make_context(info_name, args, parent, **extra)
