"""Every call that the API answers, read from its addresses, with what its view declares that it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.admindocs.views import simplify_regex
from django.urls import URLPattern, URLResolver

from hibernation.api.urls import urlpatterns
from hibernation.domain.access import Need

_KNOWN = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Call:
    """``path``: like ``/api/instances/{instance_id}``. ``need``: ``None`` where nobody declared it."""

    method: str
    path: str
    need: Need | None
    view: Any = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def names(self) -> set[str]:
        """What stands in its address."""
        return set(re.findall(r"{(\w+)}", self.path))

    def to(self, **values: object) -> str:
        return self.path.format(**values)


def calls() -> list[Call]:
    return sorted(_calls(urlpatterns, ""), key=lambda call: (call.path, call.method))


def _calls(patterns: Sequence[URLPattern | URLResolver], prefix: str) -> Iterator[Call]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _calls(pattern.url_patterns, prefix + str(pattern.pattern))
            continue
        path = simplify_regex(prefix + str(pattern.pattern)).replace("//", "/")
        view: Any = pattern.callback
        named = _named(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path), view)
        for method, need in _needs(view).items():
            yield Call(method, f"/api{named}", need, view)


def _named(path: str, view: Any) -> str:
    """A router names what it looks up ``pk``, whatever that is."""
    basename = getattr(view, "initkwargs", {}).get("basename", "")
    return path.replace("{pk}", f"{{{basename}_id}}")


def _needs(view: Any) -> dict[str, Need | None]:
    if not hasattr(view, "cls"):
        # A plain function answers what it declares, and must declare something.
        return getattr(view, "needs", {"ANY": None})
    declared = view.initkwargs.get("needs", getattr(view.cls, "needs", {}))
    answered = getattr(view, "actions", None) or [m for m in _KNOWN if hasattr(view.cls, m)]
    return {method.upper(): declared.get(method.upper()) for method in answered}
