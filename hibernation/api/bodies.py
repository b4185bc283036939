"""Bodies of requests: small ones are read whole before any view, few at a time and never more than is allowed."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase

from hibernation.api.errors import plain_error
from hibernation.api.places import BODIES, Places, busy

# These read what they are sent themselves, once they know who sends it.
_OWN_BOUNDS = ("/api/agent/", "/api/store/")


class BodyMiddleware:
    """Refuses large and unreadable bodies in the API's words; what it lets through is in memory.

    Otherwise the CSRF check, for one, would read a stranger's form for as long as he sends it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(_OWN_BOUNDS):
            return self._get_response(request)
        return _refusal(request) or self._get_response(request)


def _refusal(request: HttpRequest) -> JsonResponse | None:
    length = request.META.get("CONTENT_LENGTH")
    if not length:
        # Django takes such a body for an empty one: a wish would be answered and not heard.
        chunked = "HTTP_TRANSFER_ENCODING" in request.META
        return plain_error(411, "length_required", "Send the body's Content-Length.") if chunked else None
    if length == "0":
        return None
    give = BODIES.take()
    if give is None:
        return busy()
    try:
        request.body  # noqa: B018 - Django keeps it for everybody who reads it later.
    except RequestDataTooBig:
        return plain_error(413, "too_large", "The body is larger than 64 KiB.")
    except UnreadablePostError:
        return plain_error(400, "unreadable", "The body ended early.")
    finally:
        give()
    return None


def read_body(request: HttpRequest, limit: int, places: Places, key: Hashable) -> bytes | JsonResponse:
    """At most ``limit`` bytes, holding one of ``key``'s places while they arrive; or the refusal."""
    give = places.take(key)
    if give is None:
        return busy()
    try:
        raw = request.read(limit + 1)
    except UnreadablePostError:
        return plain_error(400, "unreadable", "The body ended early.")
    finally:
        give()
    if len(raw) > limit:
        return plain_error(413, "too_large", f"The body has more than {limit} bytes.")
    return raw
