"""The program ``dumont``: its global options, its commands, and how each error becomes a sentence and an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dumont.client import VERSION
from dumont.client.errors import ClientError

from . import doctor, instances, logging_in, market, orders, remote, rules, runs, saved
from .exits import MEANING, Code, Failure, failure_of
from .language import LOCALES, in_language, known
from .output import complain, speak_plainly
from .session import Options, Session
from .spoken import SpokenCommand, SpokenGroup


class Commands(SpokenGroup):
    """Errors become one sentence on stderr and the code that scripts look at."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section(in_language("Exit codes")):
            for code, meaning in MEANING.items():
                formatter.write(f"  {code:>3}  {in_language(meaning)}\n")

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ClientError, Failure) as error:
            failure = error if isinstance(error, Failure) else failure_of(error)
            complain(failure.message)
            raise typer.Exit(int(failure.code)) from None
        except KeyError as error:
            complain(f"The answer lacks {error}: the server is of another version. See dumont doctor.")
            raise typer.Exit(int(Code.UNREACHABLE)) from None
        except KeyboardInterrupt:
            raise typer.Exit(int(Code.INTERRUPTED)) from None


app = typer.Typer(
    cls=Commands,
    name="dumont",
    no_args_is_help=True,
    rich_markup_mode=None,
    # A trace may hold a token among its values.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _language(name: str | None) -> str | None:
    if name is not None and known(name) is None:
        raise typer.BadParameter(f"{name} is not among: {', '.join(LOCALES)}")
    return name


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dumont {VERSION}")
        raise typer.Exit


@app.callback()
def dumont(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option("--url", help="The server, instead of the one that is kept.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A file that holds the token.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for one answer.")] = 30.0,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain http also to another machine.")] = False,
    lang: Annotated[
        str | None,
        typer.Option("--lang", callback=_language, help="en or pt-BR; else DUMONT_LANG, else the system's."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Rented GPU machines that sleep when nobody works, and wake where you like.

    Begin with: dumont login https://your.server
    """
    speak_plainly()
    ctx.obj = Session(Options(url, token_file, timeout, insecure))


for command in (
    logging_in.login,
    instances.ls,
    instances.status,
    instances.events,
    orders.hibernate,
    orders.wake,
    rules.config,
    rules.schedule,
    remote.ssh,
    saved.snapshots,
    saved.files,
    saved.get,
    market.offers,
    runs.operations,
    doctor.doctor,
):
    app.command(cls=SpokenCommand)(command)
