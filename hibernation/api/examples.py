"""Examples of the main calls, by the name of the call: what people send, and what they are told.

A test checks each against the schema that it stands in.
"""

from __future__ import annotations

from typing import Any

_ID = "vast_12345"
_SAVED = f"{_ID}_hibernate_1765967700"
_RULES = {
    "enabled": True,
    "pause_after_minutes": 3,
    "delete_after_minutes": 30,
    "gpu_usage_threshold": 5.0,
}
_MACHINE: dict[str, Any] = {
    "contract_id": "12345",
    "state": "active",
    "gpu_type": "RTX 3090",
    "gpu_count": 1,
    "region": "EU",
    "price_per_hour": "0.3000",
    "price_now": "0.3000",
    "phase": "running",
    "phase_reason": "",
    "phase_since": "2025-12-17T08:01:12Z",
    "listed_at": "2025-12-17T10:30:05Z",
    "ends_at": None,
    "ssh_host": "203.0.113.7",
    "ssh_port": 36602,
    "ssh_user": "root",
    "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample",
    "parked_until": None,
    "stopped_usd_hour": None,
    "gpus": ["RTX 3090"],
    "driver": "550.90.07",
    "cuda": "12.4",
    "launched_at": "2025-12-17T08:00:20Z",
}
_STATUS: dict[str, Any] = {
    "instance_id": _ID,
    "name": "llama fine-tune",
    "team": "research",
    "status": "idle",
    "gpu_utilization": 2.5,
    "last_activity": "2025-12-17T10:30:00Z",
    "idle_since": "2025-12-17T10:31:00Z",
    "hibernate_due_at": "2025-12-17T10:34:00Z",
    "kept_alive_until": None,
    "auto_hibernation": _RULES,
    "vast_info": {"instance_id": 12345, "gpu_type": "RTX 3090", "region": "EU"},
    "freshness": "fresh",
    "operation": None,
    "machine": _MACHINE,
    "snapshot_id": None,
    "storage": {"bytes": 0, "objects": 0, "snapshots": 0},
    "schedule": None,
    "explanation": "idle since 10:31:00 UTC; hibernates in 92 s unless it works again",
}
_GOING: dict[str, Any] = {
    "id": 7,
    "instance_id": _ID,
    "kind": "hibernate",
    "state": "running",
    "step": "freeze",
    "actor": "user:ana",
    "reason": "asked for by a person",
    "forced": True,
    "progress": {"bytes_done": 1_288_490_188, "bytes_total": 75_161_927_680},
    "waiting_for": "",
    "waits": 3,
    "failures": 0,
    "cancel_reason": "",
    "point_of_no_return_at": None,
    "created_at": "2025-12-17T10:35:00Z",
    "started_at": "2025-12-17T10:35:00Z",
    "finished_at": None,
    "result": {},
    "error_code": "",
    "error": "",
    "steps": [
        {
            "step": "quiesce",
            "entered_at": "2025-12-17T10:35:00Z",
            "finished_at": "2025-12-17T10:35:01Z",
            "seconds": 1.2,
            "waits": 0,
            "failures": 0,
        }
    ],
}
_WAKING = {**_GOING, "kind": "wake", "step": "launch", "forced": False, "progress": {}, "steps": []}
_WOKEN = {
    "success": True,
    "instance_id": _ID,
    "vast_instance_id": 98765,
    "ssh_host": "203.0.113.8",
    "ssh_port": 22,
    "snapshot_restored": True,
    "time_taken": 127.5,
}
_EVENT: dict[str, Any] = {
    "id": 41,
    "event_type": "idle_detected",
    "timestamp": "2025-12-17T10:32:00Z",
    "gpu_utilization": 3.2,
    "snapshot_id": "",
    "reason": "GPU use 3.2 %, below 5 %",
    "actor": "agent",
    "status_from": "running",
    "status_to": "idle",
    "operation_id": None,
    "data": {},
}
_TIMES = {"wake_time": "09:00", "sleep_time": "18:00", "timezone": "America/Sao_Paulo"}
_SCHEDULE: dict[str, Any] = {
    "instance_id": _ID,
    "enabled": True,
    **_TIMES,
    "days": ["mon", "tue", "wed", "thu", "fri"],
    "exceptions": {"country": "BR", "subdivision": "SP", "dates": ["2025-12-24"], "ranges": []},
    "ready_by": False,
    "force": False,
    "when_busy": "wait",
    "wait_at_most_minutes": 120,
    "give_up_after_minutes": 30,
    "stay_awake": False,
    "next": {
        "leg": "sleep",
        "local": "2025-12-17T18:00:00-03:00",
        "utc": "2025-12-17T21:00:00Z",
        "starts_at": "2025-12-17T21:00:00Z",
    },
}
_STATS: dict[str, Any] = {
    "total_instances": 10,
    "provisioning": 0,
    "running": 3,
    "idle": 2,
    "hibernating": 0,
    "hibernated": 4,
    "waking": 0,
    "deleted": 1,
    "failed": 0,
    "released": 0,
    "storage": {"bytes": 75_161_927_680, "objects": 2240, "snapshots": 6},
    "billing_now_usd_per_hour": 1.5,
    "credit_usd": 24.0,
    "credit_hours_left": 16.0,
    "providers": {
        "vast": {
            "listed_seconds_ago": 12.4,
            "list_error": "",
            "billing_now_usd_per_hour": 1.5,
            "credit_usd": 24.0,
            "credit_hours_left": 16.0,
            "credit_level": "fine",
        }
    },
}

_TOKEN = {
    "id": 3,
    "name": "laptop",
    "prefix": "dmt_8vzR",
    "scope": "operate",
    "team": None,
    "created_at": "2025-12-01T09:00:00Z",
    "expires_at": None,
    "last_used_at": "2025-12-17T10:00:00Z",
    "made_with": None,
    "revoked_at": None,
}

# The name of a call, then a title and what is sent.
WISHES: dict[str, dict[str, Any]] = {
    "instances_create": {
        "Take a rental under care": {"instance_id": _ID, "may_be_destroyed": True},
        "Rent a fresh machine": {
            "gpu_type": "RTX 3090",
            "image": "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime",
            "region": "EU",
            "max_price": 0.5,
        },
    },
    "instances_partial_update": {"Give it a name": {"name": "llama fine-tune"}},
    "instances_config_update": {
        "Never by itself": {"auto_hibernation_enabled": False},
        "Less impatient": {"gpu_usage_threshold": 10.0, "pause_after_minutes": 5},
    },
    "instances_wake_create": {
        "On such a machine": {"gpu_type": "RTX 3090", "region": "EU", "max_price": 0.5},
        "As it is set": {},
    },
    "instances_keep_alive_create": {"For two hours": {"minutes": 120}},
    "instances_schedule_update": {
        "Every day": _TIMES,
        "On working days, ready at nine": {
            **_TIMES,
            "days": ["mon", "tue", "wed", "thu", "fri"],
            "ready_by": True,
            "exceptions": {"country": "BR", "dates": ["2025-12-24"]},
        },
    },
    "instances_snapshots_partial_update": {"Keep it": {"kept": True}},
    "tokens_create": {"For a laptop": {"name": "laptop", "scope": "operate", "expires_in_days": 90}},
    "enrolments_create": {"One line for a machine": {"provider": "vast", "may_be_destroyed": True}},
}

# The name of a call, then the status, a title and what is told.
ANSWERS: dict[str, dict[tuple[int, str], Any]] = {
    "instances_list": {(200, "A page"): {"instances": [_STATUS], "next": None}},
    "instances_retrieve": {(200, "Idle"): _STATUS},
    "instances_status_retrieve": {(200, "Idle"): _STATUS},
    "instances_hibernate_create": {
        (200, "Done"): {"success": True, "snapshot_id": _SAVED, "instance_destroyed": True},
        (202, "On its way"): _GOING,
    },
    "instances_wake_create": {(200, "Done"): _WOKEN, (202, "On its way"): _WAKING},
    "instances_create": {(202, "On its way"): _WAKING},
    "instances_events_retrieve": {(200, "A page"): {"events": [_EVENT], "next": None}},
    "instances_schedule_retrieve": {(200, "Its schedule"): _SCHEDULE, (200, "None"): {"enabled": False}},
    "instances_schedule_update": {(200, "As it is now"): _SCHEDULE},
    "instances_schedule_destroy": {(200, "Gone"): {"enabled": False}},
    "operations_list": {(200, "A page"): {"operations": [_GOING], "next": None}},
    "operations_retrieve": {(200, "On its way"): _GOING},
    "operations_cancel_create": {(202, "It turns back"): {**_GOING, "cancel_reason": "cancelled"}},
    "hibernation_stats_retrieve": {(200, "Ten instances"): _STATS},
    "enrolments_create": {
        (201, "To be run once"): {
            "command": "curl -fsS https://dumont.example.org/api/enrol.sh | sh -s -- dme_example",
            "token": "dme_example",
            "provider": "vast",
            "expires_at": "2025-12-17T11:30:00Z",
        }
    },
    "tokens_list": {(200, "A page"): {"tokens": [_TOKEN], "next": None}},
    "tokens_create": {(201, "Shown once"): {**_TOKEN, "token": "dmt_example"}},
    "me_retrieve": {
        (200, "By token"): {
            "user": "ana",
            "token": _TOKEN,
            "scopes": ["read", "operate"],
            "teams": [{"id": 1, "name": "research", "role": "owner", "may": "operate"}],
        }
    },
}

# What rented machines ask, and what they are answered.
BEAT = {
    "instance_id": _ID,
    "seq": 42,
    "timestamp": "2025-12-17T10:30:00Z",
    "gpu_count": 2,
    "gpu_names": ["RTX 3090", "RTX 3090"],
    "gpu_utilizations": [2.5, None],
    "gpu_memory_used": [18_000, None],
    "gpu_memory_total": [24_576, None],
    "samples": 30,
}
BEATEN = {"received": True, "instance_id": _ID, "status": "running", "action": "none", "interval": 30.0}
UPLOADS = {"objects": [{"kind": "pack", "size": 33_554_432, "crc32": "1b851995", "tier": 0}]}
SIGNED = {
    "objects": [
        {
            "key": f"{_ID}/packs/01J",
            "url": f"https://dumont.example.org/api/store/{_ID}/packs/01J?expires=1765971300&signature=…",
            "headers": {},
        }
    ]
}
