"""The way of a call through the fake Runpod: key, faults, the call itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http import BAD_GATEWAY, HANG_UP, Reply, Request, as_json
from tests.fakes.runpod.catalogue import GPUS, listing
from tests.fakes.runpod.faults import AFTER, BEFORE, REFUSALS
from tests.fakes.runpod.market import ACTIONS, Market, Pod
from tests.fakes.runpod.problems import BLOCKED, FAILED, FORBIDDEN, UNAUTHORIZED, Refusal, problem
from tests.fakes.runpod.problems import REFUSALS as PROBLEMS

GARBLED = problem(400, "the body is no JSON object")
_ANSWERS = {
    "dropped": HANG_UP,
    "response_lost": HANG_UP,
    "bad_gateway": BAD_GATEWAY,
    "bad_gateway_after": BAD_GATEWAY,
    "server_error": FAILED,
    "server_error_after": FAILED,
    "auth_401": UNAUTHORIZED,
    "forbidden_403": FORBIDDEN,
    "blocked_403": BLOCKED,
}
_GONE = Reply(204)
_ORDER_KEYS = {
    "name", "image", "args", "disk", "ports", "env", "registry", "cloud", "cpu", "gpu", "dataCenterIds",
    "globalNetworking", "mounts", "startJupyter", "startSsh", "templateId",
}  # fmt: skip
_CATALOGUE_KEYS = {
    "include",
    "product",
    "count",
    "cloud",
    "countryCodes",
    "cudaVersions",
    "minCudaVersion",
}
_VERSION = re.compile(r"\d+\.\d+")
_ID = r"/v2/pods/([^/]+)"


@dataclass
class Api:
    """``keys``: whether each may change anything."""

    market: Market
    keys: dict[str, bool]
    asked: list[str] = field(default_factory=list)

    def handle(self, request: Request) -> Reply:
        self.asked.append(f"{request.method} {request.path.rstrip('/')}")
        found = self._route(request)
        if found is None:
            return problem(404, f"{request.method} {request.path} does not exist")
        call, pod_id, answer = found
        context = {"call": call, "pod": pod_id, "label": self._label(request, pod_id)}
        faults = self.market.faults
        for name in BEFORE:
            if faults.take(name, **context) is not None:
                return _ANSWERS[name]
        if (limit := faults.take("rate_limited", **context)) is not None:
            headers = {"Retry-After": str(limit["seconds"])}
            return problem(429, "rate limit exceeded for the minute window", **headers)
        reply = self._answered(request, answer)
        return next((_ANSWERS[name] for name in AFTER if faults.take(name, **context) is not None), reply)

    def _answered(self, request: Request, answer: Callable[[], Reply]) -> Reply:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or key not in self.keys:
            return UNAUTHORIZED
        if request.method != "GET" and not self.keys[key]:
            return FORBIDDEN
        try:
            with self.market.now():
                return answer()
        except Refusal as refusal:
            return refusal.reply

    def _route(self, request: Request) -> tuple[str, str, Callable[[], Reply]] | None:
        path = request.path.rstrip("/")
        match request.method, path:
            case "GET", "/v2/catalog/gpus":
                return "gpus", "", lambda: self._gpus(request)
            case "POST", "/v2/pods":
                return "create", "", lambda: self._create(request.body)
            case "GET", "/v2/pods":
                return "list", "", self._list
        if match := re.fullmatch(_ID, path):
            pod_id = match[1]
            if request.method == "GET":
                return "get", pod_id, lambda: as_json(self.market.row(self._pod(pod_id)))
            if request.method == "DELETE":
                return "terminate", pod_id, lambda: self._terminate(pod_id)
        if request.method == "POST" and (match := re.fullmatch(_ID + "/action", path)):
            pod_id, action = match[1], str(request.body.get("action"))
            return action, pod_id, lambda: self._act(pod_id, action)
        return None

    def _gpus(self, request: Request) -> Reply:
        query = request.query
        if strange := set(query) - _CATALOGUE_KEYS:
            raise Refusal(400, f"unknown parameters: {', '.join(sorted(strange))}")
        if query.get("include") != "AVAILABILITY" or query.get("product") != "POD":
            raise Refusal(400, "include=AVAILABILITY requires product")
        countries = frozenset(filter(None, query.get("countryCodes", "").split(",")))
        if not all(re.fullmatch("[A-Z]{2}", country) for country in countries):
            raise Refusal(422, "Request validation failed.", ["countryCodes: malformed"])
        rows = listing(
            self.market.stock,
            cloud=query.get("cloud", "SECURE"),
            count=int(query.get("count", "1")),
            countries=countries,
        )
        return self._rows("gpus", rows)

    def _create(self, order: dict[str, Any]) -> Reply:
        for name in REFUSALS:
            if self.market.faults.take(name, label=order.get("name", "")) is not None:
                raise Refusal(*PROBLEMS[name])
        if errors := _errors(order):
            raise Refusal(422, "Request validation failed.", errors)
        if order["gpu"]["id"] not in GPUS:
            raise Refusal(404, "gpu type not found")
        row = self.market.row(self.market.create(order))
        nameless = self.market.faults.take("create_nameless", label=order["name"]) is not None
        return as_json({**row, "id": None} if nameless else row, 201)

    def _list(self) -> Reply:
        pods = list(self.market.pods.values())
        if self.market.faults.take("still_listed") is not None:
            pods += self.market.ended.values()
        rows = [self.market.row(pod) for pod in pods]
        if self.market.faults.take("idless_row") is not None:
            rows = [{**row, "id": None} for row in rows]
        return self._rows("pods", rows)

    def _terminate(self, pod_id: str) -> Reply:
        pod = self._pod(pod_id)
        if self.market.faults.take("destroy_ignored", pod=pod_id, label=pod.name) is None:
            self.market.end(pod)
        return _GONE

    def _act(self, pod_id: str, action: str) -> Reply:
        pod = self._pod(pod_id)
        if action not in ("start", "stop", "restart", "terminate"):
            raise Refusal(422, "Request validation failed.", [f"$.action: {action} is not allowed"])
        if action not in ACTIONS.get(self.market.status(pod), []):
            raise Refusal(409, f"Action {action} is not valid for status {self.market.status(pod)}.")
        if action == "terminate":
            return self._terminate(pod_id)
        if action in ("stop", "restart"):
            self.market.stop(pod)
        if action in ("start", "restart"):
            self.market.start(pod)
        return as_json(self.market.row(pod))

    def _pod(self, pod_id: str) -> Pod:
        if pod_id not in self.market.pods:
            raise Refusal(404, "pod not found")
        return self.market.pods[pod_id]

    def _label(self, request: Request, pod_id: str) -> str:
        pod = self.market.pods.get(pod_id)
        return pod.name if pod else str(request.body.get("name") or "")

    def _rows(self, key: str, rows: list[dict[str, Any]]) -> Reply:
        return as_json({} if self.market.faults.take("no_rows") is not None else {key: rows})


def _errors(order: dict[str, Any]) -> list[str]:
    """What the schema of an order would say."""
    errors = [f"$: additional properties '{name}' not allowed" for name in sorted(set(order) - _ORDER_KEYS)]
    errors += [f"$: {name} is required" for name in ("name", "image", "gpu") if not order.get(name)]
    gpu, volume = order.get("gpu") or {}, (order.get("mounts") or {}).get("persistent")
    if "minCudaVersion" in gpu and not _VERSION.fullmatch(str(gpu["minCudaVersion"])):
        errors.append("$.gpu.minCudaVersion: does not match pattern")
    if volume is not None and (volume.get("size", 0) < 10 or not volume.get("path")):
        errors.append("$.mounts.persistent: size must be at least 10")
    if not all(re.fullmatch(r"\d+/(tcp|http)", str(port)) for port in order.get("ports", [])):
        errors.append("$.ports: malformed")
    return errors
