"""What a box asks for its own freeze or restore: signed URLs, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import msgspec
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from msgspec import Meta, Struct

from agents.snapshot.format import MAX_MANIFEST_STORED, MAX_PACK
from hibernation.api.authentication import agent_token
from hibernation.api.bodies import read_body
from hibernation.api.errors import error_response, only, plain_error
from hibernation.api.permissions import needs
from hibernation.api.places import BOXES
from hibernation.domain.access import Need
from hibernation.domain.errors import DumontError
from hibernation.services.snapshots import Announced, SignedObject, issue_downloads, issue_uploads
from hibernation.services.tokens import AgentToken

MAX_BODY_BYTES = 256 * 1024
MAX_OBJECTS = 1000
MAX_OBJECT_BYTES = max(MAX_PACK, MAX_MANIFEST_STORED)


class ObjectWish(Struct, frozen=True):
    kind: Literal["pack", "manifest"]
    size: Annotated[int, Meta(gt=0, le=MAX_OBJECT_BYTES)]
    crc32: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
    tier: Annotated[int, Meta(ge=0, le=1)] = 0


class UploadsBody(Struct, frozen=True):
    objects: Annotated[list[ObjectWish], Meta(min_length=1, max_length=MAX_OBJECTS)]


class DownloadsBody(Struct, frozen=True):
    keys: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(min_length=1, max_length=MAX_OBJECTS)]


@needs(POST=Need.AGENT)
@csrf_exempt
@only("POST")
def uploads(request: HttpRequest, snapshot: str) -> JsonResponse:
    """URLs to store packs and the manifest of the snapshot this machine is writing."""

    def issue(token: AgentToken, raw: bytes) -> Sequence[SignedObject]:
        wish = msgspec.json.decode(raw, type=UploadsBody)
        return issue_uploads(
            token, snapshot, [Announced(o.kind, o.tier, o.size, o.crc32) for o in wish.objects]
        )

    return _answer(request, issue)


@needs(POST=Need.AGENT)
@csrf_exempt
@only("POST")
def downloads(request: HttpRequest, snapshot: str) -> JsonResponse:
    """URLs to read objects of a snapshot of this machine's instance."""

    def issue(token: AgentToken, raw: bytes) -> Sequence[SignedObject]:
        return issue_downloads(token, snapshot, msgspec.json.decode(raw, type=DownloadsBody).keys)

    return _answer(request, issue)


def _answer(
    request: HttpRequest, issue: Callable[[AgentToken, bytes], Sequence[SignedObject]]
) -> JsonResponse:
    token = agent_token(request)
    if token is None:
        return plain_error(401, "not_authenticated", "Send the machine's own agent token as a bearer token.")
    raw = read_body(request, MAX_BODY_BYTES, BOXES, token.machine_id)
    if isinstance(raw, JsonResponse):
        return raw
    try:
        signed = issue(token, raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return plain_error(400, "invalid", str(error))
    except DumontError as error:
        return error_response(error)
    return JsonResponse(
        {
            "objects": [
                {"key": s.key, "url": s.request.url, "headers": dict(s.request.headers)} for s in signed
            ]
        }
    )
