"""Tokens: the agent's (signed, per rental, no look-up), people's and enrolments' (random, stored as a hash)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, F, Q
from django.db.models.functions import Now

from hibernation.domain.access import Scope
from hibernation.domain.errors import NotFound
from hibernation.domain.states import EventType
from hibernation.models import ApiToken, Enrolment, Machine, Team
from hibernation.services.clock import db_now
from hibernation.services.transitions import emit

AGENT_PREFIX = "dma1"
PERSON_PREFIX = "dmt_"
ENROLMENT_PREFIX = "dme_"
ENROLMENT_LASTS = timedelta(hours=1)
_SHOWN = 8
"""Of 47 letters: enough to tell tokens apart, and no help to guess one."""


@dataclass(frozen=True, slots=True)
class AgentToken:
    machine_id: int
    epoch: int


def issue_agent_token(machine: Machine) -> str:
    """A new token for the agent on this rental. Every earlier one dies, and sequence numbers start anew."""
    Machine.objects.filter(pk=machine.pk).update(token_epoch=F("token_epoch") + 1, heartbeat_seq=0)
    machine.refresh_from_db(fields=["token_epoch", "heartbeat_seq"])
    return f"{AGENT_PREFIX}.{machine.pk}.{machine.token_epoch}.{_signature(machine.pk, machine.token_epoch)}"


def read_agent_token(raw: str) -> AgentToken | None:
    """What a token claims, if we signed it. Whether its epoch still counts is for the machine's row to say."""
    parts = raw.split(".")
    if len(parts) != 4 or parts[0] != AGENT_PREFIX or not (parts[1].isascii() and parts[2].isascii()):
        return None
    if not (parts[1].isdigit() and parts[2].isdigit()) or len(parts[1]) > 18 or len(parts[2]) > 9:
        return None
    machine_id, epoch = int(parts[1]), int(parts[2])
    if not hmac.compare_digest(_signature(machine_id, epoch).encode(), parts[3].encode()):
        return None
    return AgentToken(machine_id, epoch)


def _signature(machine_id: int, epoch: int) -> str:
    key = hashlib.sha256(f"agent-token:{settings.SECRET_KEY}".encode()).digest()
    return hmac.new(key, f"{machine_id}.{epoch}".encode(), hashlib.sha256).hexdigest()


def create_api_token(
    user: AbstractBaseUser,
    name: str,
    lifetime: timedelta | None = None,
    *,
    scope: Scope = Scope.ADMIN,
    team: Team | None = None,
) -> str:
    """A new token of ``user``, good for what ``scope`` allows, in ``team`` or all of his. Only its hash is kept."""
    return issue_api_token(user, name, lifetime, scope=scope, team=team)[0]


def issue_api_token(
    user: AbstractBaseUser,
    name: str,
    lifetime: timedelta | None,
    *,
    scope: Scope,
    team: Team | None,
    until: datetime | None = None,
    made_with: ApiToken | None = None,
) -> tuple[str, ApiToken]:
    """The same, with its row; dead at ``until`` at the latest, and when the one is revoked that it is made with."""
    raw = PERSON_PREFIX + secrets.token_urlsafe(32)
    now = db_now()
    ends = [end for end in (now + lifetime if lifetime is not None else None, until) if end is not None]
    row = ApiToken.objects.create(
        user=user,  # type: ignore[misc]
        name=name,
        digest=_digest(raw),
        prefix=raw[:_SHOWN],
        scope=scope,
        team=team,
        made_with=made_with,
        created_at=now,
        expires_at=min(ends, default=None),
    )
    return raw, row


def alive() -> Q:
    """Of API tokens: neither revoked nor expired."""
    return Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=Now()))


def find_api_token(raw: str) -> ApiToken | None:
    """The living token, its use noted to the minute; ``None`` for any other text."""
    if not raw.startswith(PERSON_PREFIX):
        return None
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=Now() - timedelta(minutes=1))
    found = ApiToken.objects.select_related("user", "team").annotate(
        is_stale=ExpressionWrapper(stale, BooleanField())
    )
    token = found.filter(alive(), digest=_digest(raw)).first()
    if token is not None and token.is_stale:
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=Now())
    return token


def hold_api_token(token: ApiToken) -> bool:
    """Whether it still counts; it does until the caller's transaction ends, so that nothing is made with a dead one."""
    return ApiToken.objects.select_for_update(no_key=True).filter(alive(), pk=token.pk).exists()


@transaction.atomic
def revoke_api_token(token_id: int, *, actor: str, spared: ApiToken | None = None) -> ApiToken:
    """It counts no more, nor does what was made with it, from now on and for ever. Repeatable. ``NotFound``.

    ``spared``: another that stays, with what was made with it: the one that revokes, which may be there to replace it.
    """
    token = ApiToken.objects.select_for_update(no_key=True, of=("self",)).filter(pk=token_id).first()
    if token is None:
        raise NotFound(f"There is no token {token_id}.")
    now, generation, gone = db_now(), [token], []
    while generation:
        gone += generation
        made = ApiToken.objects.select_for_update(no_key=True, of=("self",)).select_related("user")
        made = made.filter(made_with__in=[one.pk for one in generation])
        generation = [one for one in made.order_by("pk") if spared is None or one.pk != spared.pk]
    for one in gone:
        _revoke(one, now, actor)
    Enrolment.objects.filter(made_with__in=gone, claimed_at__isnull=True, expires_at__gt=now).update(
        expires_at=now
    )
    return token


def _revoke(token: ApiToken, now: datetime, actor: str) -> None:
    if token.revoked_at is None:
        token.revoked_at = now
        token.save(update_fields=["revoked_at"])
        emit(EventType.CONFIG_CHANGED, f"the token {token.name!r} of {token.user} was revoked",
             instance=None, now=now, actor=actor)  # fmt: skip


def create_enrolment(
    provider: str, actor: str, team: Team, made_with: ApiToken | None = None
) -> tuple[str, Enrolment]:
    """A token that has one machine adopted, within the hour. Returned once; only its hash is kept."""
    raw = ENROLMENT_PREFIX + secrets.token_urlsafe(24)
    now = db_now()
    row = Enrolment.objects.create(
        digest=_digest(raw),
        provider=provider,
        team=team,
        actor=actor,
        made_with=made_with,
        created_at=now,
        expires_at=now + ENROLMENT_LASTS,
    )
    return raw, row


def find_enrolment(raw: str) -> Enrolment | None:
    """The one that can still be claimed; ``None`` for any other text."""
    if not raw.startswith(ENROLMENT_PREFIX):
        return None
    return Enrolment.objects.filter(
        digest=_digest(raw), claimed_at__isnull=True, expires_at__gt=Now()
    ).first()


def _digest(raw: str) -> str:
    return hashlib.sha256(raw.encode()).hexdigest()
