"""People's pages. The front door leads to the browsable list of instances."""

from django.urls import path
from django.views.generic import RedirectView

urlpatterns = [path("", RedirectView.as_view(url="/api/instances"), name="home")]
