"""Tables, constraints and indexes. Rows are written by ``hibernation.services`` alone."""

from hibernation.models.access import ApiToken, Enrolment, Membership, Team
from hibernation.models.account import ProviderAccount
from hibernation.models.credential import ProviderCredential
from hibernation.models.event import Event
from hibernation.models.heartbeat import ReadingHour
from hibernation.models.host import Host
from hibernation.models.instance import Instance
from hibernation.models.machine import Machine
from hibernation.models.operation import Operation, OperationStep
from hibernation.models.schedule import Schedule, ScheduleRun
from hibernation.models.snapshot import Pack, Snapshot, WorkspaceKey
from hibernation.models.usage import UsageInterval

__all__ = [
    "ApiToken",
    "Enrolment",
    "Event",
    "Host",
    "Instance",
    "Machine",
    "Membership",
    "Operation",
    "OperationStep",
    "Pack",
    "ProviderAccount",
    "ProviderCredential",
    "ReadingHour",
    "Schedule",
    "ScheduleRun",
    "Snapshot",
    "Team",
    "UsageInterval",
    "WorkspaceKey",
]
