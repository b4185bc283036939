"""What a command works with: which server, which token, one client; made when it is first needed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

from dumont.client.addresses import checked
from dumont.client.errors import BadAddress
from dumont.client.http import Client

from .exits import Code, Failure
from .kept import Kept, config_path, read_kept
from .language import current

_TOKEN = re.compile(r"[\x21-\x7e]{1,512}")


@dataclass(frozen=True, slots=True)
class Options:
    """As given before the command's name; ``timeout`` in seconds, of one request."""

    url: str | None = None
    token_file: Path | None = None
    timeout: float = 30.0
    plain_http: bool = False


class Session:
    """Of one command. An option goes before the environment, that before what was kept by ``dumont login``."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @cached_property
    def client(self) -> Client:
        url = self.url
        return connect(url, self._token_for(url), self.options.timeout)

    @cached_property
    def kept(self) -> Kept | None:
        return read_kept(config_path(os.environ))

    @cached_property
    def url(self) -> str:
        """Checked: a token may be sent there."""
        given = self.options.url or os.environ.get("DUMONT_URL")
        if given:
            return self._checked(given)
        if self.kept is None:
            raise Failure(
                Code.NOT_ALLOWED, "Not logged in: run dumont login URL, or set DUMONT_URL and DUMONT_TOKEN."
            )
        return checked(self.kept.url, plain_http=self.options.plain_http or self.kept.plain_http)

    def _checked(self, given: str) -> str:
        try:
            return checked(given, plain_http=self.options.plain_http)
        except BadAddress:
            if self.kept is None or not self.kept.plain_http or given.rstrip("/") != self.kept.url:
                raise
            return self.kept.url

    def _token_for(self, url: str) -> str:
        if self.options.token_file is not None:
            return read_token(self.options.token_file)
        if given := os.environ.get("DUMONT_TOKEN"):
            return check_token(given)
        # What was kept for one server is not for another.
        if self.kept is None or self.kept.url != url:
            raise Failure(Code.NOT_ALLOWED, f"There is no token for {url}: run dumont login {url}")
        return check_token(self.kept.token)


def connect(url: str, token: str | None, timeout: float) -> Client:
    """Every client is made here."""
    return Client(url, token, timeout=timeout, language=current())


def session_of(ctx: typer.Context) -> Session:
    found = ctx.obj
    if not isinstance(found, Session):
        raise TypeError(found)
    return found


def read_token(path: Path) -> str:
    try:
        return check_token(path.read_text(encoding="ascii", errors="replace"))
    except OSError as error:
        raise Failure(Code.USAGE, f"{path} cannot be read: {error.strerror}.") from None


def check_token(text: str) -> str:
    """Without white space around it. Never shown, also not when it is wrong."""
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise Failure(Code.NOT_ALLOWED, "This is no token: it must be one word of printable characters.")
    return token


def instance_path(instance: str, *more: str) -> str:
    return "/".join(["/api/instances", quote(instance, safe=""), *(quote(part, safe="") for part in more)])


def status_of(session: Session, instance: str) -> dict[str, Any]:
    return session.client.get(instance_path(instance, "status"))
