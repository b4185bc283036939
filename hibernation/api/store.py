"""The built-in object store over HTTP: signed PUT, GET and HEAD of one object. The signature is the only credential."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from hibernation.api.errors import only
from hibernation.api.permissions import needs
from hibernation.api.places import TRANSFERS, busy
from hibernation.domain.access import Need
from hibernation.domain.errors import StoreError
from hibernation.snapshots.filesystem import FileBody, FilesystemStore, StoreRefused
from hibernation.snapshots.registry import get_store


@needs(GET=Need.PUBLIC, PUT=Need.PUBLIC)
@csrf_exempt
@only("GET", "HEAD", "PUT")
def store_object(request: HttpRequest, key: str) -> HttpResponseBase:
    """Bodies are streamed: memory does not grow with the object. 503 when too many are on their way.

    404 where objects live in a bucket: then machines talk to that.
    """
    store = get_store()
    if not isinstance(store, FilesystemStore):
        return _refusal(404, "not_found", "Objects are not kept here.")
    give = TRANSFERS.take()
    if give is None:
        return busy()
    reply: HttpResponseBase | None = None
    try:
        reply = _answer(store, request, key, give)
    finally:
        if not isinstance(reply, StreamingHttpResponse):
            give()
    return reply


def _answer(
    store: FilesystemStore, request: HttpRequest, key: str, give: Callable[[], None]
) -> HttpResponseBase:
    try:
        return _receive(store, request, key) if request.method == "PUT" else _send(store, request, key, give)
    except StoreRefused as error:
        return _refusal(error.status, error.code, error.message)
    except UnreadablePostError:
        return _refusal(400, "store_refused", "the body ended early")
    except StoreError as error:
        return _refusal(400, error.code, error.message)


def _receive(store: FilesystemStore, request: HttpRequest, key: str) -> HttpResponseBase:
    length = request.META.get("CONTENT_LENGTH", "")
    store.receive("PUT", key, request.GET.dict(), request, int(length) if length.isdecimal() else None)
    return HttpResponse(status=201)


def _send(
    store: FilesystemStore, request: HttpRequest, key: str, give: Callable[[], None]
) -> HttpResponseBase:
    method = request.method or "GET"
    status, headers, body = store.send(method, key, request.GET.dict(), request.headers.get("Range"))
    if method == "HEAD":
        body.close()
        return HttpResponse(status=status, headers=headers, content_type="application/octet-stream")
    return StreamingHttpResponse(
        _Held(body, give), status=status, headers={**headers, "Content-Type": "application/octet-stream"}
    )


class _Held:
    """A body and its place. The server closes it when the last byte is out, and when the reader has left."""

    def __init__(self, body: FileBody, give: Callable[[], None]) -> None:
        self._body = body
        self._give = give

    def __iter__(self) -> _Held:
        return self

    def __next__(self) -> bytes:
        return next(self._body)

    def close(self) -> None:
        self._body.close()
        self._give()


def _refusal(status: int, code: str, message: str) -> JsonResponse:
    return JsonResponse({"error": {"code": code, "message": message}}, status=status)
