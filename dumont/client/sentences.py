"""Sentences in another language: each is read back by its template. English stays the record.

A catalogue is a gettext file. The places of its templates are ``{0}`` to ``{9}``; what stands in one is read in turn.
"""

from __future__ import annotations

import gettext
import re
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

_LONGEST = 4000
_MOST_WORK = 20_000
"""Parts that are looked at for one text: for a sentence of ours some hundred, a tenth of a second for a hostile one."""
_PLACE = re.compile(r"\{([0-9])\}")
_NUMBER = re.compile(r"-?[0-9][0-9,]*(?:\.[0-9]+)?")
_WORD = re.compile(r"(?:^[A-Z][a-z]+(?=[ :,])|(?<![\w./=-])[a-z]{2,})(?![\w/=-]|\.\w)")
"""What is not one is a name, a number or a unit, and stays as it is in every language."""
_TAIL = (" ", ",", ";", ":", ".")
_HEAD = " "
_WEAK = 5
"""Fewer letters than that are in many a sentence that no template made, such as «of» and «in»."""


@dataclass(frozen=True, slots=True)
class Template:
    """One English form of a catalogue's entry. ``entry``: its singular, and its plural where it has one.

    One that begins with a space or a mark is a tail, one that ends with a space a head: what stands before or after
    it is read on its own. ``strength``: of how many letters it is. ``is_weak``: of so few, without a mark, that it may
    stand in a sentence of somebody else.
    """

    entry: tuple[str, ...]
    literals: tuple[str, ...]
    is_tail: bool
    is_head: bool
    strength: int
    is_weak: bool

    @classmethod
    def of(cls, entry: tuple[str, ...], form: str) -> Template:
        is_tail, is_head = form.startswith(_TAIL), form.endswith(_HEAD)
        literals = [*[""] * is_tail, *_PLACE.split(form)[::2], *[""] * is_head]
        strength = sum(map(str.isalpha, "".join(literals)))
        is_weak = 0 < strength < _WEAK and not re.search("[;:]", form)
        return cls(entry, tuple(literals), is_tail, is_head, strength, is_weak)

    def readings(self, text: str) -> Iterator[list[str]]:
        """What stands in the places, if the text is of this template: one way, and every way to part it in two."""
        start = 0
        while (found := self._values_in(text, start)) is not None:
            yield found
            if len(found) != 2 or self.literals[0]:
                return
            start = len(found[0]) + 1

    def _values_in(self, text: str, start: int) -> list[str] | None:
        first, *between, last = self.literals
        at, end, found = len(first), len(text) - len(last), list[str]()
        if end < at or not (text.startswith(first) and text.endswith(last)):
            return None
        least = max(start, 0 if self.is_tail else _least(first))
        for literal in between:
            upto = text.find(literal, at + least, end)
            if upto < 0:
                return None
            found.append(text[at:upto])
            at, least = upto + len(literal), _least(literal)
        return [*found, text[at:end]] if end - at >= least else None


class _TooMuch(Exception):
    """This text can be parted in so many ways that nobody waits for the best of them."""


class _Work(threading.local):
    left = 0


class Sentences:
    """One language's. Reading never fails, and ends soon: what no template has is given back as it is."""

    def __init__(self, catalogue: bytes) -> None:
        self._translations = gettext.GNUTranslations(BytesIO(catalogue))
        self._whole: set[str] = set()
        self._templates = _Shelf()
        for entry in _entries(catalogue):
            for form in entry:
                self._add(entry, form)
        self._remembered = lru_cache(maxsize=8192)(self._find_best)
        self._work = _Work()

    def read(self, text: str) -> str:
        """The text in this language, as far as it is known."""
        if not 0 < len(text) <= _LONGEST:
            return text
        self._work.left = _MOST_WORK
        try:
            return self._best(text)[1]
        except (_TooMuch, RecursionError):
            return text

    def _best(self, text: str) -> tuple[int, str]:
        self._work.left -= 1
        if self._work.left < 0:
            raise _TooMuch
        return self._remembered(text)

    def _add(self, entry: tuple[str, ...], form: str) -> None:
        template = Template.of(entry, form)
        if not _PLACE.search(form):
            self._whole.add(form)
        if len(template.literals) > 1:
            self._templates.add(template)

    def _find_best(self, text: str) -> tuple[int, str]:
        """How much stays as it was, and the text: of several readings the one that leaves the least."""
        if text in self._whole:
            return 0, self._translations.gettext(text)
        best = _unread(text), text
        for template, values in self._readings(text) if best[0] else ():
            found = self._filled(template, values)
            if found is not None and found[0] < best[0]:
                best = found
            if not best[0]:
                break
        return best

    def _readings(self, text: str) -> list[tuple[Template, list[str]]]:
        """The most telling first."""
        found = [
            (template, values)
            for template in self._templates.fitting(text)
            for values in template.readings(text)
        ]
        return sorted(found, key=lambda reading: -reading[0].strength)

    def _filled(self, template: Template, values: list[str]) -> tuple[int, str] | None:
        read = [self._best(value) for value in values]
        if template.is_weak and not _is_ours(values, read):
            return None
        words = [text for _, text in read]
        before = words.pop(0) if template.is_tail else ""
        after = words.pop() if template.is_head else ""
        told = self._translated(template.entry, values)
        if told is None:
            return None
        middle = _PLACE.sub(lambda place: words[int(place[1])], told)
        return sum(left for left, _ in read), f"{before}{middle}{after}"

    def _translated(self, entry: tuple[str, ...], values: list[str]) -> str | None:
        """A plural is for numbers alone; a fraction counts as the whole number before it, as CLDR says."""
        if len(entry) == 1:
            return self._translations.gettext(entry[0])
        if not _NUMBER.fullmatch(values[0]):
            return None
        one, many = entry
        return self._translations.ngettext(one, many, int(abs(float(values[0].replace(",", "")))))


class _Shelf:
    """Templates by how they begin, else by how they end, so that few are tried on a text."""

    def __init__(self) -> None:
        self._by_start: defaultdict[str, list[tuple[str, Template]]] = defaultdict(list)
        self._by_end: defaultdict[str, list[tuple[str, Template]]] = defaultdict(list)

    def add(self, template: Template) -> None:
        start, end = template.literals[0][:2], template.literals[-1][-2:]
        shelf, key = (self._by_start, start) if start or not end else (self._by_end, end)
        shelf[key].append((max(template.literals, key=len), template))

    def fitting(self, text: str) -> list[Template]:
        """Those whose longest part is in the text."""
        starts = [self._by_start.get(text[:length], ()) for length in (2, 1, 0)]
        ends = [self._by_end.get(text[-length:], ()) for length in (2, 1)]
        return [template for shelf in (*starts, *ends) for part, template in shelf if part in text]


def _unread(text: str) -> int:
    """How many letters of it are words that somebody might want in his own language."""
    return sum(map(len, _WORD.findall(text)))


def _is_ours(values: list[str], read: list[tuple[int, str]]) -> bool:
    """Whether so little text of ours is between values of ours: no foreign sentence, and one of them known."""
    if any(left and " " in value for value, (left, _) in zip(values, read, strict=True)):
        return False
    return not any(left for left, _ in read) or any(
        not left and text != value for value, (left, text) in zip(values, read, strict=True)
    )


def _least(before: str) -> int:
    """How much a place holds at least: one that is glued to a word may be empty."""
    return 0 if before[-1:].isalnum() else 1


def _entries(catalogue: bytes) -> Iterator[tuple[str, ...]]:
    """The msgids of a .mo file, each with its plural where it has one; without the header, which has none."""
    order = "<" if catalogue[:4] == b"\xde\x12\x04\x95" else ">"
    count, table = struct.unpack_from(f"{order}2I", catalogue, 8)
    for number in range(count):
        length, start = struct.unpack_from(f"{order}2I", catalogue, table + 8 * number)
        if length:
            yield tuple(catalogue[start : start + length].decode().split("\0"))
