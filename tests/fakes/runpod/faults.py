"""Everything that may go wrong at the fake Runpod: ``faults.arm("no_capacity", times=2, where={"label": "x"})``.

``times``: how often (None: until disarmed). ``where``: only calls like these; its keys are ``call`` (``gpus``,
``create``, ``list``, ``get``, ``terminate``, ``start``, ``stop``), ``pod`` and ``label``, its values may hold ``*``.

Any call

| fault | what happens |
|---|---|
| auth_401 | the key is unknown all of a sudden |
| forbidden_403 | the key may not do this |
| blocked_403 | a page of the network before Runpod |
| rate_limited | 429; seconds=12 in Retry-After |
| dropped | the connection ends before anything happens |
| response_lost | it happens, and the connection ends without an answer |
| bad_gateway, bad_gateway_after | a proxy's 502 in HTML, before or after it happens |
| server_error, server_error_after | 500 before or after it happens: the latter is known from creating pods |

Reading

| fault | what happens |
|---|---|
| no_rows | success, without the list |
| idless_row | a row of the list has no id |
| still_listed | pods that are gone are told as TERMINATED |

Renting

| fault | what happens |
|---|---|
| no_capacity | 400 with the words for no instance |
| no_disk | 400 with the words for not enough disk |
| pool_403 | the account may not use this pool |
| insufficient_402 | no money |
| spend_limit | 400 with the words for too much an hour |
| rule_400 | the order breaks a rule |
| create_422 | the order is not understood |
| create_nameless | success, and no id |

A pod, told when it is made

| fault | what happens |
|---|---|
| never_running | it starts for ever |
| boot_error | its container cannot run |
| no_public_ip | it runs, and has no direct address |
| status_strange | its status is a word that nobody knows |

Later

| fault | what happens |
|---|---|
| start_taken | 400: its host has no free GPU any more |
| vanished | the pod is gone |
| exits | its container ends |
| destroy_ignored | success, but the pod stays and bills |
"""

from __future__ import annotations

from typing import Any

from tests.fakes.arming import Faults

BEFORE = ("dropped", "bad_gateway", "server_error", "auth_401", "forbidden_403", "blocked_403")
AFTER = ("response_lost", "bad_gateway_after", "server_error_after")
REFUSALS = (
    "no_capacity",
    "no_disk",
    "pool_403",
    "insufficient_402",
    "spend_limit",
    "rule_400",
    "create_422",
)
TRAITS = ("never_running", "boot_error", "no_public_ip", "status_strange")
OTHERS = (
    "no_rows",
    "idless_row",
    "still_listed",
    "create_nameless",
    "start_taken",
    "vanished",
    "exits",
    "destroy_ignored",
)
KNOWN: dict[str, dict[str, Any]] = {
    **{name: {} for name in (*BEFORE, *AFTER, *REFUSALS, *TRAITS, *OTHERS)},
    "rate_limited": {"seconds": 12},
}


def pod_faults() -> Faults:
    """None armed yet."""
    return Faults(KNOWN, frozenset({"call", "pod", "label"}))
