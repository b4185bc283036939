"""The one place where errors become HTTP: ``{"error": {"code", "message", "fields"?}}`` with the right status."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_handler

from hibernation.api.throttles import too_many_strangers
from hibernation.domain.errors import Conflict, DumontError, InvalidRequest, NotFound, SnapshotUnproven
from hibernation.logs.context import known
from hibernation.said import in_language
from hibernation.services.access import NotAllowed
from hibernation.services.browse import SnapshotGone
from hibernation.services.heartbeats import Forbidden, StaleHeartbeat

STATUS: tuple[tuple[type[DumontError], int], ...] = (
    (InvalidRequest, 400),
    (Forbidden, 403),
    (NotAllowed, 403),
    (NotFound, 404),
    (StaleHeartbeat, 409),
    (Conflict, 409),
    (SnapshotGone, 410),
    # The store's bytes are not what they must be: to ask again later will not help.
    (SnapshotUnproven, 502),
    (DumontError, 503),
)


def status_of(error: DumontError) -> int:
    return next(status for kind, status in STATUS if isinstance(error, kind))


def body(code: str, message: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": in_language(message)}
    if fields:
        error["fields"] = {name: in_language(str(told)) for name, told in fields.items()}
    return {"error": error}


def error_response(error: DumontError) -> JsonResponse:
    """For plain Django views; DRF's go through ``exception_handler``."""
    return plain_error(status_of(error), error.code, error.message)


def plain_error(status: int, code: str, message: str) -> JsonResponse:
    return JsonResponse(body(code, message), status=status)


def only(*methods: str) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """For plain Django views: any other method is refused in the API's words."""

    def decorate(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **more: Any) -> HttpResponseBase:
            if request.method in methods:
                return view(request, *args, **more)
            refused = plain_error(405, "method_not_allowed", f"Only {' and '.join(methods)}.")
            refused.headers["Allow"] = ", ".join(methods)
            return refused

        return guarded

    return decorate


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For what Django itself refuses, such as a foreign host name."""
    if _is_of_the_api(request):
        return plain_error(400, "bad_request", "This request makes no sense here.")
    return defaults.bad_request(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For addresses that no view has: scripts are told in the API's words, people get a page."""
    if _is_of_the_api(request):
        return plain_error(404, NotFound.code, "There is no such address.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """The trace is in the log and not on the wire; the id leads to it."""
    if _is_of_the_api(request):
        wrong = body("internal", "Something failed here; the log says what.")
        wrong["error"]["request_id"] = known().get("request_id", "")
        return JsonResponse(wrong, status=500)
    return defaults.server_error(request)


def _is_of_the_api(request: HttpRequest) -> bool:
    return f"{request.path_info}/".startswith("/api/")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's handler. Unexpected errors are left to Django: a 500 with a trace in the log and none on the wire."""
    if isinstance(error, DumontError):
        fields = error.fields if isinstance(error, InvalidRequest) else None
        return Response(body(error.code, error.message, fields), status=status_of(error))
    if isinstance(error, RequestDataTooBig):
        return Response(body("too_large", "The body is larger than 64 KiB."), status=413)
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        error = too_many_strangers(context["request"]) or error
    response = drf_handler(error, context)
    if response is None or not isinstance(error, exceptions.APIException):
        return response
    if isinstance(error, exceptions.ValidationError):
        response.data = body("invalid", "Some fields are not valid.", _fields(error.detail))
    else:
        response.data = body(str(error.get_codes()), str(error.detail))
    return response


def _fields(detail: Any) -> dict[str, str]:
    """The sentence on each field; one inside others is named by its way there, such as ``exceptions.dates.0``."""
    return dict(_told(detail, ""))


def _told(detail: Any, name: str) -> Iterator[tuple[str, str]]:
    nested = detail if isinstance(detail, dict) else dict(enumerate(detail)) if _is_nested(detail) else None
    if nested is None:
        texts = detail if isinstance(detail, list) else [detail]
        yield name or "non_field_errors", " ".join(str(text) for text in texts)
        return
    for key, inner in nested.items():
        if inner:
            yield from _told(inner, f"{name}.{key}" if name else str(key))


def _is_nested(detail: Any) -> bool:
    return isinstance(detail, list) and any(isinstance(one, dict | list) for one in detail)
