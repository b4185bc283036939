"""The console's accounts with providers: credit, and the keys to them, which are entered and never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from hibernation.admin.shared import ActingAdmin, ReadOnlyAdmin, actor_of
from hibernation.admin.words import badge
from hibernation.domain.errors import DumontError
from hibernation.models import ProviderAccount, ProviderCredential
from hibernation.said import in_language
from hibernation.services.credentials import (
    LONGEST_KEY,
    forget_key,
    is_from_environment,
    providers_with_keys,
    store_key,
    try_key,
)


@admin.register(ProviderAccount)
class ProviderAccountAdmin(ReadOnlyAdmin):
    list_display = ("provider", "standing", "credit", "credit_at", "burn_per_hour", "listed_at", "list_error")

    @admin.display(description="credit level", ordering="level")
    def standing(self, row: ProviderAccount) -> str:
        colour = {"fine": "good", "low": "warn", "floor": "bad", "end": "bad"}.get(row.level, "quiet")
        return badge(row.level, colour)


class KeyForm(forms.Form):
    """Write-only: what was typed is never put back into the page."""

    provider = forms.ChoiceField()
    key = forms.CharField(
        max_length=LONGEST_KEY,
        label="API key",
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        help_text="kept sealed by the installation's key; nobody sees it again",
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.fields["provider"].choices = [(name, name) for name in providers_with_keys()]  # type: ignore[attr-defined]


@admin.register(ProviderCredential)
class ProviderCredentialAdmin(ActingAdmin):
    list_display = ("provider", "used", "changed_at", "changed_by")
    fields = ("provider", "used", "changed_at", "changed_by")
    readonly_fields = ("used",)
    actions = ("try_keys", "forget_keys")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hibernation.add_providercredential")

    def has_enter_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_add_permission(request)

    @admin.display(description="used")
    def used(self, row: ProviderCredential) -> str:
        return in_language("no: the environment has a key" if is_from_environment(row.provider) else "yes")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Enter one, in the place of any other of that provider."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = KeyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                store_key(form.cleaned_data["provider"], form.cleaned_data["key"], actor=actor_of(request))
            except DumontError as error:
                form.add_error("key", in_language(str(error)))
            else:
                self.message_user(request, f"The key of {form.cleaned_data['provider']} is kept, sealed.")
                return HttpResponseRedirect(reverse("admin:hibernation_providercredential_changelist"))
        return self.page(request, "credential_form.html", "Key to a provider's account", form=form)

    @admin.action(description="Test: ask the provider for the account", permissions=["enter"])
    def try_keys(self, request: HttpRequest, queryset: QuerySet[ProviderCredential]) -> None:
        for row in queryset:
            try:
                self.message_user(request, try_key(row.provider))
            except DumontError as error:
                self.message_user(request, f"{row.provider}: {error}", messages.ERROR)

    @admin.action(description="Forget (asks first)", permissions=["enter"])
    def forget_keys(
        self, request: HttpRequest, queryset: QuerySet[ProviderCredential]
    ) -> HttpResponse | None:
        asked = self.ask_first(
            request,
            queryset,
            str,
            title="Forget these keys?",
            warning="Without a key nothing can be rented there, nor ended: machines there go on billing unseen.",
            button="Forget",
        )
        if asked is not None:
            return asked

        def one(row: ProviderCredential, actor: str) -> str:
            forget_key(row.provider, actor=actor)
            return "forgotten"

        self.order(request, queryset, one)
        return None
