"""JSON bodies, strict. Django bounds their size before this sees them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class StrictJSONParser(JSONParser):
    """A JSON object without NaN, infinite numbers or texts that are no Unicode."""

    strict = True

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        try:
            data = super().parse(stream, media_type, parser_context)
            # What cannot be written again, like 1e999 or half a surrogate pair, would fail later and worse.
            json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except ValueError:
            raise ParseError("The JSON holds a number or a text that cannot be stored.") from None
        if not isinstance(data, dict):
            raise ParseError("The body must be a JSON object.")
        return data
