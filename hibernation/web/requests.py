"""Each request has an id, which its answer and every line about it carry, and leaves one line in the log."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path

from hibernation.logs.context import about, known

log = logging.getLogger("dumont.access")

HEADER = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


class RequestMiddleware:
    """The first of all. A proxy's id is taken if it is one; the query is never logged, for it may be a signature."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        with about(request_id=_id_of(request)):
            response = self._get_response(request)
            response.headers[HEADER] = str(known()["request_id"])
            _tell(request, response.status_code, (time.perf_counter() - began) * 1000)
        return response


def _id_of(request: HttpRequest) -> str:
    given = request.headers.get(HEADER, "")
    return given if _SANE.fullmatch(given) else uuid.uuid4().hex


def _tell(request: HttpRequest, status: int, milliseconds: float) -> None:
    """Until the answer began: what is streamed goes on after it."""
    method, path = str(request.method), escape_uri_path(request.path_info)
    facts = {"method": method, "path": path, "status": status, "ms": round(milliseconds, 1)}
    user = _session_user(request)
    with about(**({"user": user} if user else {})):
        log.info("%s %s %s %.1f ms", method, path, status, milliseconds, extra={"facts": facts})


def _session_user(request: HttpRequest) -> str:
    """Of a browser's session, if a view asked for it: the line is not worth a query."""
    user = getattr(request, "_cached_user", None)
    return user.get_username() if user is not None and user.is_authenticated else ""
