"""The URL map: people's pages, the admin, the API and the health checks."""

from django.contrib import admin
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from hibernation.api import health, root

handler400 = "hibernation.api.errors.bad_request"
handler404 = "hibernation.api.errors.page_not_found"
handler500 = "hibernation.api.errors.server_error"
urlpatterns = [
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
    path("api", root.RootView.as_view(), name="api-root"),
    path("api/", csrf_exempt(RedirectView.as_view(pattern_name="api-root"))),
    path("api/", include("hibernation.api.urls")),
    path("", include("hibernation.web.urls")),
]
