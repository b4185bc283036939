"""What vast.ai documents of its limits: the least seconds between two calls of a kind, and its searches a minute."""

from __future__ import annotations

from enum import StrEnum

from hibernation.providers.limiter import Limit


class Call(StrEnum):
    """The kinds of call that are counted apart."""

    SEARCH = "search"
    CREATE = "create"
    LIST = "list"
    DESTROY = "destroy"
    MANAGE = "manage"
    ATTACH = "attach"
    LOGS = "logs"
    ACCOUNT = "account"


LIMITS: dict[str, Limit] = {
    Call.SEARCH: Limit(60.0, calls=10),
    Call.CREATE: Limit(4.5, penalty=12.0),
    Call.LIST: Limit(1.0),
    Call.DESTROY: Limit(3.0),
    Call.MANAGE: Limit(1.0),
    Call.ATTACH: Limit(1.0),
    # Of these no limit is told; they are rare.
    Call.LOGS: Limit(1.5),
    Call.ACCOUNT: Limit(1.0),
}
