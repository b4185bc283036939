"""How every call is described: its part of the API, its examples, the headers and refusals that all calls share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample

from hibernation.api.examples import ANSWERS, WISHES
from hibernation.api.serializers import KnownFieldsSerializer
from hibernation.domain.access import Need

TAGS = {
    "instances": "Instances: what they do, their rules, and what one can ask of them.",
    "schedules": "When instances wake and sleep by themselves.",
    "snapshots": "Saved workspaces: why they are kept, and what is in them.",
    "operations": "What was asked for and what goes on, step by step.",
    "market": "Which machines could be rented, and which one a wake would take.",
    "installation": "How many instances there are, and what bills.",
    "people": "Who asks, with which tokens, and who is in which team.",
    "machines": "For rented machines: heartbeats, adoption, and the objects of their snapshots.",
}
_PARTS = {
    "schedule": "schedules",
    "schedules.ics": "schedules",
    "snapshots": "snapshots",
    "operations": "operations",
    "offers": "market",
    "me": "people",
    "tokens": "people",
    "teams": "people",
    "agent": "machines",
    "store": "machines",
    "enrolments": "machines",
    "enrol.sh": "machines",
    "instances": "instances",
}
# Name of the refusal, its code and a message of that kind.
REFUSALS: dict[int, tuple[str, str, str]] = {
    400: ("Invalid", "invalid", "Some fields are not valid."),
    401: ("NotAuthenticated", "not_authenticated", "Authentication credentials were not provided."),
    403: ("NotAllowed", "permission_denied", "You may look but not order."),
    404: ("NotFound", "not_found", "There is no instance 'vast_12345'."),
    406: ("NotAcceptable", "not_acceptable", "Could not satisfy the request Accept header."),
    409: ("Conflict", "conflict", "A hibernation is on its way; cancel it first, or wait."),
    410: ("Gone", "snapshot_gone", "This snapshot was deleted."),
    411: ("LengthRequired", "length_required", "Send the body's Content-Length."),
    413: ("TooLarge", "too_large", "The body is larger than 64 KiB."),
    415: ("NotJson", "unsupported_media_type", 'Unsupported media type "text/plain" in request.'),
    416: ("NoSuchRange", "range", "The file has 1024 bytes."),
    429: ("TooMany", "throttled", "Request was throttled. Expected available in 5 seconds."),
    502: ("Damaged", "snapshot_unproven", "A stored object does not decode to what was frozen."),
    503: ("Unavailable", "busy", "Too many slow requests at a time: try again in a moment."),
}
_FOR_ALL = (406, 429, 503)
_TEXT = {"type": "string"}
_SECONDS = {"type": "integer", "minimum": 0}
_ERROR = {
    "type": "object",
    "description": "Why not. `fields`: the sentence on each field of the request that is wrong.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {**_TEXT, "description": "for programs; never changes its meaning"},
                "message": {**_TEXT, "description": "for people"},
                "fields": {"type": "object", "additionalProperties": _TEXT},
                "request_id": {**_TEXT, "description": "leads to the trace in the log"},
            },
        }
    },
}


class Described(AutoSchema):
    """A view that can answer with more refusals than its method, path and body tell says so in ``refusals``."""

    def get_tags(self) -> list[str]:
        parts = [part for part in self.path.split("/") if part in _PARTS]
        return [_PARTS[parts[-1]] if parts else "installation"]

    def get_auth(self) -> list[dict[str, Any]]:
        """Nobody has to say who he is where nothing is needed."""
        if self._need() is Need.PUBLIC:
            return [{}]
        found: list[dict[str, Any]] = super().get_auth()
        return found

    def get_description(self) -> str:  # type: ignore[override]
        need = self._need()
        text = str(super().get_description() or "")
        return text if need in (None, Need.PUBLIC) else f"{text}\n\nNeeds: `{need}`."

    def _need(self) -> Need | None:
        needs: Mapping[str, Need] = getattr(self.view, "needs", {})
        return needs.get(self.method)

    def get_summary(self) -> str | None:
        said = str(self.get_description() or "").partition("\n")[0]
        return said.partition(". ")[0].rstrip(".").replace("``", "") or None

    def get_examples(self) -> list[OpenApiExample]:
        name = self.get_operation_id()
        wishes = [
            OpenApiExample(title, wish, request_only=True) for title, wish in WISHES.get(name, {}).items()
        ]
        answers = [
            OpenApiExample(title, answer, response_only=True, status_codes=[status])
            for (status, title), answer in ANSWERS.get(name, {}).items()
        ]
        return [*wishes, *answers]

    def _map_serializer(self, serializer: Any, direction: Any, bypass_extensions: bool = False) -> Any:
        schema = super()._map_serializer(serializer, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        if direction == "request" and isinstance(serializer, KnownFieldsSerializer):
            schema["additionalProperties"] = False
        return schema

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        if self.method == "GET" and "application/json" in bodies.get("200", {}).get("content", {}):
            bodies["304"] = {"description": "Nothing new since the `ETag` that you sent as `If-None-Match`."}
        for status in sorted(self._refusals()):
            bodies.setdefault(str(status), refusal(status))
        return bodies

    def _refusals(self) -> Iterator[int]:
        yield from _FOR_ALL
        yield from getattr(self.view, "refusals", ())
        if any(self.get_auth()):
            yield from (401, 403)
        if "{" in self.path or self.path.endswith(("/offers", "/operations", ".ics")):
            yield 404
        if self.method != "GET":
            yield from (409, 411, 413)
        if self.method != "GET" or self._get_parameters():
            yield 400
        if self.method in ("POST", "PUT", "PATCH") and self.get_request_serializer() is not None:
            yield 415

    def _get_response_headers_for_code(self, status_code: str, direction: Any = "response") -> dict[str, Any]:
        headers: dict[str, Any] = super()._get_response_headers_for_code(status_code, direction)
        if status_code == "202":
            headers["Location"] = {"schema": _TEXT, "description": "where the operation can be looked at"}
            headers["Retry-After"] = {"schema": _SECONDS, "description": "seconds until the next look"}
        elif status_code == "200" and self.method == "GET":
            headers["ETag"] = {"schema": _TEXT}
        return headers


def refusal(status: int) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{REFUSALS[status][0]}"}


def add_refusals(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: the answers that ``refusal`` refers to, and what the parts of the API are for."""
    components = result["components"]
    components["schemas"]["Error"] = _ERROR
    components["responses"] = {name: _refused(status) for status, (name, *_) in REFUSALS.items()}
    result["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    return result


def _refused(status: int) -> dict[str, Any]:
    _, code, message = REFUSALS[status]
    error: dict[str, Any] = {"code": code, "message": message}
    if status == 400:
        error["fields"] = {"pause_after_minutes": "Ensure this value is greater than or equal to 1."}
    schema = {"$ref": "#/components/schemas/Error"}
    content = {"application/json": {"schema": schema, "example": {"error": error}}}
    answer: dict[str, Any] = {"description": message, "content": content}
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": _SECONDS, "description": "where it is known"}}
    return answer
