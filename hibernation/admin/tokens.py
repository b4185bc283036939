"""The console's tokens of people and scripts: made, shown once, and revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables

from hibernation.admin.shared import ActingAdmin, actor_of
from hibernation.admin.words import NOTHING, ago, badge
from hibernation.domain.access import Scope
from hibernation.models import ApiToken, Team
from hibernation.models.choices import choices
from hibernation.services.tokens import create_api_token, revoke_api_token

_EXPIRES_IN_DAYS_AT_MOST = 3650


class TokenForm(forms.Form):
    """A root user makes tokens for anybody; everybody else for themselves: a token acts as its user."""

    name = forms.CharField(max_length=100, help_text="what will use it")
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=_EXPIRES_IN_DAYS_AT_MOST,
        label="Expires after days",
        help_text="empty: when it is revoked",
    )

    scope = forms.ChoiceField(choices=choices(Scope), help_text="the most it may do, whatever its user may")
    team = forms.ModelChoiceField(
        Team.objects.none(), required=False, help_text="good for this one only; empty: for all of its user's"
    )

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST or None)
        self._own = request.user
        is_root = getattr(request.user, "is_superuser", False)
        teams = Team.objects.order_by("name")
        self.fields["team"].queryset = (  # type: ignore[attr-defined]
            teams if is_root else teams.filter(memberships__user=request.user.pk)
        )
        if is_root:
            people = get_user_model()._default_manager.filter(is_active=True)
            self.fields["user"] = forms.ModelChoiceField(people, initial=request.user.pk)

    @property
    def owner(self) -> AbstractBaseUser:
        return cast(AbstractBaseUser, self.cleaned_data.get("user") or self._own)


@admin.register(ApiToken)
class ApiTokenAdmin(ActingAdmin):
    list_display = ("shown", "name", "user", "scope", "team", "standing", "created_at", "used", "expires_at")
    list_select_related = ("user", "team")
    list_filter = ("scope", "team")
    search_fields = ("name", "=user__username", "prefix")
    ordering = ("-id",)
    fields = (
        "shown",
        "name",
        "user",
        "scope",
        "team",
        "made_with",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    readonly_fields = ("shown",)
    actions = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        rows: QuerySet[ApiToken] = super().get_queryset(request)
        return rows.annotate(seen_at=Now())

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hibernation.add_apitoken")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hibernation.change_apitoken")

    @admin.display(description="token", ordering="prefix")
    def shown(self, row: ApiToken) -> str:
        return f"{row.prefix or 'dmt_'}…"

    @admin.display(description="state")
    def standing(self, row: Any) -> str:
        if row.revoked_at is not None:
            return badge("revoked")
        expired = row.expires_at is not None and row.expires_at <= row.seen_at
        return badge("expired") if expired else badge("active")

    @admin.display(description="last used", ordering="last_used_at")
    def used(self, row: Any) -> str:
        return NOTHING if row.last_used_at is None else ago(row.last_used_at, row.seen_at)

    @sensitive_variables("secret")
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The secret is in the answer to the order and nowhere else: neither in a session nor in a message."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request)
        if request.method != "POST" or not form.is_valid():
            return self.page(request, "token_form.html", "New token", form=form)
        days = form.cleaned_data["days"]
        lifetime = timedelta(days=days) if days else None
        secret = create_api_token(
            form.owner,
            form.cleaned_data["name"],
            lifetime,
            scope=Scope(form.cleaned_data["scope"]),
            team=form.cleaned_data["team"],
        )
        page = self.page(request, "token_made.html", "A new token", secret=secret, owner=form.owner)
        page["Cache-Control"] = "no-store"
        return page

    @admin.action(description="Revoke (asks first)", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> HttpResponse | None:
        asked = self.ask_first(
            request,
            queryset,
            lambda row: f"{self.shown(row)} {row.name} of {row.user}",
            title="Revoke these tokens?",
            warning="Whatever uses them or what was made with them is refused from now on, for ever.",
            button="Revoke",
        )
        if asked is not None:
            return asked

        def one(row: ApiToken, actor: str) -> str:
            revoke_api_token(row.pk, actor=actor_of(request))
            return "revoked"

        self.order(request, queryset, one)
        return None
