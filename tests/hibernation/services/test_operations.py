"""The operation core on real rows: claims, leases, queues and requests, also from several threads at once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import pytest
from django.db import connection

from hibernation.domain.effects import Effect, Ok, Reply
from hibernation.domain.errors import BoxUnreachable, Conflict, NotFound
from hibernation.domain.states import InstanceStatus, OperationKind, OperationState
from hibernation.models import Operation
from hibernation.services import leases, operations
from hibernation.services.clock import db_now
from hibernation.services.reconcile import drive_due
from hibernation.services.requests import request_hibernate, request_wake
from hibernation.services.steps import perform
from hibernation.services.steps.context import Context
from tests.factories import idle_for, make_hibernated, make_instance, make_machine, make_operation
from tests.hibernation.services.world import World, assert_consistent, events

T = TypeVar("T")


def together(work: Callable[[], T], times: int = 2) -> list[T]:
    """``work`` in several threads that start at the same moment, each with its own connection."""
    barrier = threading.Barrier(times)

    def run() -> T:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=10)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return [future.result(timeout=30) for future in [pool.submit(run) for _ in range(times)]]


@pytest.mark.django_db(transaction=True)
def test_two_workers_claim_a_step_once(world: World) -> None:
    operation = world.hibernate(world.awake())
    claims = together(lambda: operations.claim(operation.pk, "quiesce"), 4)
    assert [isinstance(c, operations.Claim) for c in claims].count(True) == 1
    assert claims.count(False) == 3


@pytest.mark.django_db(transaction=True)
def test_two_wakes_at_once_are_one_operation_and_one_launch(world: World) -> None:
    instance = world.asleep()
    found = together(lambda: world.wake(instance).pk, 3)
    assert len(set(found)) == 1
    operation = world.run(Operation.objects.get(pk=found[0]))
    assert operation.state == OperationState.SUCCEEDED
    assert len(world.provider.calls("launch")) == 1
    assert_consistent(instance)


@pytest.mark.django_db(transaction=True)
def test_two_hibernations_at_once_are_one_operation(world: World) -> None:
    instance = world.awake()
    assert len(set(together(lambda: world.hibernate(instance).pk, 3))) == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_key_from_two_threads_is_one_operation(world: World) -> None:
    instance = world.asleep()
    assert len(set(together(lambda: world.wake(instance, idempotency_key="k").pk, 3))) == 1


@pytest.mark.django_db(transaction=True)
def test_a_step_is_sent_after_the_commit_and_not_before(world: World) -> None:
    operation = world.hibernate(world.awake())
    assert world.sent == [(operation.pk, "quiesce", 0)]
    operations.run_step(operation.pk, "quiesce")
    assert len(world.sent) == 1, "the chain carries the next step itself"


@pytest.mark.django_db(transaction=True)
def test_a_wait_is_sent_with_its_delay(world: World) -> None:
    instance = world.awake()
    operation = world.hibernate(instance)
    world.box(instance).unreachable = True
    operations.run_step(operation.pk, "quiesce")
    assert world.sent[-1] == (operation.pk, "quiesce", 1.0)


@pytest.mark.django_db
def test_a_duplicate_message_does_nothing(world: World) -> None:
    operation = world.hibernate(world.awake())
    assert operations.run_step(operation.pk, "quiesce")
    before = Operation.objects.values().get(pk=operation.pk)
    assert not operations.run_step(operation.pk, "quiesce")
    assert Operation.objects.values().get(pk=operation.pk) == before


@pytest.mark.django_db
def test_a_message_for_a_step_that_is_not_current_or_not_ours_does_nothing(world: World) -> None:
    operation = world.hibernate(world.awake())
    assert not operations.run_step(operation.pk, "destroy")
    assert not operations.run_step(operation.pk + 1000, "quiesce")
    assert world.log == []


@pytest.mark.django_db
def test_a_step_that_is_not_due_is_not_claimed(world: World) -> None:
    operation = world.hibernate(world.awake())
    Operation.objects.filter(pk=operation.pk).update(next_attempt_at=db_now() + timedelta(minutes=1))
    assert operations.claim(operation.pk, "quiesce") is False


@pytest.mark.django_db
def test_a_held_lease_keeps_others_away_until_it_runs_out(world: World) -> None:
    operation = world.hibernate(world.awake())
    first = operations.claim(operation.pk, "quiesce")
    assert operations.claim(operation.pk, "quiesce") is False
    world.pass_time(400)
    second = operations.claim(operation.pk, "quiesce")
    assert isinstance(first, operations.Claim)
    assert isinstance(second, operations.Claim)
    assert first.token != second.token


@pytest.mark.django_db
def test_a_result_with_a_stale_token_is_dropped(world: World) -> None:
    operation = world.hibernate(world.awake())
    first = operations.claim(operation.pk, "quiesce")
    world.pass_time(400)
    second = operations.claim(operation.pk, "quiesce")
    assert isinstance(first, operations.Claim)
    assert isinstance(second, operations.Claim)
    assert not operations.settle(first, Ok())
    operation.refresh_from_db()
    assert (operation.step, operation.lease_token) == ("quiesce", second.token)
    assert operations.settle(second, Ok())


@pytest.mark.django_db
def test_a_result_after_the_lease_ran_out_is_dropped(world: World) -> None:
    operation = world.hibernate(world.awake())
    claimed = operations.claim(operation.pk, "quiesce")
    assert isinstance(claimed, operations.Claim)
    world.pass_time(400)
    assert not operations.settle(claimed, Ok())
    operation.refresh_from_db()
    assert operation.step == "quiesce"


@pytest.mark.django_db
def test_a_worker_that_lost_its_lease_does_not_act(world: World) -> None:
    operation = world.hibernate(world.awake())
    claimed = operations.claim(operation.pk, "quiesce")
    assert isinstance(claimed, operations.Claim)
    world.pass_time(400)
    with leases.renewing(operation.pk, claimed.token) as held:
        assert not held


@pytest.mark.django_db
def test_a_lease_is_renewed_while_its_holder_works(world: World) -> None:
    operation = world.hibernate(world.awake())
    claimed = operations.claim(operation.pk, "quiesce")
    assert isinstance(claimed, operations.Claim)
    world.pass_time(10)
    with leases.renewing(operation.pk, claimed.token) as held:
        assert held
    operation.refresh_from_db()
    assert operation.lease_until is not None
    assert operation.lease_until > db_now() + timedelta(seconds=8)


@pytest.mark.django_db
def test_a_result_for_an_operation_that_ended_is_dropped(world: World) -> None:
    operation = world.hibernate(world.awake())
    claimed = operations.claim(operation.pk, "quiesce")
    assert isinstance(claimed, operations.Claim)
    Operation.objects.filter(pk=operation.pk).update(
        state=OperationState.CANCELLED, finished_at=db_now(), lease_token=None, lease_until=None
    )
    assert not operations.settle(claimed, Ok())
    assert not operations.settle(operations.Claim(0, "quiesce", uuid.uuid4(), claimed.effect), Ok())


@pytest.mark.django_db
def test_failures_back_off_and_are_told(world: World) -> None:
    operation = world.hibernate(world.awake())
    for _ in range(3):
        Operation.objects.filter(pk=operation.pk).update(next_attempt_at=db_now())
        claimed = operations.claim(operation.pk, "quiesce")
        assert isinstance(claimed, operations.Claim)
        operations.settle(claimed, BoxUnreachable("nobody answers"))
    operation.refresh_from_db()
    assert (operation.waits, operation.failures, operation.waiting_for) == (3, 3, "nobody answers")
    assert operation.next_attempt_at > db_now() + timedelta(seconds=3)


def drive(world: World, django_capture_on_commit_callbacks: Callable[..., object], **row: object) -> int:
    operation = make_operation(make_instance(), **row)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        count = drive_due()
    assert [pk for pk, _, _ in world.sent] == [operation.pk] * count
    return count


@pytest.mark.django_db
def test_an_overdue_step_is_sent_again(
    world: World, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    late = db_now() - timedelta(seconds=3)
    assert drive(world, django_capture_on_commit_callbacks, next_attempt_at=late) == 1


@pytest.mark.django_db
def test_an_expired_lease_is_sent_again(
    world: World, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    late = db_now() - timedelta(seconds=3)
    lease = {"lease_token": uuid.uuid4(), "lease_until": late}
    assert drive(world, django_capture_on_commit_callbacks, next_attempt_at=late, **lease) == 1


@pytest.mark.django_db
def test_a_held_or_waiting_step_is_not_sent_again(
    world: World, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    now = db_now()
    lease = {"lease_token": uuid.uuid4(), "lease_until": now + timedelta(minutes=1)}
    assert (
        drive(world, django_capture_on_commit_callbacks, next_attempt_at=now - timedelta(minutes=1), **lease)
        == 0
    )
    assert drive(world, django_capture_on_commit_callbacks, next_attempt_at=now + timedelta(minutes=1)) == 0
    ended = {"state": OperationState.FAILED, "finished_at": now + timedelta(seconds=1)}
    assert (
        drive(world, django_capture_on_commit_callbacks, next_attempt_at=now - timedelta(minutes=1), **ended)
        == 0
    )


@pytest.mark.django_db
def test_an_unknown_instance_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        request_hibernate("nobody", actor="a", reason="r")


@pytest.mark.django_db
@pytest.mark.parametrize("status", [InstanceStatus.HIBERNATED, InstanceStatus.DELETED])
def test_what_sleeps_cannot_hibernate(world: World, status: InstanceStatus) -> None:
    instance = make_hibernated(status=status, delete_due_at=None)
    with pytest.raises(Conflict):
        world.hibernate(instance)
    assert not instance.operations.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("status", [InstanceStatus.RUNNING, InstanceStatus.IDLE])
def test_what_is_awake_cannot_wake(world: World, status: InstanceStatus) -> None:
    instance = make_instance(status=status)
    with pytest.raises(Conflict):
        world.wake(instance)


@pytest.mark.django_db
def test_a_repeated_key_answers_the_first_operation_even_after_it_ended(world: World) -> None:
    instance = world.awake()
    first = world.run(world.hibernate(instance, idempotency_key="k"))
    again = world.hibernate(instance, idempotency_key="k")
    assert again == first


@pytest.mark.django_db
def test_a_wake_before_the_point_of_no_return_stops_the_hibernation(world: World) -> None:
    instance = world.awake(**idle_for(4))
    hibernation = world.run(world.hibernate(instance, forced=False), until="verify")
    wake = world.wake(instance)
    assert wake.state == OperationState.QUEUED
    world.run(hibernation)
    wake.refresh_from_db()
    instance.refresh_from_db()
    assert (hibernation.state, hibernation.error_code) == (OperationState.CANCELLED, "superseded")
    assert (wake.state, instance.status) == (OperationState.SUCCEEDED, InstanceStatus.RUNNING)
    assert world.provider.calls("destroy") == []
    assert_consistent(instance)


@pytest.mark.django_db
def test_a_wake_after_the_point_of_no_return_runs_when_the_hibernation_is_done(world: World) -> None:
    instance = world.awake()
    hibernation = world.run(world.hibernate(instance), until="confirm")
    wake = world.wake(instance)
    assert world.run(hibernation).state == OperationState.SUCCEEDED
    assert world.run(wake).state == OperationState.SUCCEEDED
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.RUNNING
    assert len(world.provider.calls("launch")) == 1
    assert_consistent(instance)


@pytest.mark.django_db
def test_a_hibernation_during_a_wake_runs_when_the_wake_is_done(world: World) -> None:
    instance = world.asleep()
    wake = world.run(world.wake(instance), until="thaw")
    hibernation = world.hibernate(instance)
    assert hibernation.state == OperationState.QUEUED
    assert world.run(wake).state == OperationState.SUCCEEDED
    assert world.run(hibernation).state == OperationState.SUCCEEDED
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED
    assert_consistent(instance)


@pytest.mark.django_db
def test_a_hibernation_queued_behind_a_wake_that_fails_is_moot(world: World) -> None:
    instance = world.asleep()
    world.provider.offers = []
    wake = world.wake(instance)
    hibernation = world.hibernate(instance)
    Operation.objects.filter(pk=wake.pk).update(entered_at=db_now() - timedelta(minutes=11))
    assert world.run(wake).state == OperationState.FAILED
    hibernation.refresh_from_db()
    assert (hibernation.state, hibernation.error_code) == (OperationState.CANCELLED, "superseded")
    assert_consistent(instance)


@pytest.mark.django_db
def test_the_newer_wish_takes_the_queue(world: World) -> None:
    instance = world.awake()
    running = world.run(world.hibernate(instance), until="freeze")
    wake = world.wake(instance)
    hibernate = world.hibernate(instance)
    wake.refresh_from_db()
    assert (wake.state, wake.error_code) == (OperationState.CANCELLED, "superseded")
    assert hibernate.state == OperationState.QUEUED
    world.run(running)
    assert world.run(hibernate).state == OperationState.SUCCEEDED
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED
    assert_consistent(instance)


@pytest.mark.django_db
def test_the_same_wish_in_the_queue_is_answered_once(world: World) -> None:
    instance = world.awake()
    world.run(world.hibernate(instance), until="confirm")
    assert world.wake(instance) == world.wake(instance)
    assert events(instance).count("operation_queued") == 1


@pytest.mark.django_db
def test_a_wake_in_flight_drops_a_hibernation_that_waits_for_it(world: World) -> None:
    instance = world.asleep()
    wake = world.wake(instance)
    hibernation = world.hibernate(instance)
    assert request_wake(instance.pk, actor="a", reason="again") == wake
    hibernation.refresh_from_db()
    assert hibernation.state == OperationState.CANCELLED


@pytest.mark.django_db
def test_an_order_makes_the_hibernation_in_flight_unconditional(world: World) -> None:
    instance = world.awake(**idle_for(4))
    running = world.run(world.hibernate(instance, forced=False), until="freeze")
    assert world.hibernate(instance) == running
    world.beat(instance, 90.0)
    assert world.run(running).state == OperationState.SUCCEEDED


@pytest.mark.django_db
def test_a_hibernation_waits_for_the_machine_it_found(world: World) -> None:
    instance = make_instance()
    machine = make_machine(instance)
    assert world.hibernate(instance).machine == machine
    assert Operation.objects.get(instance=instance).kind == OperationKind.HIBERNATE


@pytest.mark.django_db(transaction=True)
def test_nothing_outside_is_asked_inside_a_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what a plan decided, the point of no return and the intent to rent included, is committed by then."""
    asked, really = [], perform._perform

    def watched(context: Context, effect: Effect) -> Reply:
        row = Operation.objects.get(pk=context.operation.pk)
        asked.append(
            (type(effect).__name__, connection.in_atomic_block, row.point_of_no_return_at is not None)
        )
        return really(context, effect)

    monkeypatch.setattr(perform, "_perform", watched)
    instance = world.awake()
    world.run(world.hibernate(instance))
    world.run(world.wake(instance))
    assert not any(in_transaction for _, in_transaction, _ in asked)
    assert [(name, final) for name, _, final in asked] == [
        ("Quiesce", False),
        ("RunFreeze", False),
        ("Verify", False),
        ("Fence", False),
        ("Destroy", True),
        ("ListMachines", True),
        ("SearchOffers", False),
        ("Launch", False),
        ("AttachKey", False),
        ("Look", False),
        ("Reach", False),
        ("InstallAgent", False),
        ("TryMachine", False),
        ("RunThaw", False),
    ]
