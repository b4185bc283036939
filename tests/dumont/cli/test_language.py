"""The command line in Brazilian Portuguese: by option, by variable, by the system; JSON is the same in all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dumont.cli import language
from dumont.cli.language import known, wanted
from hibernation.models import Event
from hibernation.services.clock import db_now
from tests.dumont.cli.conftest import Terminal
from tests.factories import idle_for, make_instance, make_machine

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Before, and again afterwards: the language is the process's."""
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG", "DUMONT_LANG"):
        monkeypatch.setenv(name, "")
    yield
    language.choose(language.ENGLISH)


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("pt-BR", "pt-br"),
        ("pt_BR.UTF-8", "pt-br"),
        ("pt", "pt-br"),
        ("en_US.UTF-8", "en"),
        ("C.UTF-8", None),
        ("", None),
    ],
)
def test_languages_are_known_by_many_names(name: str, language: str | None) -> None:
    assert known(name) == language


@pytest.mark.parametrize(
    ("arguments", "env", "language"),
    [
        ([], {}, "en"),
        (["--lang", "pt-BR", "ls"], {"DUMONT_LANG": "en"}, "pt-br"),
        (["--lang=en", "ls"], {"LANG": "pt_BR.UTF-8"}, "en"),
        (["ls"], {"DUMONT_LANG": "pt-BR", "LANG": "en_US.UTF-8"}, "pt-br"),
        (["ls"], {"LC_ALL": "C", "LANG": "pt_BR.UTF-8"}, "en"),
        (["ls"], {"LANG": "pt_BR.UTF-8"}, "pt-br"),
        (["ls"], {"LANG": "de_DE.UTF-8"}, "en"),
        (["ssh", "x", "--", "--lang", "pt"], {}, "en"),
        (["--lang"], {}, "en"),
    ],
)
def test_an_option_goes_before_the_variable_and_that_before_the_system(
    arguments: list[str], env: dict[str, str], language: str
) -> None:
    assert wanted(arguments, env) == language


def test_help_is_told_in_portuguese(terminal: Terminal) -> None:
    shown = terminal.run("--lang", "pt-BR", "--help").stdout
    for words in ("Uso: dumont", "Opções", "Comandos", "Lista as instâncias", "Códigos de saída"):
        assert words in shown
    assert "Traz o workspace de volta" in terminal.run("--lang", "pt-BR", "wake", "--help").stdout


def test_a_language_that_nobody_speaks_here_is_refused(terminal: Terminal) -> None:
    assert "de is not among: en, pt-br" in terminal.run("--lang", "de", "ls", code=2).output


def test_what_an_instance_does_is_told_in_portuguese(terminal: Terminal) -> None:
    instance = make_instance(**idle_for(1))
    make_machine(instance)
    assert "HIBERNA EM" in terminal.run("--lang", "pt-BR", "ls").stdout
    shown = terminal.run("--lang", "pt-BR", "status", instance.pk).stdout
    for words in ("por quê", "se não voltar a trabalhar", "após 3 min abaixo de 5%", "estado", "idle"):
        assert words in shown


def test_events_are_told_in_portuguese_and_the_next_command_in_english(terminal: Terminal) -> None:
    instance = make_instance()
    Event.objects.create(
        instance=instance, event_type="hibernated", timestamp=db_now(), reason="GPU idle for 3 minutes"
    )
    assert "GPU ociosa por 3 minutos" in terminal.run("--lang", "pt-BR", "events", instance.pk).stdout
    assert "GPU idle for 3 minutes" in terminal.run("events", instance.pk).stdout


def test_an_error_is_told_in_portuguese_with_the_same_exit_code(terminal: Terminal) -> None:
    shown = terminal.run("--lang", "pt-BR", "status", "nowhere", code=3)
    assert "Não existe a instância 'nowhere'." in shown.output


def test_the_keys_of_json_know_no_language(terminal: Terminal) -> None:
    instance = make_instance(**idle_for(1))
    row = terminal.json("--lang", "pt-BR", "status", instance.pk)
    assert row["status"] == "idle"
