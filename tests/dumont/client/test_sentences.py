"""Sentences are read back by their templates: whole or not at all, nested, counted, and never wrongly."""

from __future__ import annotations

import polib
import pytest

from dumont.client.sentences import Sentences

ENTRIES = {
    "it is busy": "está ocupada",
    "running": "em execução",
    "wake": "despertar",
    "hibernation failed: {0}": "a hibernação falhou: {0}",
    "{0} files could not be read, so the copy would not be whole": "{0} arquivos não puderam ser lidos",
    "{0} bills at {1} under our label": "sob nossa etiqueta, a {1}, {0} é cobrada",
    "{0}; {1}": "{0}; {1}",
    "{0} of {1}": "{0} de {1}",
    ", enough for {0}": ", o bastante para {0}",
    "damaged: ": "danificado: ",
    "It bills from then on{0}, until it sleeps": "É cobrada a partir daí{0}, até dormir",
    "idle since {0}; hibernates in {1} s": "ociosa desde {0}; hiberna em {1} s",
}


def catalogue(**plurals: str) -> bytes:
    po = polib.POFile()
    po.metadata = {
        "Content-Type": "text/plain; charset=UTF-8",
        "Plural-Forms": "nplurals=2; plural=(n > 1);",
    }
    po.extend(polib.POEntry(msgid=text, msgstr=told) for text, told in ENTRIES.items())
    po.append(
        polib.POEntry(
            msgid="GPU idle for {0} minute",
            msgid_plural="GPU idle for {0} minutes",
            msgstr_plural={0: "GPU ociosa por {0} minuto", 1: "GPU ociosa por {0} minutos"},
        )
    )
    return po.to_binary()


@pytest.fixture(scope="module")
def sentences() -> Sentences:
    return Sentences(catalogue())


@pytest.mark.parametrize(
    ("english", "told"),
    [
        ("it is busy", "está ocupada"),
        ("hibernation failed: it is busy", "a hibernação falhou: está ocupada"),
        ("m-1 bills at $0.2/h under our label", "sob nossa etiqueta, a $0.2/h, m-1 é cobrada"),
        ("GPU idle for 1 minute", "GPU ociosa por 1 minuto"),
        ("GPU idle for 3 minutes", "GPU ociosa por 3 minutos"),
        ("GPU idle for 1.5 minutes", "GPU ociosa por 1.5 minuto"),
        ("GPU idle for 1,200 minutes", "GPU ociosa por 1,200 minutos"),
        ("$3, enough for 12 h", "$3, o bastante para 12 h"),
        ("damaged: it is busy", "danificado: está ocupada"),
        ("It bills from then on, until it sleeps", "É cobrada a partir daí, até dormir"),
        ("wake of vast_12345", "despertar de vast_12345"),
    ],
)
def test_a_sentence_of_ours_is_told(sentences: Sentences, english: str, told: str) -> None:
    assert sentences.read(english) == told


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "Host is out of memory",
        "GPU idle for some minutes",
        "no such thing",
        "{0}",
        "100 % of 3",
        "a" * 5000,
    ],
)
def test_what_no_template_made_stays_as_it_is(sentences: Sentences, foreign: str) -> None:
    assert sentences.read(foreign).replace(" de ", " of ") == foreign


def test_of_two_readings_the_one_that_leaves_less_counts(sentences: Sentences) -> None:
    """The longer template would take «hibernation failed: 3» for a number of files."""
    text = "hibernation failed: 3 files could not be read, so the copy would not be whole"
    assert sentences.read(text) == "a hibernação falhou: 3 arquivos não puderam ser lidos"


def test_sentences_that_were_joined_are_parted_where_each_is_whole(sentences: Sentences) -> None:
    text = "idle since 10:00; hibernates in 5 s; it is busy"
    assert sentences.read(text) == "ociosa desde 10:00; hiberna em 5 s; está ocupada"


def test_what_stands_in_a_place_may_look_like_a_place(sentences: Sentences) -> None:
    assert sentences.read("{1} bills at {0} under our label") == "sob nossa etiqueta, a {0}, {1} é cobrada"


def test_a_long_text_of_many_parts_is_read_in_no_time(sentences: Sentences) -> None:
    text = "; ".join(["it is busy", "100 % of 3"] * 15)
    assert sentences.read(text).startswith("está ocupada; 100 % de 3; está ocupada")


@pytest.mark.parametrize("joint", [", ", "; ", ". ", ": "])
@pytest.mark.parametrize("count", [120, 180, 400])
def test_a_text_that_can_be_parted_in_countless_ways_is_left_alone_soon(
    sentences: Sentences, joint: str, count: int
) -> None:
    text = joint.join(f"word{number}s of others" for number in range(count))[:4000]
    assert sentences.read(text) == text


def test_after_such_a_text_others_are_read_as_before(sentences: Sentences) -> None:
    sentences.read(", ".join(f"ab{number}" for number in range(400)))
    assert sentences.read("it is busy") == "está ocupada"
