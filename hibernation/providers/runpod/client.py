"""Runpod's REST interface: one method for a call, plain rows in and out, typed errors."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hibernation.domain.errors import NotFound, ProviderError, ProviderUnavailable
from hibernation.providers.caller import Caller, Request
from hibernation.providers.limiter import Limit, Limiter
from hibernation.providers.replies import Reply, json_object
from hibernation.providers.runpod.errors import failure_of, pause

_CALL = "a call"
LIMITS = {_CALL: Limit(60.0, calls=50)}
"""All calls of an account count together: the documents' example has 60 a minute and, which is less, 3000 an hour."""

_POD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Row = dict[str, Any]


class RunpodClient:
    """Every call first gets a permit of ``limiter``, and raises ``RateLimited`` where that takes too long.

    Thread-safe. ``close`` ends its connections.
    """

    def __init__(
        self, url: str, api_key: str, limiter: Limiter, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._caller = Caller("Runpod", url, api_key, limiter, failure_of, pause, sleep=sleep)

    def close(self) -> None:
        self._caller.close()

    def gpus(self, query: Mapping[str, str], *, who: str) -> list[Row]:
        """The catalogue's GPU types, with what is free of them where ``query`` says."""
        return _rows(self._caller.ask(Request("GET", "/catalog/gpus", _CALL, who, params=query)), "gpus")

    def create(self, order: Mapping[str, Any], *, who: str, secrets: Collection[str] = ()) -> str:
        """Rent, and return the pod's id. At most one request, ever.

        A ``ProviderRefused`` says that nothing was rented, anything else that it is unknown: Runpod is known to make a
        pod and then to fail at reading it back, which answers 500.
        """
        request = Request("POST", "/pods", _CALL, who, body=dict(order))
        made = pod_id((json_object(self._caller.launch(request, secrets).body) or {}).get("id"))
        if not made:
            raise ProviderError("Runpod took the order without naming a pod.")
        return made

    def pods(self) -> list[Row]:
        """Every pod of the account, those of clusters too. It comes in one piece; a row without an id is an error."""
        params = {"includeClusterPods": "true"}
        rows = _rows(self._caller.ask(Request("GET", "/pods", _CALL, "list", params=params)), "pods")
        if not all(pod_id(row.get("id")) for row in rows):
            raise ProviderUnavailable("The list of pods has a row without an id.")
        return rows

    def pod(self, pod: str) -> Row:
        """``NotFound`` if it is gone."""
        reply = self._caller.tell(Request("GET", _path(pod), _CALL, f"get {pod}"))
        return json_object(reply.body) or {}

    def terminate(self, pod: str) -> None:
        """``NotFound`` if it is gone already."""
        self._caller.tell(Request("DELETE", _path(pod), _CALL, f"terminate {pod}"))

    def act(self, pod: str, action: str) -> None:
        """``start`` or ``stop``. ``ProviderRefused`` where the pod's status does not allow it."""
        request = Request("POST", f"{_path(pod)}/action", _CALL, f"{action} {pod}", body={"action": action})
        self._caller.tell(request)


def pod_id(value: object) -> str:
    """A pod's id, or empty where it is none."""
    return value if isinstance(value, str) and _POD_ID.fullmatch(value) else ""


def _path(pod: str) -> str:
    if not pod_id(pod):
        raise NotFound(f"{pod!r} is not an id of Runpod.")
    return f"/pods/{pod}"


def _rows(reply: Reply, key: str) -> list[Row]:
    rows = (json_object(reply.body) or {}).get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ProviderUnavailable(f"The answer of Runpod has no list of {key}.")
    return rows
