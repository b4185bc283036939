from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hibernation.domain.errors import NotFound
from hibernation.providers import local, registry
from hibernation.providers.registry import get_provider, provider_names


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = SimpleNamespace(DUMONT_PROVIDERS=["local", "moon"], DUMONT_LOCAL_PROVIDER_ROOT=tmp_path)
    monkeypatch.setattr(registry, "settings", settings)
    monkeypatch.setattr(local, "settings", settings)


def test_names_are_those_configured() -> None:
    assert provider_names() == ("local", "moon")


def test_local_provider_has_the_configured_root(tmp_path: Path) -> None:
    provider = get_provider("local")
    assert isinstance(provider, local.LocalProvider)
    assert provider.root == tmp_path


def test_a_name_not_configured_is_refused_naming_those_that_are() -> None:
    with pytest.raises(NotFound, match=r"'vast'.*local, moon"):
        get_provider("vast")


def test_a_configured_name_without_code_is_refused() -> None:
    with pytest.raises(NotFound, match=r"'moon'.*only these exist: local"):
        get_provider("moon")
