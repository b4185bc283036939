"""The texts of Django templates: those in ``{% translate %}``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .extract import Found

_TRANSLATE = re.compile(r"""\{%\s*translate\s+(?:"([^"]+)"|'([^']+)')""")


def sentences_in_template(path: Path, root: Path) -> Iterator[Found]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for match in _TRANSLATE.finditer(line):
            yield Found(match[1] or match[2], f"{path.relative_to(root)}:{number}")
