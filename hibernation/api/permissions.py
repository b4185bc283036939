"""What each call needs, as its view declares it in ``needs``, and whether whoever asks may have it.

``needs`` says it by HTTP method; GET stands for HEAD. What is not declared is refused to everybody, and so is an
address that names something of which nobody says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from rest_framework.permissions import BasePermission

from hibernation.api.callers import caller_of
from hibernation.domain.access import Need
from hibernation.services import access

if TYPE_CHECKING:
    # They import this module in turn: it is among the defaults of every view.
    from rest_framework.request import Request
    from rest_framework.views import APIView

ORDERS = "hibernation.change_instance"
"""What the console, which knows no teams, asks of whoever orders there."""
SUBJECTS: Mapping[str, Callable[[access.Caller, str], int]] = {
    "instance_id": access.team_of_instance,
    "operation_id": access.team_of_operation,
    "team_id": access.team_of_team,
}
"""Whose the thing is that an address names. A router's ``pk`` counts as its base name with ``_id``."""
View = TypeVar("View", bound=Callable[..., Any])


def needs(**by_method: Need) -> Callable[[View], View]:
    """Declares what a plain Django view asks; it sees to it itself."""

    def mark(view: View) -> View:
        view.needs = by_method  # type: ignore[attr-defined]
        return view

    return mark


class Access(BasePermission):
    """First whether the thing exists for him, then whether he may: 404 before 403, so that nothing can be probed."""

    message = access.NotAllowed.__doc__

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = "GET" if request.method in ("HEAD", "OPTIONS") else str(request.method)
        declared: Mapping[str, Need] = getattr(view, "needs", {})
        need = declared.get(method)
        if need is Need.PUBLIC:
            return True
        if request.user is None or not request.user.is_authenticated:
            return False
        # Before anything is looked up, for what is refused counts, too.
        view.check_throttles(request)
        if not hasattr(view, method.lower()):
            # There is no such method here: the view says so itself.
            return True
        caller = caller_of(request)
        team = _team_of(view, caller)
        if need is None or (team is None and view.kwargs and need is not Need.OWN):
            return False
        return caller.may(need, team)


def _team_of(view: APIView, caller: access.Caller) -> int | None:
    """Whose the thing is that the address names; ``NotFound`` where there is none for this caller."""
    key = f"{getattr(view, 'basename', '')}_id"
    named = {key if name == "pk" else name: value for name, value in view.kwargs.items()}
    teams = {SUBJECTS[name](caller, value) for name, value in named.items() if name in SUBJECTS}
    return teams.pop() if teams else None
