"""The description of what rented machines ask. Their doors are no views of DRF, so it is made from what they decode."""

from __future__ import annotations

from typing import Any

import msgspec

from hibernation.api.boxes import DownloadsBody, UploadsBody
from hibernation.api.describing import refusal
from hibernation.api.enrolments import Claim
from hibernation.api.examples import BEAT, BEATEN, SIGNED, UPLOADS
from hibernation.api.heartbeat import HeartbeatBody
from hibernation.domain.states import InstanceStatus

BODIES = (HeartbeatBody, UploadsBody, DownloadsBody, Claim)
_AGENT: list[dict[str, list[str]]] = [{"agent": []}]
_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_GUARD = {
    "type": "object",
    "description": "When the machine's guard stops it if nobody speaks to it; see docs/operations.md.",
    "required": ["after_seconds", "gpu_usage_threshold", "provider", "contract_id"],
    "properties": {
        "after_seconds": _NUMBER,
        "gpu_usage_threshold": _NUMBER,
        "provider": _TEXT,
        "contract_id": _TEXT,
    },
}
_BEATEN = {
    "type": "object",
    "required": ["received", "instance_id", "status", "action", "interval"],
    "properties": {
        "received": {"type": "boolean", "const": True},
        "instance_id": _TEXT,
        "status": {**_TEXT, "enum": [status.value for status in InstanceStatus]},
        "action": {**_TEXT, "enum": ["none", "prepare_hibernate", "stop"]},
        "interval": {**_NUMBER, "description": "seconds until the next heartbeat"},
        "guard": _GUARD,
        "guard_noted": {**_TEXT, "description": "the id of the guard's fact that is written down"},
    },
}
_OBJECT = {
    "type": "object",
    "required": ["key", "url", "headers"],
    "properties": {
        "key": _TEXT,
        "url": {**_TEXT, "description": "signed; it expires"},
        "headers": {"type": "object", "additionalProperties": _TEXT, "description": "to be sent with it"},
    },
}
_SIGNED = {
    "type": "object",
    "required": ["objects"],
    "properties": {"objects": {"type": "array", "items": _OBJECT}},
}
_CLAIMED = {
    "type": "object",
    "required": ["instance_id", "operation"],
    "properties": {"instance_id": _TEXT, "operation": {"type": "integer"}},
}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def add_agent_routes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular."""
    schemas = msgspec.json.schema_components(BODIES, ref_template="#/components/schemas/{name}")[1]
    components = result["components"]
    components["schemas"] = dict(sorted({**components["schemas"], **schemas}.items()))
    components["securitySchemes"]["agent"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A machine's own token, in its `~/.dumont/token`; an enrolment's for `/api/enrolments/claim`.",
    }
    result["paths"] = dict(sorted({**result["paths"], **_paths()}.items()))
    return result


def _paths() -> dict[str, Any]:
    objects = "/api/agent/snapshots/{snapshot}"
    return {
        "/api/agent/status": {"post": _heartbeat()},
        f"{objects}/uploads": {"post": _objects("uploads", "store packs and the manifest", UPLOADS)},
        f"{objects}/downloads": {"post": _objects("downloads", "read objects", None)},
        "/api/enrolments/claim": {"post": _claim()},
        "/api/enrol.sh": {"get": _script()},
        "/api/store/{key}": {method: _store(method) for method in ("get", "head", "put")},
    }


def _heartbeat() -> dict[str, Any]:
    text = "Receive one heartbeat; the answer means that it is kept. Null for what could not be measured, never 0."
    replies = {"200": _json(_BEATEN, "It is kept.", BEATEN), **_refused(400, 401, 403, 409, 413, 503)}
    return _call("agent_heartbeat", text, replies, _body(HeartbeatBody, BEAT))


def _objects(what: str, why: str, example: Any) -> dict[str, Any]:
    text = f"Signed URLs to {why} of a snapshot of this machine's instance, by the thousand."
    kind = UploadsBody if what == "uploads" else DownloadsBody
    replies = {"200": _json(_SIGNED, "One for each.", SIGNED), **_refused(400, 401, 403, 404, 409, 413, 503)}
    return _call(f"agent_{what}", text, replies, _body(kind, example), [_in_path("snapshot")])


def _claim() -> dict[str, Any]:
    text = "A machine shows its enrolment's token and says which rental it is."
    replies = {
        "202": _json(_CLAIMED, "It is being adopted.", {"instance_id": "vast_12345", "operation": 7}),
        **_refused(400, 401, 403, 404, 409, 411, 413, 503),
    }
    return _call("enrolments_claim", text, replies, _body(Claim, {"contract_id": "12345"}))


def _script() -> dict[str, Any]:
    content = {"text/x-shellscript": {"schema": _TEXT}}
    replies = {"200": {"description": "The script.", "content": content}}
    call = _call("enrol_script", "The script of an enrolment's line; the token is its argument.", replies)
    return {**call, "security": [{}]}


def _store(method: str) -> dict[str, Any]:
    text = "One object of the built-in store. The signature in the query is the only credential."
    said = [
        _in_path("key"),
        *({"name": name, "in": "query", "schema": _TEXT} for name in ("expires", "signature")),
    ]
    replies = _refused(400, 403, 404, 413, 503)
    if method == "put":
        return {
            **_call("store_put", text, {"201": {"description": "It is kept."}, **replies}, None, said),
            "requestBody": {"content": _BYTES, "required": True},
            "security": [{}],
        }
    found = {"description": "Its bytes.", **({"content": _BYTES} if method == "get" else {})}
    kept = {"200": found, "206": found, **replies, **_refused(416)}
    return {**_call(f"store_{method}", text, kept, None, said), "security": [{}]}


def _call(
    name: str, text: str, replies: dict[str, Any], body: Any = None, parameters: list[Any] | None = None
) -> dict[str, Any]:
    call = {
        "operationId": name,
        "summary": text.partition(". ")[0].partition(";")[0].rstrip("."),
        "description": text,
        "tags": ["machines"],
        "parameters": parameters or [],
        "security": _AGENT,
        "responses": replies,
    }
    return call if body is None else {**call, "requestBody": body}


def _body(kind: type[Any], example: Any) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}
    if example is not None:
        content["example"] = example
    return {"content": {"application/json": content}, "required": True}


def _json(schema: dict[str, Any], text: str, example: Any) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema, "example": example}}}


def _refused(*statuses: int) -> dict[str, Any]:
    return {str(status): refusal(status) for status in statuses}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}
