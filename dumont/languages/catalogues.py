"""What each catalogue holds: the sentences of which code, and the single words that stand in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .console import words_of_the_console
from .extract import Found, sentences_in
from .programs import words_of_the_command_line
from .templates import sentences_in_template

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("pt_BR",)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """``sources``: globs from the checkout. ``without``: files of them in which nothing is for people."""

    folder: str
    domain: str
    sources: tuple[str, ...]
    words: Callable[[], Iterable[str]]
    without: str = r"$^"
    unsaid: frozenset[str] = frozenset()

    def po(self, language: str) -> Path:
        return ROOT / self.folder / "locale" / language / "LC_MESSAGES" / f"{self.domain}.po"

    def found(self) -> Iterator[Found]:
        """Everything that is to be translated, each text once."""
        seen: set[str] = set()
        for one in self._everything():
            if one.text not in seen and one.text not in self.unsaid:
                seen.add(one.text)
                yield one

    def _everything(self) -> Iterator[Found]:
        for glob in self.sources:
            for path in sorted(ROOT.glob(glob)):
                if not re.search(self.without, str(path.relative_to(ROOT))):
                    read = sentences_in_template if path.suffix == ".html" else sentences_in
                    yield from read(path, ROOT)
        for text in self.words():
            yield Found(text, "")


SERVER = Catalogue(
    "hibernation",
    "django",
    (
        "hibernation/domain/**/*.py",
        "hibernation/services/**/*.py",
        "hibernation/providers/**/*.py",
        "hibernation/box/*.py",
        "hibernation/snapshots/*.py",
        "hibernation/api/*.py",
        "hibernation/admin/*.py",
        "hibernation/models/*.py",
        "hibernation/templates/**/*.html",
    ),
    words_of_the_console,
    # The local provider, the commands and the drill speak to whoever runs them, in English.
    without=r"/offers/gpus|services/(keys|drill)|runpod/places|/bundle|providers/local/|/mirroring"
    r"|snapshots/(advice|checkup|comparison|trial)"
    # The description of the API is for programmers.
    r"|api/(agent_routes|describing|examples|root|schema|shapes)",
    unsaid=frozenset(
        {
            "{0} h {1} min",
            "{0} min",
            "ssh_direc ssh_proxy",
        }
    ),
)
COMMAND_LINE = Catalogue(
    "dumont/cli",
    "dumont",
    ("dumont/cli/*.py", "dumont/client/*.py"),
    words_of_the_command_line,
    unsaid=frozenset({"ok   {0} {1}", "url = {0}", "token = {0}", "plain_http = true", "dumont {0}"}),
)
CATALOGUES = (SERVER, COMMAND_LINE)
