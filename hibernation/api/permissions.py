"""Who may order: a token may do all that its maker could, a browser's session what its user may in the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission

from hibernation.models import ApiToken

if TYPE_CHECKING:
    # They import this module in turn: it is among the defaults of every view.
    from rest_framework.request import Request
    from rest_framework.views import APIView

ORDERS = "hibernation.change_instance"


class LooksOrOrders(BasePermission):
    """Whoever is known may look. By session, orders need ``change_instance``, as everywhere in the console."""

    message = "Your user may look but not order: that needs the permission «Can change instance»."

    def has_permission(self, request: Request, view: APIView) -> bool:
        user = request.user
        if user is None or not user.is_authenticated:
            return False
        if request.method in SAFE_METHODS or isinstance(request.auth, ApiToken):
            return True
        return bool(user.has_perm(ORDERS))
