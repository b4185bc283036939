"""Orders to an instance in the console: a page that says what will happen and what it costs, then the service."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from hibernation.admin import consequences
from hibernation.admin.instance_settings import SettingsForm
from hibernation.admin.shared import OrderingAdmin, actor_of
from hibernation.api.serializers import WakeSerializer
from hibernation.domain.errors import DumontError
from hibernation.models import Instance, Operation
from hibernation.said import in_language
from hibernation.services.cancelling import request_cancel
from hibernation.services.instances import configure
from hibernation.services.requests import request_hibernate, request_snapshot, request_wake

REASON = "asked for in the console"
_KEY = re.compile(r"[A-Za-z0-9_-]{10,60}\Z")


@dataclass(frozen=True, slots=True)
class Button:
    """``when``: the statuses in which it is offered."""

    verb: str
    label: str
    ask: Callable[..., Operation]
    say: Callable[[Instance], list[str]]
    when: frozenset[str]


BUTTONS = (
    Button(
        "hibernate",
        "Hibernate",
        request_hibernate,
        consequences.of_hibernate,
        frozenset({"running", "idle", "waking"}),
    ),
    Button(
        "wake",
        "Wake",
        request_wake,
        consequences.of_wake,
        frozenset({"hibernated", "deleted", "failed", "released", "provisioning", "hibernating"}),
    ),
    Button("save", "Save now", request_snapshot, consequences.of_save, frozenset({"running", "idle"})),
)
_BY_VERB = {button.verb: button for button in BUTTONS}


class WakeForm(forms.Form):
    """What this wake wishes; the API's own fields check it."""

    gpu_type = forms.CharField(required=False, label="GPU", help_text="empty: as the instance is set")
    region = forms.CharField(required=False, help_text="such as EU or EU,US; empty: as it is set")
    max_price = forms.CharField(required=False, label="Max. $/h", help_text="empty: as it is set")

    def params(self) -> dict[str, str]:
        """What was wished, as the service takes it. Call it on a valid form; it may find errors still."""
        wish = WakeSerializer(data={name: value for name, value in self.cleaned_data.items() if value})
        if wish.is_valid():
            return {name: str(value) for name, value in wish.validated_data.items()}
        for name, errors in wish.errors.items():
            self.add_error(
                name if name in self.fields else None, [in_language(str(error)) for error in errors]
            )
        return {}


class InstanceOrders(OrderingAdmin):
    """The buttons and actions of instances."""

    def order_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        instance, button = self._ordered(request, object_id), _BY_VERB.get(verb)
        if button is None:
            raise Http404
        form = WakeForm(request.POST or None) if verb == "wake" else None
        if request.method == "POST" and (form is None or form.is_valid()):
            params = {"params": form.params()} if form else {}
            if form is None or not form.errors:
                return self._give(request, instance, lambda: self._ask(request, instance, button, params))
        return self.page(
            request,
            "order.html",
            f"{button.label} {instance.name or instance.pk}?",
            instance=instance,
            back=_page_of(instance.pk),
            sentences=[in_language(one) for one in button.say(instance)],
            form=form,
            button=button.label,
            key=secrets.token_urlsafe(12),
        )

    def _ask(
        self, request: HttpRequest, instance: Instance, button: Button, params: dict[str, Any]
    ) -> Operation:
        """The key in the page makes a second click answer the first one's operation."""
        key = request.POST.get("key", "")
        wish = {"actor": actor_of(request), "reason": REASON, **params}
        return button.ask(instance.pk, idempotency_key=key if _KEY.match(key) else None, **wish)

    def cancel_view(self, request: HttpRequest, number: int) -> HttpResponse:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        operation = Operation.objects.select_related("instance", "machine").filter(pk=number).first()
        if operation is None:
            raise Http404
        instance = operation.instance
        if request.method == "POST":
            return self._give(
                request, instance, lambda: request_cancel(operation.pk, actor=actor_of(request))
            )
        return self.page(
            request,
            "order.html",
            f"Cancel {operation.kind} of {instance.name or instance.pk}?",
            instance=instance,
            back=_page_of(instance.pk),
            sentences=[in_language(one) for one in consequences.of_cancel(operation)],
            button="Cancel the operation",
        )

    def settings_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        instance = self._ordered(request, object_id)
        form = SettingsForm(instance, request.POST or None)
        if request.method == "POST" and form.is_valid():
            changes = form.changes()
            if not form.errors:
                return self._configure(request, instance, changes)
        return self.page(
            request,
            "settings.html",
            f"Settings of {instance.name or instance.pk}",
            instance=instance,
            back=_page_of(instance.pk),
            form=form,
        )

    def _configure(self, request: HttpRequest, instance: Instance, changes: dict[str, Any]) -> HttpResponse:
        if not changes:
            self.message_user(request, "Nothing was changed.", messages.INFO)
            return HttpResponseRedirect(_page_of(instance.pk))
        try:
            configure(instance.pk, changes, actor=actor_of(request))
            self.message_user(request, f"Changed: {', '.join(sorted(changes))}.")
        except DumontError as error:
            self.message_user(request, str(error), messages.ERROR)
        return HttpResponseRedirect(_page_of(instance.pk))

    def _give(self, request: HttpRequest, instance: Instance, ask: Callable[[], Operation]) -> HttpResponse:
        try:
            operation = ask()
            stopped = ", turns back" if operation.cancel_reason else ""
            self.message_user(request, f"{operation.kind} {operation.pk}: {operation.state}{stopped}.")
        except DumontError as error:
            self.message_user(request, str(error), messages.ERROR)
        return HttpResponseRedirect(_page_of(instance.pk))

    def _ordered(self, request: HttpRequest, object_id: str) -> Instance:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        instance: Instance | None = self.get_object(request, unquote(object_id))
        if instance is None:
            raise Http404
        return instance

    @admin.action(description="Hibernate: save, prove, end the rental", permissions=["operate"])
    def hibernate(self, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
        return self._ask_all(request, queryset, _BY_VERB["hibernate"])

    @admin.action(description="Wake on another machine", permissions=["operate"])
    def wake(self, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
        return self._ask_all(request, queryset, _BY_VERB["wake"])

    @admin.action(description="Save and prove now, and go on", permissions=["operate"])
    def save_now(self, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
        return self._ask_all(request, queryset, _BY_VERB["save"])

    def _ask_all(
        self, request: HttpRequest, queryset: QuerySet[Instance], button: Button
    ) -> HttpResponse | None:
        asked = self.ask_first(
            request,
            queryset,
            lambda row: f"{row}: {' '.join(button.say(row))}",
            title=f"{button.label} these instances?",
            warning="",
            button=button.label,
        )
        if asked is not None:
            return asked

        def one(instance: Instance, actor: str) -> str:
            operation = button.ask(instance.pk, actor=actor, reason=REASON)
            return f"{operation.kind} {operation.state}"

        self.order(request, queryset, one)
        return None


def _page_of(instance_id: str) -> str:
    return reverse("admin:hibernation_instance_change", args=[quote(instance_id)])
