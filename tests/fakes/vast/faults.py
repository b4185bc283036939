"""Everything that may go wrong at the fake market: ``faults.arm("offer_gone_404", times=2, where={"offer": 7})``.

``times``: how often (None: until disarmed). ``where``: only calls or contracts like these; its keys are ``call`` (one
of ``routes.py``), ``contract``, ``offer``, ``machine``, ``host`` and ``label``, its values may hold ``*``. Other
arguments are the fault's own, with the defaults shown.

Any call (with ``where={"call": "list"}`` and the like)

| fault | what happens |
|---|---|
| auth_404, auth_401 | the key is unknown all of a sudden, told as either |
| rate_limited | 429; threshold=4.5 |
| dropped | the connection ends before anything happens |
| response_lost | it happens, and the connection ends without an answer |
| bad_gateway, bad_gateway_after | a proxy's 502 in HTML, before or after it happens |
| server_error, server_error_after | 500 before or after it happens |
| slow | the answer takes seconds=1.0 of real time |

Reading

| fault | what happens |
|---|---|
| search_quota | 429 with the day's end in X-RateLimit-Reset |
| search_unfiltered | the filters are not applied |
| list_410 | the list is retired as its older version is |
| list_500 | the list fails |
| list_empty | a stale replica: success, and no instance |
| list_cut | a page says that it is the last though more follow; total_instances tells |
| by_id_null | the instance cannot be read by its id yet |

Renting

| fault | what happens |
|---|---|
| offer_gone_404, offer_gone_410, offer_gone_400 | somebody was faster, told in three ways |
| host_only_403 | the offer is not for us |
| gpu_unavailable | its GPU is let after all: 410 with cancel_unavail, else success and a stopped contract |
| insufficient_credit | refused; status=400 |
| spend_rate_limit | a new account spends too fast; status=400 |
| create_422 | the order is not understood |
| create_false | 200 with success false and no contract |
| create_leftover | an error that names a new_contract, which exists, stopped; status=400 |
| create_429, create_response_lost, create_502_after | as for any call |

Booting, told when a contract is made or starts

| fault | what happens |
|---|---|
| slow_boot | it takes seconds=300 longer |
| loading_forever | it never gets beyond loading |
| loading_frozen | the same status line for seconds=600, then it runs |
| boot_abort_cdi, boot_abort_oci, no_space_left | the host gives up with the container runtime's words |
| boot_abort | the host gives up with the words text="unexpected EOF" |
| image_pull_denied, manifest_unknown | the image cannot be had |
| create_start_race | loads without a word while its state is stopped; a start helps |

SSH (lasts until ``market.heal``)

| fault | what happens |
|---|---|
| ssh_refused, ssh_direct_refused, ssh_proxy_refused | running, but the port refuses |
| ssh_silent, ssh_direct_silent, ssh_proxy_silent | the port takes connections and says nothing |
| ssh_auth_fails | the first logins=2 logins after a boot are refused |
| ssh_banner | text="Welcome." before each login |
| ssh_keys_vanish | the keys are gone from the machine; attaching one again helps |
| slow_network | its SSH is as slow as mbit=20 |

A running contract

| fault | what happens |
|---|---|
| goes_offline | the host cannot be reached for seconds=600 (None: never again) |
| status_unknown | actual_status is unknown for seconds=60, nothing else is wrong |
| status_lags | actual_status is exited for seconds=60 though it runs |
| frozen | paused for ever, and its GPU bills |
| outbid | stopped by the market, without our wish |
| host_stops | stopped by its host, without our wish |
| vanished | the contract is gone |
| price_rise | the host asks factor=1.5 of the GPU's price, due in seconds=86400 |
| end_date_reached | the rental ends now, its disk goes 48 h later |
| gpu_let_on_stop | the moment it stops, somebody else takes its GPU |

Starting and ending

| fault | what happens |
|---|---|
| start_queued | «queued» with success false; it starts itself after seconds=60 unless stop is sent |
| destroy_429, destroy_response_lost, destroy_500 | as for any call |
| destroy_ignored | success, but the contract stays and bills |
| destroy_row_remains | destroyed, but listed for polls=3 more lists |

Rows (lasts until ``market.heal``)

| fault | what happens |
|---|---|
| extra_env_null, extra_env_dict | the field has another shape |
| ports_null | the field is null though it runs |
| geolocation_null, cpu_cores_null | unknown |
| price_higher | the contract costs factor=1.5 of what the offer said |
| disk_smaller | the disk is half of what was ordered |
| status_strange | actual_status is a word that nobody knows |
"""

from __future__ import annotations

from typing import Any

from tests.fakes.arming import Faults

# name -> the fault's own arguments and their defaults
TRANSPORT: dict[str, dict[str, Any]] = {
    "auth_404": {},
    "auth_401": {},
    "rate_limited": {"threshold": 4.5},
    "dropped": {},
    "response_lost": {},
    "bad_gateway": {},
    "bad_gateway_after": {},
    "server_error": {},
    "server_error_after": {},
    "slow": {"seconds": 1.0},
}
READING: dict[str, dict[str, Any]] = {
    "search_quota": {},
    "search_unfiltered": {},
    "list_410": {},
    "list_500": {},
    "list_empty": {},
    "list_cut": {},
    "by_id_null": {},
}
RENTING: dict[str, dict[str, Any]] = {
    "offer_gone_404": {},
    "offer_gone_410": {},
    "offer_gone_400": {},
    "host_only_403": {},
    "gpu_unavailable": {},
    "insufficient_credit": {"status": 400},
    "spend_rate_limit": {"status": 400},
    "create_422": {},
    "create_false": {},
    "create_leftover": {"status": 400},
}
BOOT: dict[str, dict[str, Any]] = {
    "slow_boot": {"seconds": 300.0},
    "loading_forever": {},
    "loading_frozen": {"seconds": 600.0},
    "boot_abort_cdi": {},
    "boot_abort_oci": {},
    "no_space_left": {},
    "boot_abort": {"text": "unexpected EOF"},
    "image_pull_denied": {},
    "manifest_unknown": {},
    "create_start_race": {},
}
TRAITS: dict[str, dict[str, Any]] = {
    "ssh_refused": {},
    "ssh_direct_refused": {},
    "ssh_proxy_refused": {},
    "ssh_silent": {},
    "ssh_direct_silent": {},
    "ssh_proxy_silent": {},
    "ssh_auth_fails": {"logins": 2},
    "ssh_banner": {"text": "Welcome."},
    "slow_network": {"mbit": 20.0},
    "extra_env_null": {},
    "extra_env_dict": {},
    "ports_null": {},
    "geolocation_null": {},
    "cpu_cores_null": {},
    "price_higher": {"factor": 1.5},
    "disk_smaller": {},
    "status_strange": {},
    "gpu_let_on_stop": {},
}
RUNNING: dict[str, dict[str, Any]] = {
    "ssh_keys_vanish": {},
    "goes_offline": {"seconds": 600.0},
    "status_unknown": {"seconds": 60.0},
    "status_lags": {"seconds": 60.0},
    "frozen": {},
    "outbid": {},
    "host_stops": {},
    "vanished": {},
    "price_rise": {"factor": 1.5, "seconds": 86_400.0},
    "end_date_reached": {},
}
ENDING: dict[str, dict[str, Any]] = {
    "start_queued": {"seconds": 60.0},
    "destroy_ignored": {},
    "destroy_row_remains": {"polls": 3},
}
# Short names of what may happen to any call.
ALIASES: dict[str, tuple[str, dict[str, str]]] = {
    "create_429": ("rate_limited", {"call": "create"}),
    "create_response_lost": ("response_lost", {"call": "create"}),
    "create_502_after": ("bad_gateway_after", {"call": "create"}),
    "destroy_429": ("rate_limited", {"call": "destroy"}),
    "destroy_response_lost": ("response_lost", {"call": "destroy"}),
    "destroy_500": ("server_error", {"call": "destroy"}),
}
KNOWN = {**TRANSPORT, **READING, **RENTING, **BOOT, **TRAITS, **RUNNING, **ENDING}
NAMES = (*KNOWN, *ALIASES)


def market_faults() -> Faults:
    """None armed yet."""
    return Faults(KNOWN, frozenset({"call", "contract", "offer", "machine", "host", "label"}), ALIASES)
