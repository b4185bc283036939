"""The API as pages, for people with a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.template import loader
from rest_framework.renderers import BrowsableAPIRenderer

if TYPE_CHECKING:
    # They import this module in turn: it is among the defaults of every view.
    from rest_framework.request import Request
    from rest_framework.views import APIView


class PageRenderer(BrowsableAPIRenderer):
    """People log in and out by the console's own door: there is one to watch."""

    template = "hibernation/api.html"

    def get_filter_form(self, data: Any, view: APIView, request: Request) -> str | None:
        """The list's filters, where the view names them."""
        filterset = getattr(view, "filterset_class", None)
        if filterset is None or getattr(view, "action", "list") != "list":
            return None
        form = loader.get_template("django_filters/rest_framework/form.html")
        shown = form.render({"filter": filterset(request.query_params, request=request)}, request._request)
        return str(loader.get_template(self.filter_template).render({"elements": [shown]}))
