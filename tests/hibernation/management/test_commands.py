"""The commands that make a token, register an instance and collect garbage, and what they refuse."""

from __future__ import annotations

import os
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from hibernation.domain.errors import StoreError
from hibernation.models import ApiToken, Instance, Membership, Operation, Pack, Snapshot, Team
from hibernation.services.clock import db_now
from hibernation.services.teams import default_team
from hibernation.snapshots.filesystem import FilesystemStore
from tests.factories import make_instance, make_pack, make_snapshot, make_user
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().strip()


def test_a_token_opens_the_api(client: Client) -> None:
    User.objects.create_user("ana")
    token = run("create_token", "--user", "ana")
    answer = client.get("/api/instances", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


def test_a_token_can_be_made_to_expire() -> None:
    User.objects.create_user("ana")
    run("create_token", "--user", "ana", "--days", "2", "--name", "laptop")
    token = ApiToken.objects.get()
    assert token.expires_at == token.created_at + timedelta(days=2)
    assert token.name == "laptop"


def test_a_token_for_nobody_is_refused() -> None:
    with pytest.raises(CommandError, match="no user 'bob'"):
        run("create_token", "--user", "bob")


def test_a_token_that_never_lives_is_refused() -> None:
    User.objects.create_user("ana")
    with pytest.raises(CommandError, match="more than 0"):
        run("create_token", "--user", "ana", "--days", "0")


def test_whoever_is_in_no_team_joins_the_default_one_with_his_token() -> None:
    user = User.objects.create_user("ana")
    for _ in range(2):
        run("create_token", "--user", "ana", "--scope", "read")
    assert user.memberships.get().role == "owner"
    assert user.memberships.get().team == default_team()
    assert set(ApiToken.objects.values_list("scope", "team")) == {("read", None)}


def test_a_token_for_one_team_is_for_who_is_in_it() -> None:
    team = Team.objects.create(name="research")
    ana = make_user("ana", team=team)
    User.objects.create_user("eva")
    run("create_token", "--user", "ana", "--team", "research")
    assert ApiToken.objects.get().team == team
    with pytest.raises(CommandError, match="eva is not in the team 'research'"):
        run("create_token", "--user", "eva", "--team", "research")
    with pytest.raises(CommandError, match="no team 'x'"):
        run("create_token", "--user", "ana", "--team", "x")
    assert Membership.objects.get().user == ana


def test_an_instance_is_registered_for_a_team() -> None:
    Team.objects.create(name="research")
    run("register_instance", "box", "--team", "research")
    run("register_instance", "another")
    assert dict(Instance.objects.values_list("pk", "team__name")) == {"box": "research", "another": "default"}
    with pytest.raises(CommandError, match="no team 'x'"):
        run("register_instance", "third", "--team", "x")


def test_an_instance_is_registered_with_its_rules() -> None:
    run("register_instance", "box", "--gpu-type", "RTX 4090", "--max-price", "0.5", "--idle-minutes", "5")
    instance = Instance.objects.get(pk="box")
    assert (instance.provider, instance.gpu_type, str(instance.max_price)) == ("local", "RTX 4090", "0.5000")
    assert instance.pause_after == timedelta(minutes=5)
    assert instance.status == "provisioning"
    assert not Operation.objects.exists()


def test_a_started_instance_gets_its_first_machine() -> None:
    run("register_instance", "box", "--start")
    assert Operation.objects.get().kind == "wake"


def test_an_instance_is_registered_once() -> None:
    run("register_instance", "box")
    with pytest.raises(CommandError, match="already"):
        run("register_instance", "box")


@pytest.mark.parametrize(
    "arguments",
    [
        ("no spaces",),
        ("box", "--max-price", "cheap"),
        ("box", "--provider", "moon"),
        ("box", "--idle-minutes", "0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run("register_instance", *arguments)
    assert not Instance.objects.exists()


@pytest.fixture
def littered(world: World) -> Instance:
    """An instance with a snapshot that no rule keeps, a pack that only it needs, one for nothing, and a stray."""
    instance = make_instance(keep_last=1, keep_daily=0)
    long_ago = db_now() - timedelta(days=3)
    old = make_snapshot(instance, created_at=long_ago)
    make_snapshot(instance)
    for snapshots in ((old,), ()):
        make_pack(instance, created_at=long_ago, size=1_500_000).snapshots.set(snapshots)
    for key in [*Pack.objects.values_list("key", flat=True), f"{instance.pk}/packs/{'a' * 32}"]:
        path = world.store_root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"abc")
        os.utime(path, (0, 0))
    return instance


def stored(world: World) -> int:
    return sum(path.is_file() for path in world.store_root.rglob("*"))


def test_a_dry_run_says_what_would_go_and_touches_nothing(world: World, littered: Instance) -> None:
    said = run("collect_garbage", "--dry-run", "--strays")
    old = littered.snapshots.earliest("pk")
    assert f"would delete snapshot {old.name}: older than the newest 1" in said
    assert f"would delete of {littered.pk}: 1 objects, 1.5 MB (1500000 bytes)" in said
    assert f"would delete stray {littered.pk}/packs/{'a' * 32}: 3 bytes" in said
    assert (stored(world), Pack.objects.count()) == (3, 2)
    assert not Snapshot.objects.filter(state="deleted").exists()


def test_garbage_is_collected_and_told_in_figures(world: World, littered: Instance) -> None:
    said = run("collect_garbage")
    assert said == "deleted snapshots: 1\ndeleted: 2 objects, 3.0 MB (3000000 bytes)"
    assert (stored(world), Pack.objects.count()) == (1, 0)
    assert run("collect_garbage", "--strays").endswith("deleted strays: 1 objects, 0.0 MB (3 bytes)")
    assert stored(world) == 0


def test_garbage_of_one_instance_can_be_collected_alone(world: World, littered: Instance) -> None:
    other = make_instance()
    run("collect_garbage", "--instance", other.pk)
    assert stored(world) == 3
    run("collect_garbage", "--instance", littered.pk)
    assert stored(world) == 1


def test_garbage_of_nobody_is_refused() -> None:
    with pytest.raises(CommandError, match="no instance 'nobody'"):
        run("collect_garbage", "--instance", "nobody")


def test_what_could_not_be_deleted_is_told(littered: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the store is away")

    monkeypatch.setattr(FilesystemStore, "delete", fail)
    with pytest.raises(CommandError, match=r"2 objects stay condemned .* the store is away"):
        run("collect_garbage")
    monkeypatch.setattr(FilesystemStore, "list", fail)
    with pytest.raises(CommandError, match="the store is away"):
        run("collect_garbage", "--dry-run", "--strays")
