"""JSON bodies, bounded and strict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "too_large"
    default_detail = "The body is larger than 64 KiB."


class StrictJSONParser(JSONParser):
    """A JSON object of at most 64 KiB, without NaN or Infinity."""

    strict = True

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0
        if _declared(parser_context) > limit:
            raise BodyTooLarge
        try:
            data = super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        if not isinstance(data, dict):
            raise ParseError("The body must be a JSON object.")
        return data


def _declared(context: Mapping[str, Any] | None) -> int:
    request = (context or {}).get("request")
    raw = request.META.get("CONTENT_LENGTH") if request is not None else None
    return int(raw) if raw and raw.isdigit() else 0
