"""The console in the language of the user's browser."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.factories import idle_for, make_instance, make_machine, make_operation, make_snapshot
from tests.hibernation.admin.pages import listed, page_of, text_of

pytestmark = pytest.mark.django_db
PT = {"Accept-Language": "pt-BR"}


def test_a_list_in_portuguese(root: Client) -> None:
    make_machine(make_instance(**idle_for(1), name="training"))
    page = root.get(listed("instance"), headers=PT)
    told = text_of(page)
    for words in (
        "Instâncias",
        "Em andamento",
        "Última leitura",
        "ociosa",
        "ouvida há 0 s",
        "hiberna em 119 s",
    ):
        assert words in told
    for words in ("Hibernar: salvar, comprovar, encerrar o aluguel", "Acordar em outra máquina"):
        assert words in page.content.decode()


def test_an_instances_page_in_portuguese(root: Client) -> None:
    instance = make_instance(**idle_for(1))
    make_machine(instance)
    make_operation(instance, kind="snapshot", step="freeze", waiting_for="the workspace is being saved")
    told = text_of(root.get(page_of(instance), headers=PT))
    for words in (
        "Configurações",
        "Última leitura",
        "O que aconteceu",
        "o workspace está sendo salvo",
        "Hibernar",
    ):
        assert words in told
    for words in ("limite de uso da gpu", "por cento; uma gpu acima disso está ocupada"):
        assert words in told.lower()


def test_an_order_says_in_portuguese_what_it_will_do(root: Client) -> None:
    instance = make_instance(status="running")
    make_machine(instance)
    page = root.get(
        f"/admin/hibernation/instance/{instance.pk.replace('_', '_5F')}/order/hibernate/", headers=PT
    )
    assert "Qualquer dúvida sobre a cópia deixa a máquina rodando." in text_of(page)
    assert 'value="Hibernar"' in page.content.decode()


def test_settings_in_portuguese(root: Client) -> None:
    instance = make_instance()
    page = root.get(f"/admin/hibernation/instance/{instance.pk.replace('_', '_5F')}/settings/", headers=PT)
    told = text_of(page)
    for words in ("Ociosidade", "Hibernar após (minutos)", "Mbit/s; vazio: sem limite"):
        assert words in told


def test_what_became_of_an_order_is_told_in_portuguese(root: Client) -> None:
    snapshot = make_snapshot(make_instance())
    asked = {"action": "keep", "_selected_action": [str(snapshot.pk)]}
    page = root.post(listed("snapshot"), asked, headers=PT, follow=True)
    assert "guardado" in text_of(page)


def test_the_same_process_speaks_english_to_the_next_user(root: Client) -> None:
    make_machine(make_instance(**idle_for(1)))
    root.get(listed("instance"), headers=PT)
    assert "what goes on" in text_of(root.get(listed("instance"))).lower()
