"""The console's teams: who is in them, and giving an instance to another. Who may look here sees all teams."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from hibernation.admin.shared import OrderingAdmin, actor_of
from hibernation.models import Instance, Membership, Team
from hibernation.services.teams import move_instance

MOVES = "hibernation.change_team"


class MembersInline(admin.TabularInline[Membership, Team]):
    """Those who are in it. A choice of users in each row would ask the database for each."""

    model = Membership
    max_num = 0
    ordering = ("pk",)
    fields = ("user", "role")
    readonly_fields = ("user",)
    verbose_name_plural = "members"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("team", "user")


class NewMembersInline(admin.TabularInline[Membership, Team]):
    model = Membership
    extra = 1
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    verbose_name_plural = "new members"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).none()


@admin.register(Team)
class TeamAdmin(admin.ModelAdmin[Team]):
    """Django's own forms: these rows have no states that a service would have to follow, and its log says who did it.

    A team that has instances cannot be deleted.
    """

    list_display = ("name", "people", "instances")
    search_fields = ("name",)
    ordering = ("name",)
    inlines = (MembersInline, NewMembersInline)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                people_count=_count(Membership.objects.all()), instance_count=_count(Instance.objects.all())
            )
        )

    @admin.display(description="people", ordering="people_count")
    def people(self, row: Any) -> int:
        return int(row.people_count)

    @admin.display(description="instances", ordering="instance_count")
    def instances(self, row: Any) -> int:
        return int(row.instance_count)


def _count(rows: QuerySet[Any]) -> Coalesce:
    one = rows.filter(team=OuterRef("pk")).order_by().values("team").annotate(figure=Count("pk"))
    return Coalesce(Subquery(one.values("figure")), 0)


class MoveForm(forms.Form):
    team = forms.ModelChoiceField(Team.objects.order_by("name"))


class InstanceMoves(OrderingAdmin):
    """The page that gives an instance to another team."""

    def move_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not request.user.has_perm(MOVES):
            raise PermissionDenied
        instance: Instance | None = self.get_object(request, unquote(object_id))
        if instance is None:
            raise Http404
        back = reverse("admin:hibernation_instance_change", args=[quote(instance.pk)])
        form = MoveForm(request.POST or None, initial={"team": instance.team_id})
        if request.method == "POST" and form.is_valid():
            team = form.cleaned_data["team"]
            move_instance(instance.pk, team.pk, actor=actor_of(request))
            self.message_user(request, f"{instance} is {team}'s.")
            return HttpResponseRedirect(back)
        sentence = f"{instance.team} loses it with all its copies and its history; the other team gets them."
        return self.page(
            request,
            "order.html",
            f"Give {instance.name or instance.pk} to another team?",
            instance=instance,
            back=back,
            sentences=[sentence],
            form=form,
            button="Give it",
        )
