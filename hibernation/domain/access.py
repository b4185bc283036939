"""Who may do what: roles in teams, scopes of tokens, and what each call of the API needs. Pure rules."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Role(StrEnum):
    """A user's part in a team."""

    OWNER = "owner"
    MEMBER = "member"
    VIEWER = "viewer"


class Scope(StrEnum):
    """The most that a token may do, whatever its user may."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


class Right(IntEnum):
    """Each holds those before it. READ: look. OPERATE: order, and change rules. ADMIN: take in, let go, and people."""

    READ = 1
    OPERATE = 2
    ADMIN = 3


class Need(StrEnum):
    """What one call asks of whoever makes it.

    ``read``, ``operate``, ``admin``: that right in the team of what the address names; in any team where it names
    nothing. ``own``: only about the caller himself, whatever his roles; of a token, the scope ``admin``. ``agent``: a
    rental's token. ``public``: nothing, or what the call itself carries, like a signature.
    """

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"
    OWN = "own"
    AGENT = "agent"
    PUBLIC = "public"


ROLES = [role.value for role in Role]
SCOPES = [scope.value for scope in Scope]
OF_ROLE = {Role.VIEWER: Right.READ, Role.MEMBER: Right.OPERATE, Role.OWNER: Right.ADMIN}
OF_SCOPE = {Scope.READ: Right.READ, Scope.OPERATE: Right.OPERATE, Scope.ADMIN: Right.ADMIN}
OF_NEED = {Need.READ: Right.READ, Need.OPERATE: Right.OPERATE, Need.ADMIN: Right.ADMIN}


def right_of(role: Role, scope: Scope) -> Right:
    """In one team: the smaller of what the user and what his token may."""
    return min(OF_ROLE[role], OF_SCOPE[scope])
