"""What the pages of the console share: rows that are only looked at, and orders that are asked for twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import Model, QuerySet
from django.forms import Media
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.text import capfirst

from hibernation.api.permissions import ORDERS
from hibernation.domain.errors import DumontError
from hibernation.said import in_language, in_language_lazily


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Rows are written by services; the console shows them. One count a list is enough."""

    show_full_result_count = False
    list_per_page = 50

    def __init_subclass__(cls) -> None:
        """The headings of columns and the words of actions are written in English, and read in the user's language."""
        super().__init_subclass__()
        for member in vars(cls).values():
            if hasattr(member, "short_description"):
                member.short_description = in_language_lazily(str(member.short_description))
        if cls.search_help_text:
            cls.search_help_text = in_language_lazily(str(cls.search_help_text))

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return [
            (title and in_language(str(title)), options)
            for title, options in super().get_fieldsets(request, obj)
        ]

    def message_user(self, request: HttpRequest, message: Any, *args: Any, **kwargs: Any) -> None:
        super().message_user(request, in_language(str(message)), *args, **kwargs)

    @property
    def media(self) -> Media:
        ours = Media(css={"all": ["hibernation/console.css"]}, js=["hibernation/console.js"])
        return super().media + ours

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, {**title, **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        more = self.more(request, unquote(object_id))
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})

    def more(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        """What the template of one row's page gets beside what Django gives it."""
        return {}

    def page(self, request: HttpRequest, template: str, title: str, **more: Any) -> TemplateResponse:
        """A page of our own in the console's frame."""
        context = {
            **self.admin_site.each_context(request),
            "title": in_language(title),
            "opts": self.opts,
            "media": self.media,
            **more,
        }
        return TemplateResponse(request, f"hibernation/console/{template}", context)


class ShowingAdmin(ReadOnlyAdmin):
    """Whose rows have a page of their own making: ``shown`` is what its template gets of one."""

    def shown(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        raise NotImplementedError

    def more(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        row = self.get_object(request, object_id)
        return {} if row is None else self.shown(request, row)


class OrderingAdmin(ReadOnlyAdmin):
    """Whose actions are orders: each row is one order, and its answer is told."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Orders end and start rentals and delete copies: who may only look may not give them."""
        return request.user.has_perm(ORDERS)

    def order(self, request: HttpRequest, rows: QuerySet[Any], ask: Callable[[Any, str], str]) -> None:
        for row in rows:
            try:
                self.message_user(request, f"{row}: {ask(row, actor_of(request))}")
            except DumontError as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)

    def ask_first(
        self, request: HttpRequest, rows: QuerySet[Any], say: Callable[[Any], str], **words: str
    ) -> HttpResponse | None:
        """The page that says what will happen to each row; ``None`` once somebody has read it.

        ``words``: ``title``, ``warning`` and ``button``.
        """
        if "confirmed" in request.POST:
            return None
        lines = [(row.pk, in_language(say(row))) for row in rows]
        return self.page(request, "confirm.html", lines=lines, action=request.POST["action"], **words)


class ActingAdmin(OrderingAdmin):
    """Whose actions on one row are buttons on its page, too."""

    def more(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        offered = [action for action in self.get_actions(request).values() if action is not None]
        return {"buttons": [(name, words) for _, name, words in offered]}


def actor_of(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"
