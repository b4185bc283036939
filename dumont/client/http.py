"""The API with a person's token. Each request is sent once: to repeat it is for those who know what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from . import VERSION
from .addresses import is_loopback
from .errors import ClientError, Refused, Unreachable

_CONNECT_SECONDS = 10.0
_SHOWN = 300
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` is empty where nothing was sent, as with 204 and 304."""

    status: int
    headers: Mapping[str, str]
    body: Json


class Client:
    """``base_url`` names a server and nothing more. Raises ``Refused`` and ``Unreachable``.

    Neither a redirect nor a link is ever followed to another server: the token is for this one.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None,
        *,
        timeout: float = 30.0,
        language: str = "en",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url
        headers = {"Accept": "application/json", "User-Agent": f"dumont/{VERSION}"}
        headers["Accept-Language"] = language
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        plain = base_url.startswith("http:")
        self._http = httpx.Client(
            base_url=base_url,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            # A kept connection may be dead where a change is sent on it; without TLS a new one costs nothing.
            limits=httpx.Limits(max_keepalive_connections=0 if plain else 2),
            # A proxy of the environment has no business on this machine's own loopback.
            trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
            transport=transport,
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Json:
        return self.call("GET", path, params=params).body

    def post(self, path: str, body: Json | None = None, *, key: str | None = None) -> Json:
        """``key``: the Idempotency-Key, with which the same order may be sent again."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.call("POST", path, body=body or {}, headers=headers).body

    def put(self, path: str, body: Json) -> Json:
        return self.call("PUT", path, body=body).body

    def delete(self, path: str) -> Json:
        return self.call("DELETE", path).body

    def pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Json]:
        """This page and all that follow it."""
        page = self.get(path, params)
        yield page
        while page.get("next"):
            page = self.follow(page["next"])
            yield page

    def follow(self, link: str) -> Json:
        """What a link of the API leads to."""
        return self.get(_here(link))

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        try:
            reply = self._http.request(method, path, params=params, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from None
        if reply.status_code != httpx.codes.NOT_MODIFIED and not reply.is_success:
            raise _refused(reply)
        return Answer(reply.status_code, reply.headers, _object(reply) if reply.content else {})

    @contextmanager
    def stream(self, path: str) -> Iterator[httpx.Response]:
        """The answer before its body, which the caller reads: the bytes as they are, never encoded.

        ``Unreachable`` also if it breaks off, or if something in between encodes it all the same.
        """
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        try:
            with self._http.stream("GET", path, headers=headers) as reply:
                if not reply.is_success:
                    reply.read()
                    raise _refused(reply)
                _check_plain(reply)
                yield reply
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.base_url} does not answer: {str(error) or type(error).__name__}")


def _here(link: str) -> str:
    """The same address on the server that we talk to: behind a proxy, links may name another."""
    parts = urlsplit(link)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _check_plain(reply: httpx.Response) -> None:
    encoding = reply.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise Unreachable(f"What answers at {reply.url.host} encodes files as {encoding[:_SHOWN]}, unasked.")


def _object(reply: httpx.Response) -> Json:
    try:
        found = reply.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unreachable(f"What answers at {reply.url.host} is not Dumont's API.")
    return found


def _refused(reply: httpx.Response) -> ClientError:
    if reply.is_redirect:
        where = reply.headers.get("Location", "")
        return Refused(reply.status_code, "redirect", f"The server sends us to {where}: use that address.")
    try:
        error = reply.json()["error"]
        fields = error.get("fields")
        told = {str(k): str(v) for k, v in fields.items()} if isinstance(fields, dict) else {}
        message = f"{error['message']}{_where_to_look(reply)}"
        return Refused(reply.status_code, str(error.get("code", "")), message, told)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused(reply.status_code, "", reply.text[:_SHOWN] or reply.reason_phrase)


def _where_to_look(reply: httpx.Response) -> str:
    """What failed over there is in the server's log under this id."""
    known = reply.headers.get("X-Request-Id", "")
    return f" (request {known[:_SHOWN]})" if known and reply.is_server_error else ""
