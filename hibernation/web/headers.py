"""What browsers are told about every answer, beside what Django's own middleware tells them."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

# Pages of ours and the admin's: nothing from elsewhere, no script and no style within the page.
PAGES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The browsable API and its docs come with styles in their pages, which can do little where nothing else is let in.
API_PAGES = PAGES.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
# What is no page needs nothing, should a browser take it for one.
DATA = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
ALWAYS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
POLICY = "Content-Security-Policy"


class HeadersMiddleware:
    """A view's own policy stays. No answer ever carries a CORS header: other sites' scripts read nothing here."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        for name, value in {POLICY: _policy(request, response), **ALWAYS}.items():
            response.headers.setdefault(name, value)
        return response


def _policy(request: HttpRequest, response: HttpResponseBase) -> str:
    if not response.headers.get("Content-Type", "").startswith("text/html"):
        return DATA
    return API_PAGES if f"{request.path_info}/".startswith("/api/") else PAGES
