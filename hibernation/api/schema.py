"""The API's own description. It holds nothing of anybody's: everybody may read it."""

from drf_spectacular.views import SpectacularAPIView

from hibernation.api.permissions import Access
from hibernation.domain.access import Need


class SchemaView(SpectacularAPIView):
    needs = {"GET": Need.PUBLIC}
    permission_classes = [Access]
