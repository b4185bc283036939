"""``dumont doctor``: one look at everything between this terminal and the API, each with a word on what to do."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import typer

from dumont.client import VERSION
from dumont.client.errors import ClientError
from dumont.client.http import Client

from .arguments import AsJson
from .exits import Code, Failure, failure_of
from .kept import config_path
from .language import in_language
from .output import print_json, say
from .session import Session, connect, session_of

API_VERSION = "1"
MOST_SKEW_SECONDS = 30.0
MOST_LIST_AGE_SECONDS = 300.0
NEEDED = (
    "/api/me",
    "/api/operations/{id}/cancel",
    "/api/instances/{id}/wake",
    "/api/instances/{id}/hibernate",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """``code``: what this alone would end with; ``DONE`` where it is well."""

    name: str
    code: Code
    said: str


def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check the way to the API.

    Address, TLS, token, versions, clocks, ssh. Exits with the code of the first fault.
    """
    session = session_of(ctx)
    found = list(_examine(session))
    if as_json:
        print_json({"version": VERSION, "checks": [_plain(one) for one in found]})
    else:
        for one in found:
            say(f"{'ok ' if one.code is Code.DONE else 'BAD'}  {one.name:<8} {in_language(one.said)}")
    worst = next((one.code for one in found if one.code is not Code.DONE), Code.DONE)
    if worst is not Code.DONE:
        raise typer.Exit(int(worst))


def _plain(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "code": int(finding.code), "ok": finding.code is Code.DONE}


def _examine(session: Session) -> Iterator[Finding]:
    """Each check on its own: what fails does not hide what comes after it."""
    yield _tried("config", _config)
    yield _tried("ssh", _ssh)
    try:
        # Without a token: whether the server is there does not depend on who asks.
        anybody = connect(session.url, None, session.options.timeout)
    except (ClientError, Failure) as error:
        yield _fault("address", error)
        return
    yield _tried("server", lambda: _server(anybody))
    yield _tried("clock", lambda: _clock(anybody))
    yield _tried("ready", lambda: _ready(anybody))
    yield _tried("token", lambda: _token(session))
    yield _tried("api", lambda: _api(session))


def _tried(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, Code.DONE, check())
    except (ClientError, Failure) as error:
        return _fault(name, error)
    except (KeyError, TypeError, ValueError):
        return Finding(name, Code.UNREACHABLE, "the answer is not Dumont's")


def _fault(name: str, error: ClientError | Failure) -> Finding:
    failure = error if isinstance(error, Failure) else failure_of(error)
    return Finding(name, failure.code, failure.message)


def _config() -> str:
    path = config_path(os.environ)
    if not path.exists():
        return "nothing is kept; DUMONT_URL and DUMONT_TOKEN count"
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Failure(Code.USAGE, f"{path} has mode {mode:04o}: run chmod 600 {path}")
    return f"{path}, mode {mode:04o}"


def _ssh() -> str:
    found = shutil.which("ssh")
    if found is None:
        raise Failure(Code.USAGE, "there is no ssh here: dumont ssh needs an OpenSSH client")
    return found


def _server(client: Client) -> str:
    client.get("/livez")
    how = "with TLS, its certificate is good" if client.base_url.startswith("https:") else "WITHOUT TLS"
    return f"{client.base_url} answers {how}"


def _clock(client: Client) -> str:
    said = client.call("GET", "/livez").headers.get("Date")
    if said is None:
        return "the server does not tell the time"
    skew = (datetime.now(UTC) - parsedate_to_datetime(said)).total_seconds()
    if abs(skew) > MOST_SKEW_SECONDS:
        where = "ahead of" if skew > 0 else "behind"
        raise Failure(
            Code.FAILED, f"this clock is {abs(skew):.0f} s {where} the server's: countdowns are wrong"
        )
    return "agrees with the server's"


def _ready(client: Client) -> str:
    lists = client.get("/readyz")["lists"]
    old = sorted(name for name, age in lists.items() if age is None or age > MOST_LIST_AGE_SECONDS)
    if old:
        raise Failure(Code.FAILED, f"no recent list of machines from: {', '.join(old)}")
    return f"the database answers; machines are listed: {', '.join(sorted(lists))}"


def _token(session: Session) -> str:
    me = session.client.get("/api/me")
    token = me["token"]
    until = f"until {token['expires_at']}" if token["expires_at"] else "without end"
    return f"{token['name']!r} of {me['user']}, {until}"


def _api(session: Session) -> str:
    schema = session.client.get("/api/schema", {"format": "json"})
    version = str(schema["info"]["version"])
    if version != API_VERSION:
        raise Failure(Code.FAILED, f"the API is version {version}, this command line is for {API_VERSION}")
    missing = [path for path in NEEDED if path not in schema["paths"]]
    if missing:
        raise Failure(
            Code.FAILED, f"the server is older than this command line: it lacks {', '.join(missing)}"
        )
    return f"version {version}, as this command line {VERSION} wants it"
