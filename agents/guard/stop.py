"""Asks the provider to stop this very machine, with the key that the provider itself put into it. Never destroys.

The key can do nothing but to this one rental. It is looked up for each call, never kept and never written anywhere.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agents.client import read_body
from agents.protocol import AGENT_VERSION, GuardTerms

TIMEOUT_SECONDS = 10.0
MAX_PROBLEM_CHARS = 160
VAST = "https://console.vast.ai"
# A host name that is none is a ValueError.
_FAILURES = (OSError, ValueError, http.client.HTTPException)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Told(Enum):
    """``UNCLEAR``: the order went out and no answer came back; it may have been taken."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Answer:
    told: Told
    problem: str = ""


class Powerless(Exception):
    """This box cannot stop itself; the message says why."""


@dataclass(frozen=True, slots=True)
class _Key:
    url: str
    contract_id: str
    secret: str


def box_environment(own: Mapping[str, str] = os.environ, proc: Path = Path("/proc")) -> dict[str, str]:
    """What the provider set for the container. A process started over SSH does not inherit it, the first one has it."""
    found: dict[str, str] = {}
    for path, between in ((Path("/etc/environment"), "\n"), (proc / "1" / "environ", "\0")):
        try:
            text = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        pairs = (entry.partition("=") for entry in text.split(between))
        found |= {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}
    return found | dict(own)


class VastStopper:
    """vast.ai: ``CONTAINER_API_KEY`` is a key for this rental alone; a stopped rental keeps its disk."""

    def __init__(
        self, contract_id: str, environment: Callable[[], Mapping[str, str]] = box_environment
    ) -> None:
        self._contract_id = contract_id
        self._environment = environment

    def check(self) -> None:
        """``Powerless`` unless there is a key for the rental that the control plane knows this box as."""
        self._key()

    def reach(self) -> str:
        """Empty if the provider is there now, else what is in the way. Sends nothing but a greeting."""
        try:
            with closing(_connection(self._key().url)) as connection:
                connection.connect()
        except _FAILURES as error:
            return f"vast.ai cannot be reached: {_words(error)}"
        return ""

    def stop(self) -> Answer:
        """Repeatable: a machine that stops already is told so once more."""
        key, sent = self._key(), False
        try:
            with closing(_connection(key.url)) as connection:
                connection.connect()
                sent = True
                return _put_stopped(connection, key)
        except _FAILURES as error:
            if sent:
                return Answer(Told.UNCLEAR, f"vast.ai did not answer: {_words(error)}")
            return Answer(Told.REFUSED, f"vast.ai cannot be reached: {_words(error)}")

    def _key(self) -> _Key:
        environment = self._environment()
        secret, container = environment.get("CONTAINER_API_KEY", ""), environment.get("CONTAINER_ID", "")
        if not secret.isascii() or not secret.isprintable() or not secret:
            raise Powerless("this machine has no usable CONTAINER_API_KEY")
        if not self._contract_id.isdecimal() or container not in ("", self._contract_id):
            raise Powerless(
                f"this container is {container[:20] or 'nameless'}, its rental {self._contract_id[:20]}"
            )
        return _Key(_checked(environment.get("VAST_URL") or VAST), self._contract_id, secret)


def stopper(terms: GuardTerms, environment: Callable[[], Mapping[str, str]] = box_environment) -> VastStopper:
    """The way this box has to stop itself, or ``Powerless``."""
    if terms.provider != "vast":
        raise Powerless(f"a machine of the provider {terms.provider[:32]} cannot stop itself")
    found = VastStopper(terms.contract_id, environment)
    found.check()
    return found


def _checked(url: str) -> str:
    parts = urlsplit(url)
    is_own = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or is_own):
        raise Powerless("VAST_URL is not an https:// address: the key is not sent there")
    return url


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)


def _put_stopped(connection: http.client.HTTPConnection, key: _Key) -> Answer:
    headers = {
        "Authorization": f"Bearer {key.secret}",
        "Content-Type": "application/json",
        "User-Agent": f"dumont-agent/{AGENT_VERSION}",
    }
    path = f"/api/v0/instances/{key.contract_id}/"
    connection.request("PUT", path, json.dumps({"state": "stopped"}).encode(), headers)
    response = connection.getresponse()
    return _judge(response.status, read_body(response), key)


def _judge(status: int, body: bytes, key: _Key) -> Answer:
    """Only a JSON object that says ``success`` is a yes: 200 alone may be a refusal, or another's login page."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if status == 200 and isinstance(said, dict) and said.get("success") is True:
        return Answer(Told.ACCEPTED)
    why = " ".join(_said(said)) if isinstance(said, dict) else body.decode(errors="replace")
    # An answer may repeat what it was sent, and this goes into a log.
    return Answer(Told.REFUSED, f"vast.ai answers {status}: {_plain(why.replace(key.secret, '…'))}")


def _said(answer: dict[str, Any]) -> list[str]:
    return [str(answer[name]) for name in ("error", "msg", "message", "detail") if answer.get(name)]


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:MAX_PROBLEM_CHARS]


def _words(error: Exception) -> str:
    return _plain(str(error) or type(error).__name__)
