"""The API as pages, for people with a browser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.template import loader
from django.urls import reverse
from django.utils.safestring import mark_safe
from rest_framework.renderers import BrowsableAPIRenderer

if TYPE_CHECKING:
    # They import this module in turn: it is among the defaults of every view.
    from django import forms
    from rest_framework.request import Request
    from rest_framework.views import APIView


class PageRenderer(BrowsableAPIRenderer):
    """People log in and out by the console's own door: there is one to watch.

    A view says in ``wishes`` which serializer reads what is sent with each method; its forms are filled accordingly.
    """

    template = "hibernation/api.html"

    def get_raw_data_form(self, data: Any, view: APIView, method: str, request: Request) -> forms.Form | None:
        """What can be set, as it is now. Sent unchanged, it changes nothing."""
        form = super().get_raw_data_form(data, view, method, request)
        if not form:
            return form
        wish = getattr(view, "wishes", {}).get(method)
        known = [] if wish is None else [name for name, one in wish().fields.items() if not one.read_only]
        present = data if isinstance(data, Mapping) else {}
        content = {name: present[name] for name in known if name in present}
        form.fields["_content"].initial = json.dumps(content, indent=4, default=str)
        form.fields["_content"].help_text = f"Known here: {', '.join(known)}." if known else ""
        return form

    def get_description(self, view: APIView, status_code: int) -> str:
        """Without the marks that the descriptions in the code have around names."""
        return mark_safe(str(super().get_description(view, status_code)).replace("``", ""))  # noqa: S308 - DRF's own

    def get_extra_actions(self, view: APIView, status_code: int) -> dict[str, str] | None:
        """With what else there is of an instance."""
        actions: dict[str, str] | None = super().get_extra_actions(view, status_code)
        instance = view.kwargs.get("pk") if getattr(view, "basename", "") == "instance" else None
        if actions is None or instance is None:
            return actions
        places = {"Schedule": "schedule", "Schedule, preview": "schedule-preview", "Snapshots": "snapshots"}
        return actions | {name: reverse(place, args=[instance]) for name, place in places.items()}

    def get_filter_form(self, data: Any, view: APIView, request: Request) -> str | None:
        """The list's filters, where the view names them."""
        filterset = getattr(view, "filterset_class", None)
        if filterset is None or getattr(view, "action", "list") != "list":
            return None
        form = loader.get_template("django_filters/rest_framework/form.html")
        shown = form.render({"filter": filterset(request.query_params, request=request)}, request._request)
        return str(loader.get_template(self.filter_template).render({"elements": [shown]}))
