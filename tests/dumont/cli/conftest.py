"""The command line against the real API: requests go to Django in this process, and waiting runs the operations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from dumont.cli import session, waiting
from dumont.cli.main import app
from dumont.client.http import Client
from tests.hibernation.services.world import World

URL = "http://127.0.0.1:5000"


@dataclass
class Wire(httpx.BaseTransport):
    """Carries requests to the application; ``lost`` answers get lost on the way, ``replies`` come from a stranger."""

    app: httpx.WSGITransport
    requests: list[httpx.Request] = field(default_factory=list)
    lost: int = 0
    replies: list[httpx.Response] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.replies:
            return self.replies.pop(0)
        reply = self.app.handle_request(request)
        if self.lost:
            self.lost -= 1
            reply.close()
            raise httpx.ReadError("connection reset", request=request)
        return reply


@dataclass
class Terminal:
    """Somebody who types commands. ``token`` must never be among what is shown."""

    token: str
    wire: Wire
    config: Path

    def run(self, *arguments: str, code: int = 0, typed: str = "") -> Result:
        result = CliRunner().invoke(app, arguments, input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == code, result.output
        assert self.token not in result.output
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What stdout holds, which must be JSON and nothing else."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)


@pytest.fixture
def wire() -> Iterator[Wire]:
    from django.core.signals import request_finished, request_started
    from django.core.wsgi import get_wsgi_application
    from django.db import close_old_connections

    # As Django's own test client does: the connection is the test's.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield Wire(httpx.WSGITransport(get_wsgi_application()))
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def terminal(world: World, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    from hibernation.services.tokens import create_api_token
    from tests.factories import make_user

    token = create_api_token(make_user("ana"), "laptop")
    monkeypatch.setattr(session, "Client", lambda *args, **more: Client(*args, **more, transport=wire))
    monkeypatch.setattr(waiting, "pause", work_of(world))
    for name, value in {
        "XDG_CONFIG_HOME": tmp_path / "config",
        "XDG_CACHE_HOME": tmp_path / "cache",
        "DUMONT_URL": URL,
        "DUMONT_TOKEN": token,
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    return Terminal(token, wire, tmp_path / "config" / "dumont" / "config.toml")


def work_of(world: World) -> Callable[[float], None]:
    """While somebody waits, each operation goes a step on."""
    from hibernation.models import Operation

    def work(seconds: float) -> None:
        for operation in Operation.objects.filter(state="running"):
            world.step(operation)

    return work
