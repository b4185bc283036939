"""Tokens that people make for themselves: never good for more, nor for longer, than what they are made with."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from hibernation.domain.access import OF_SCOPE, Scope
from hibernation.domain.errors import Conflict, InvalidRequest, NotFound
from hibernation.domain.states import EventType
from hibernation.models import ApiToken, Team
from hibernation.services.access import Caller, NotAllowed, team_named, visible_tokens
from hibernation.services.clock import db_now
from hibernation.services.tokens import alive, hold_api_token, issue_api_token, revoke_api_token
from hibernation.services.transitions import emit

MOST_LIVING = 100


@transaction.atomic
def create_own_token(
    caller: Caller, name: str, scope: Scope, *, team: str | None, lifetime: timedelta | None, actor: str
) -> tuple[str, ApiToken]:
    """The token, told once, and its row.

    ``InvalidRequest`` for a team or a time that the caller has not; ``NotAllowed`` for a scope above his own token's,
    and when that was revoked just now; ``Conflict`` for one who has ``MOST_LIVING`` already.
    """
    must_still_count(caller)
    if OF_SCOPE[scope] > caller.limit:
        raise NotAllowed("A token makes none that may do more than itself.")
    if ApiToken.objects.filter(alive(), user=caller.user.pk).count() >= MOST_LIVING:
        raise Conflict(f"You have {MOST_LIVING} tokens: revoke one first.")
    until = _until(caller, lifetime)
    raw, row = issue_api_token(
        caller.user,
        name,
        lifetime,
        scope=scope,
        team=_team(caller, team),
        until=until,
        made_with=caller.token,
    )
    emit(EventType.CONFIG_CHANGED, f"the token {name!r} of {caller.user} was made", instance=None,
         now=row.created_at, actor=actor, data={"scope": row.scope, "prefix": row.prefix})  # fmt: skip
    return raw, row


def revoke_own_token(caller: Caller, token_id: int, *, actor: str) -> ApiToken:
    """It counts no more, nor what was made with it, but for the token that he asks with. Repeatable.

    ``NotFound`` for one that is not his.
    """
    if not visible_tokens(caller).filter(pk=token_id).exists():
        raise NotFound(f"There is no token {token_id}.")
    return revoke_api_token(token_id, actor=actor, spared=caller.token)


def must_still_count(caller: Caller) -> None:
    """``NotAllowed`` where his token was revoked just now. It cannot be until the transaction ends."""
    if caller.token is not None and not hold_api_token(caller.token):
        raise NotAllowed("The token that you make it with was revoked.")


def _team(caller: Caller, name: str | None) -> Team | None:
    if name is None:
        return None if caller.token is None else caller.token.team
    return team_named(caller, name)


def _until(caller: Caller, wished: timedelta | None) -> datetime | None:
    """The end of the token that it is made with; a wish beyond that is refused."""
    until = None if caller.token is None else caller.token.expires_at
    if wished is not None and until is not None and db_now() + wished > until:
        reason = "The token that you make it with expires before that."
        raise InvalidRequest("Some fields are not valid.", {"expires_in_days": reason})
    return until
