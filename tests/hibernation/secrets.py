"""Everything that comes into being during a test and must be in no log, and the logs themselves."""

from __future__ import annotations

import base64
import io
import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote

import pytest
from pytest_django import Settings

from hibernation.logs.lines import JsonLines, Lines
from hibernation.services import keys, tokens
from hibernation.snapshots.filesystem import FilesystemStore
from hibernation.snapshots.s3 import S3Store

_AMZ = re.compile(r"X-Amz-Signature=([0-9a-f]+)")


class Secrets:
    """``found`` is what was made so far; ``text`` all that was logged, as an installation at DEBUG would.

    ``raw`` is what our own loggers were handed, before anything was taken out of it.
    """

    def __init__(self, settings: Settings) -> None:
        self.found: set[str] = {settings.SECRET_KEY, settings.DUMONT_STORE_SECRET.hex()}
        self._told, self._raw = io.StringIO(), io.StringIO()
        for key in settings.DUMONT_ENCRYPTION_KEYS:
            self.add(key)

    @property
    def text(self) -> str:
        return self._told.getvalue()

    @property
    def raw(self) -> str:
        return self._raw.getvalue()

    def add(self, secret: str | bytes) -> None:
        """Bytes in each form in which they travel."""
        if isinstance(secret, bytes):
            self.found |= {secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]}
        elif len(secret) >= 8:
            self.found |= {secret, quote(secret, safe="")}

    def leaked(self, text: str) -> list[str]:
        shown = text + unquote(text)
        return sorted(secret for secret in self.found if secret in shown)

    @contextmanager
    def listening(self) -> Iterator[None]:
        root = logging.getLogger()
        handlers = [_handler(self._told, form) for form in (Lines(), JsonLines())]
        ours = _handler(self._raw, logging.Formatter())
        ours.addFilter(lambda record: record.name.startswith(("dumont", "hibernation")))
        level = root.level
        for handler in (*handlers, ours):
            root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.setLevel(level)
            for handler in (*handlers, ours):
                root.removeHandler(handler)


def _handler(stream: io.StringIO, form: logging.Formatter) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(form)
    return handler


@contextmanager
def watched(settings: Settings, patch: pytest.MonkeyPatch) -> Iterator[Secrets]:
    """Notes every token, signature and key that is made from here on, and all that is logged meanwhile."""
    seen = Secrets(settings)
    _note(patch, secrets, "token_urlsafe", seen.add)
    _note(patch, tokens, "_signature", seen.add)
    _note(patch, FilesystemStore, "_signature", seen.add)
    _note(patch, S3Store, "_sign", lambda url: [seen.add(one) for one in _AMZ.findall(url)])
    _note(patch, keys, "_unwrap", seen.add)
    _note(patch, tokens, "issue_agent_token", seen.add)
    _note(patch, keys, "keys_of", lambda made: [seen.add(one) for one in (made.id, made.cipher) if one])
    with seen.listening():
        yield seen


def _note(patch: pytest.MonkeyPatch, where: Any, name: str, note: Any) -> None:
    real = getattr(where, name)

    def noting(*args: Any, **more: Any) -> Any:
        made = real(*args, **more)
        note(made)
        return made

    patch.setattr(where, name, noting)
