"""Who asks, how often, and the answer to an order: the operation, or what it came to."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from hibernation.api.serializers import OperationSerializer, contract_number
from hibernation.api.waiting import wait_for
from hibernation.domain.states import OperationState
from hibernation.models import Operation
from hibernation.said import in_language

WAIT = OpenApiParameter(
    "wait",
    {"type": "number", "minimum": 0},
    description="Seconds to wait for the end, at most 300. `Prefer: wait=SECONDS` says the same.",
)
LOOK_EVERY_SECONDS = 2
KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="Of your choice. An order sent again with the same key is answered, and not given twice.",
)


def actor_of(request: Request) -> str:
    return f"user:{request.user.get_username()}"


def key_of(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 128 and key.isascii() and key.isprintable()):
        raise ValidationError({"Idempotency-Key": "1 to 128 printable characters."})
    return key


def flag_of(request: Request, name: str) -> bool:
    """Of the query: ``true`` or ``false``, which is also what is not sent."""
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise ValidationError({name: "true or false."})
    return value == "true"


def operation_reply(operation: Operation, seconds: float) -> Response:
    """202 with the operation; the guide's 200 when asked to wait and it succeeded meanwhile."""
    if seconds > 0:
        operation = wait_for(operation.pk, seconds)
    if operation.state == OperationState.SUCCEEDED:
        return Response(_guide_reply(operation))
    if operation.state in (OperationState.FAILED, OperationState.CANCELLED):
        error = {"code": operation.error_code, "message": in_language(operation.error)}
        return Response({"success": False, "error": error, "operation": operation.pk}, status=409)
    return accepted(operation)


def accepted(operation: Operation) -> Response:
    """202: it goes on, there it can be looked at, and about that often."""
    headers = {"Location": f"/api/operations/{operation.pk}", "Retry-After": str(LOOK_EVERY_SECONDS)}
    return Response(OperationSerializer(operation).data, status=202, headers=headers)


def _guide_reply(operation: Operation) -> dict[str, Any]:
    machine = operation.machine
    if operation.kind not in ("wake", "adopt") or machine is None:
        return dict(operation.result)
    return {
        **operation.result,
        "instance_id": operation.instance_id,
        "vast_instance_id": contract_number(machine),
        "ssh_host": machine.ssh_host,
        "ssh_port": machine.ssh_port,
    }
