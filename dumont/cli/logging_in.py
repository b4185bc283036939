"""``dumont login``: asks for a token, tries it, and keeps it for its owner alone."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Annotated

import typer

from dumont.client.addresses import checked

from .arguments import AsJson
from .exits import Code, Failure
from .kept import Kept, config_path, write_kept
from .language import in_language
from .output import print_json, say
from .session import check_token, connect, read_token, session_of


def login(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="The server, as https://dumont.example.org.")],
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read the token from stdin.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a server and a token of yours for the other commands."""
    options = session_of(ctx).options
    address = checked(url, plain_http=options.plain_http)
    token = read_token(options.token_file) if options.token_file else check_token(_ask(token_stdin))
    me = connect(address, token, options.timeout).get("/api/me")
    path = config_path(os.environ)
    write_kept(path, Kept(address, token, options.plain_http))
    if as_json:
        print_json({"url": address, **me})
    else:
        say(f"Logged in to {address} as {me['user']}. Kept in {path}.")


def _ask(token_stdin: bool) -> str:
    if token_stdin:
        return sys.stdin.readline()
    if not _is_terminal():
        raise Failure(Code.USAGE, "There is nobody to ask for the token: use --token-stdin or --token-file.")
    return getpass.getpass(in_language("Token (dmt_…, not shown): "))


def _is_terminal() -> bool:
    return sys.stdin.isatty()
