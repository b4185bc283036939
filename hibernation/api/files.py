"""Looking into a snapshot over HTTP: folders as pages of entries, single files as bytes, decoded on the way.

File names are bytes: the query is read as such, and ``href`` spells every name so that it comes back the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.errors import plain_error
from hibernation.api.places import FILES, busy
from hibernation.domain.access import Need
from hibernation.models import Snapshot
from hibernation.services.browse import find_file, find_snapshot, list_entries, read_file, shown
from hibernation.snapshots.filesystem import StoreRefused, parse_range
from hibernation.snapshots.tree import Entry

MAX_ENTRIES = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PATH = OpenApiParameter(
    "path", str, description="From the workspace, its bytes percent-encoded; as in `href`."
)


class EntrySerializer(serializers.Serializer[Entry]):
    """``name``, ``path`` and ``target`` are for people: what is not UTF-8 is replaced. ``href`` is exact."""

    name = serializers.SerializerMethodField()
    path = serializers.SerializerMethodField()
    type = serializers.ChoiceField(source="kind", choices=["dir", "file", "symlink"])
    size = serializers.IntegerField(help_text="bytes; of a file")
    mode = serializers.SerializerMethodField(help_text="octal; null for a symlink")
    mtime = serializers.SerializerMethodField()
    target = serializers.SerializerMethodField(
        help_text="where a symlink leads; of a hard link, the file's other name"
    )
    href = serializers.SerializerMethodField(help_text="the folder's entries or the file's bytes")

    def get_name(self, entry: Entry) -> str:
        return shown(entry.name)

    def get_path(self, entry: Entry) -> str:
        return shown(entry.path)

    def get_mode(self, entry: Entry) -> str | None:
        return None if entry.mode is None else f"{entry.mode:04o}"

    def get_mtime(self, entry: Entry) -> datetime | None:
        try:
            return _EPOCH + timedelta(microseconds=entry.mtime_ns // 1000)
        except OverflowError:
            return None

    def get_target(self, entry: Entry) -> str | None:
        return shown(entry.target) if entry.target else None

    def get_href(self, entry: Entry) -> str | None:
        view = {"dir": "snapshot-files", "file": "snapshot-content"}.get(entry.kind)
        return None if view is None else _link(view, self.context["snapshot"], path=entry.path)


class ListingSerializer(serializers.Serializer[Any]):
    entries = EntrySerializer(many=True)
    next = serializers.CharField(allow_null=True)


class _AnyType(BaseContentNegotiation):
    """Whoever asks for a file gets its bytes, whatever kinds of answers he says that he takes."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class FilesView(APIView):
    needs = {"GET": Need.READ}
    refusals = (409, 410, 502)

    @extend_schema(
        parameters=[
            PATH,
            OpenApiParameter("search", str, description="Only entries below whose names hold this."),
            OpenApiParameter("cursor", str),
            OpenApiParameter("limit", int),
        ],
        responses=ListingSerializer,
    )
    def get(self, request: Request, instance_id: str, name: str) -> HttpResponseBase:
        """One folder of a proven snapshot, by name; ``next`` leads to more. No machine is needed."""
        give = FILES.take(request.user.pk)
        if give is None:
            return busy()
        try:
            snapshot, wish = find_snapshot(instance_id, name), _query(request)
            limit, search = _limit(wish), wish.get("search", "")
            found = list_entries(snapshot, _path(wish), search, wish.get("cursor", ""), limit + 1)
        finally:
            give()
        page = {"entries": found[:limit], "next": _next(snapshot, wish, found, limit)}
        return Response(ListingSerializer(page, context={"snapshot": snapshot}).data)


class ContentView(APIView):
    needs = {"GET": Need.READ}
    refusals = (409, 410, 416, 502)
    content_negotiation_class = _AnyType

    @extend_schema(
        parameters=[PATH, OpenApiParameter("Range", str, OpenApiParameter.HEADER)],
        responses={
            (200, "application/octet-stream"): OpenApiResponse(OpenApiTypes.BINARY),
            (206, "application/octet-stream"): OpenApiResponse(OpenApiTypes.BINARY),
        },
    )
    def get(self, request: Request, instance_id: str, name: str) -> HttpResponseBase:
        """One file's bytes, each proven before it is sent. If the stored copy is damaged, the body ends early."""
        give = FILES.take(request.user.pk)
        if give is None:
            return busy()
        reply: HttpResponseBase | None = None
        try:
            snapshot = find_snapshot(instance_id, name)
            reply = _send(request, snapshot, find_file(snapshot, _path(_query(request))), give)
        finally:
            if not isinstance(reply, StreamingHttpResponse):
                give()
        return reply


def _send(request: Request, snapshot: Snapshot, entry: Entry, give: Callable[[], None]) -> HttpResponseBase:
    etag = _etag(entry)
    wanted = request.headers.get("Range")
    if request.headers.get("If-Range", etag) != etag:
        wanted = None
    try:
        start, end = parse_range(wanted, entry.size)
    except StoreRefused as error:
        refused = plain_error(error.status, "range", f"The file has {entry.size} bytes.")
        refused.headers["Content-Range"] = f"bytes */{entry.size}"
        return refused
    headers = _headers(entry, etag) | {"Content-Length": str(end - start)}
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{entry.size}"
    status = 206 if wanted else 200
    if request.method == "HEAD":
        return HttpResponse(status=status, headers=headers)
    return StreamingHttpResponse(
        _Body(read_file(snapshot, entry, start, end), give), status=status, headers=headers
    )


def _headers(entry: Entry, etag: str) -> dict[str, str]:
    """A stranger's file: it is to be saved, and neither shown, guessed at nor run."""
    name = entry.name.encode("utf-8", "surrogateescape")
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in shown(entry.name)
    )
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
        "Accept-Ranges": "bytes",
        "ETag": etag,
    }


class _Body:
    """The bytes on their way and the place they hold. The first are proven before the answer begins."""

    def __init__(self, blocks: Iterator[memoryview], give: Callable[[], None]) -> None:
        self._blocks = blocks
        self._give = give
        self._first = next(blocks, None)

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        block, self._first = self._first, None
        return bytes(block if block is not None else next(self._blocks))

    def close(self) -> None:
        self._blocks.close()  # type: ignore[attr-defined]
        self._give()


def _etag(entry: Entry) -> str:
    said = f"{entry.size} {entry.mtime_ns} {entry.hash} {entry.refs}"
    return f'"{hashlib.sha256(said.encode()).hexdigest()[:32]}"'


def _query(request: Request) -> dict[str, str]:
    """The query with bytes that are not UTF-8 as surrogates; Django would replace them."""
    raw = str(request.META.get("QUERY_STRING", ""))
    return {name: values[-1] for name, values in parse_qs(raw, errors="surrogateescape").items()}


def _path(wish: dict[str, str]) -> str:
    return wish.get("path", "").strip("/")


def _limit(wish: dict[str, str]) -> int:
    limit = wish.get("limit", str(MAX_ENTRIES))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_ENTRIES):
        raise ValidationError({"limit": f"A whole number from 1 to {MAX_ENTRIES}."})
    return int(limit)


def _next(snapshot: Snapshot, wish: dict[str, str], found: list[Entry], limit: int) -> str | None:
    if len(found) <= limit:
        return None
    last = found[limit - 1]
    cursor = last.path if wish.get("search") else last.name
    return _link("snapshot-files", snapshot, **{**wish, "cursor": cursor})


def _link(view: str, snapshot: Snapshot, **query: str) -> str:
    address = reverse(view, kwargs={"instance_id": snapshot.instance_id, "name": snapshot.name})
    return f"{address}?{urlencode(query, errors='surrogateescape')}"
