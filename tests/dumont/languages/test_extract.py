"""Sentences are found in code as templates, with every variant, and nothing that only developers read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dumont.languages.extract import sentences_in
from dumont.languages.plurals import plural_of
from dumont.languages.templates import sentences_in_template


def found(folder: Path, code: str) -> list[str]:
    path = folder / "code.py"
    path.write_text(code)
    return [one.text for one in sentences_in(path, folder)]


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        ("say('it is busy')", ["it is busy"]),
        ("say(f'{a} waits for {b.c:.1f}')", ["{0} waits for {1}"]),
        ("say(f'{a}{b} waits')", ["{0} waits"]),
        ('say(f\'{n} file{"" if n == 1 else "s"}\')', ["{0} file", "{0} files"]),
        ("say('it was ' + ('busy' if x else 'idle'))", ["it was busy", "it was idle"]),
        ('say(f\'so {"; ".join(f"{x} of these" for x in y)}\')', ["so {0}", "{0} of these"]),
    ],
)
def test_a_sentence_is_found_with_its_places(tmp_path: Path, code: str, texts: list[str]) -> None:
    assert found(tmp_path, code) == texts


@pytest.mark.parametrize(
    "code",
    [
        '"""A docstring is not said."""',
        "raise AssertionError('never so')",
        "logger.warning('only in the log: %s', x)",
        "run('''SELECT a\nFROM b''')",
        "say('oneword')",
        "say('RTX 4090')",
        "say(f'<b>{a} and {b}</b>')",
    ],
)
def test_what_is_not_for_people_is_not_found(tmp_path: Path, code: str) -> None:
    assert found(tmp_path, code) == []


def test_of_a_template_only_what_is_to_be_translated_is_found(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<p>Not this</p>\n{% translate \"But this\" %} {% translate 'and this' %}")
    assert [(one.text, one.where) for one in sentences_in_template(path, tmp_path)] == [
        ("But this", "page.html:2"),
        ("and this", "page.html:2"),
    ]


def test_two_forms_that_differ_by_an_s_are_one_entry() -> None:
    told = {"idle for {0} minute", "idle for {0} minutes", "file", "files"}
    assert plural_of("idle for {0} minute", told) == "idle for {0} minutes"
    assert plural_of("idle for {0} minutes", told) == ""
    assert plural_of("file", told) == ""
