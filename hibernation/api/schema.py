"""The API's own description, and the page to read it on. It holds nothing of anybody's: everybody may read it."""

from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from hibernation.api.permissions import Access
from hibernation.domain.access import Need


class SchemaView(SpectacularAPIView):
    needs = {"GET": Need.PUBLIC}
    permission_classes = [Access]


class DocsView(SpectacularSwaggerSplitView):
    """The one with its script apart: a policy against scripts in pages does not break it."""

    needs = {"GET": Need.PUBLIC}
    permission_classes = [Access]
