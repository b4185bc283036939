"""Rows as vast.ai sends them; each test changes what it is about."""

from __future__ import annotations

from typing import Any

OFFER: dict[str, Any] = {
    "id": 101, "ask_contract_id": 101, "machine_id": 7, "host_id": 3, "num_gpus": 1, "gpu_name": "RTX 4090",
    "gpu_ram": 24564, "compute_cap": 890, "cuda_max_good": 12.8, "driver_version": "570.86.15", "cpu_cores": 32,
    "disk_space": 500.0, "disk_bw": 3000.0, "inet_up": 800.0, "inet_down": 900.0, "inet_up_cost": 0.01,
    "inet_down_cost": 0.02, "dph_base": 0.30, "dph_total": 0.3014, "storage_cost": 0.2, "reliability2": 0.995,
    "verification": "verified", "geolocation": "Sweden, SE", "rentable": True, "rented": False, "is_bid": False,
    "external": False, "duration": 864000.0,
}  # fmt: skip

INSTANCE: dict[str, Any] = {
    "id": 555, "machine_id": 7, "host_id": 3, "label": "dumont-ab-1", "actual_status": "running",
    "intended_status": "running", "cur_state": "running", "next_state": "running",
    "status_msg": "success, running img/ssh\n", "image_uuid": "img:1", "image_runtype": "ssh_direc ssh_proxy",
    "extra_env": [["A", "value-of-a-variable"]], "jupyter_token": "token-of-a-notebook",
    "public_ipaddr": "192.0.2.10\n",
    "ssh_host": "ssh5.vast.ai", "ssh_port": 10554,
    "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "41022"}, {"HostIp": "::", "HostPort": "41022"}]},
    "start_date": 1795454713.5, "end_date": 1796314000.0, "duration": 859287.0, "num_gpus": 1, "gpu_name": "RTX 4090",
    "disk_space": 20.0, "dph_base": 0.30, "dph_total": 0.3056, "search": {"totalHour": 0.3056},
    "is_bid": False, "geolocation": "Sweden, SE", "country_code": "SE",
}  # fmt: skip


def offer_row(**changes: Any) -> dict[str, Any]:
    return {**OFFER, **changes}


def instance_row(**changes: Any) -> dict[str, Any]:
    return {**INSTANCE, **changes}
