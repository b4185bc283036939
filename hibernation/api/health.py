"""Health: alive means this process answers; ready means the ticks do their work."""

from __future__ import annotations

from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse

from hibernation.api.errors import only
from hibernation.services.accounts import facts_of_all


@only("GET", "HEAD")
def livez(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@only("GET", "HEAD")
def readyz(request: HttpRequest) -> JsonResponse:
    """503 when the database does not answer. ``lists``: seconds since each provider's last complete list, or null.

    An old list is for whoever watches: this process can do nothing about it, and serves as well as any other.
    """
    try:
        lists = {one.provider: one.listed_seconds_ago for one in facts_of_all()}
    except DatabaseError:
        return JsonResponse({"status": "database unavailable"}, status=503)
    return JsonResponse({"status": "ok", "lists": lists})
