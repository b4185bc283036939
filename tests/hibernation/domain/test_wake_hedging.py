"""A second machine beside one that is slow to answer: when, which, at what price, and who goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from hibernation.domain.effects import (
    AttachKey,
    Launched,
    ListMachines,
    Look,
    MachineSeen,
    MachinesSeen,
    OffersSeen,
    Ok,
    Reach,
    SearchOffers,
)
from hibernation.domain.errors import (
    BadOrder,
    BoxSilent,
    BoxUnreachable,
    DumontError,
    LaunchDeferred,
    LaunchLeftover,
    MachineFailed,
    OfferGone,
    OutOfCredit,
    ProviderDenied,
    ProviderUnavailable,
    RateLimited,
)
from hibernation.domain.facts import Arrival, Facts, Limits, MachineFacts, Memo
from hibernation.domain.lifecycle import CHAINS, conclude, plan
from hibernation.domain.offers import Need, Offer, OfferFilter, Verdict
from hibernation.domain.outcomes import (
    DismissSpare,
    Emit,
    Finish,
    ForgetMachine,
    ForgetSpare,
    Go,
    IntendMachine,
    JudgeHost,
    Perform,
    SetAside,
    SetMachine,
    SwapMachines,
    TakeSpare,
    Wait,
)
from hibernation.domain.states import EventType, MachineState, OperationKind, Phase
from hibernation.domain.wake.hedging import most_usd
from tests.hibernation.domain.factories import NOON, a_machine, ago, an_offer, events, waking

M = MachineState
LIMITS = Limits(hedge_most_usd=Decimal("0.25"))
NOW = NOON.timestamp()
SECOND = an_offer(offer_id="offer-2", host="host-2", operator="b")
NOTHING = MachinesSeen({}, frozenset())


def launched(**changes: Any) -> MachineFacts:
    return a_machine(**{"state": M.LAUNCHED, "first_beat_at": None, **changes})


def coming(step: str = "loading", **changes: Any) -> Facts:
    """A wake whose only machine was rented two minutes ago and does not answer."""
    plain = {"machine": launched(), "limits": LIMITS, "key_attached": True, "entered_at": ago(seconds=120)}
    return waking(step, **{**plain, **changes})


def known(**changes: Any) -> Arrival:
    """Of the first machine, which was set aside after two minutes of loading."""
    plain = Arrival(
        offer=an_offer(operator="a"),
        stage="loading",
        stage_at=NOW - 120,
        came_at=NOW - 120,
        phase="loading",
        phase_at=NOW - 100,
        key_attached=True,
    )
    return replace(plain, **changes)


def seeking(step: str, **changes: Any) -> Facts:
    """A wake that has set its first machine aside and has no second one yet."""
    plain = {"spare_known": known(), "limits": LIMITS, "hedged": True, "offer": SECOND}
    return with_spare(step, **{**plain, **changes})


def racing(stage: str = "loading", **changes: Any) -> Facts:
    """Two machines come up. The second is in hand."""
    plain: dict[str, Any] = {
        "machine": launched(id=2, label="dumont-1-1-2", contract_id="c2", host="host-2"),
        "stage": stage,
        "stage_at": NOW - 30,
        "came_at": NOW - 30,
        "key_attached": True,
    }
    return seeking("race", **{**plain, **changes})


def with_spare(step: str, **changes: Any) -> Facts:
    spare = changes.pop("spare", launched(state=M.SPARE))
    facts = waking(step, **{name: value for name, value in changes.items() if name != "spare_known"})
    memo = replace(facts.operation.memo, spare=changes["spare_known"])
    return replace(facts, spare=spare, operation=replace(facts.operation, memo=memo))


def went(outcome: object, step: str) -> Go:
    assert isinstance(outcome, Go)
    assert outcome.step == step
    return outcome


def memo_of(outcome: object) -> Memo:
    assert isinstance(outcome, Go | Wait | Perform)
    assert outcome.memo is not None
    return outcome.memo


def back_at_the_first(outcome: object) -> Go:
    """The first machine is the only one, and goes on by the clock it had."""
    back = went(outcome, "loading")
    memo = memo_of(back)
    assert back.changes[-1] == TakeSpare()
    assert (memo.offer, memo.stage_at, memo.spare, memo.hedged) == (known().offer, NOW - 120, None, True)
    assert memo.key_attached
    return back


# When


def test_a_machine_that_does_not_answer_in_time_is_set_aside_and_another_looked_for() -> None:
    outcome = went(plan(coming(image_gb=3.0, attempt=2, slow=1, avoid_hosts=("bad",))), "choose")
    assert outcome.changes == (SetAside(),)
    memo = memo_of(outcome)
    assert (memo.attempt, memo.slow, memo.avoid_hosts, memo.hedged, memo.offer) == (
        2,
        1,
        ("bad",),
        True,
        None,
    )
    assert memo.spare is not None
    assert (memo.spare.stage, memo.spare.stage_at, memo.spare.image_gb) == ("loading", NOW - 120, 3.0)


def test_a_machine_that_runs_and_does_not_answer_is_waited_for_a_little() -> None:
    up_long_ago: dict[str, Any] = {"came_at": NOW - 300, "entered_at": ago(seconds=21)}
    assert memo_of(went(plan(coming("reach", **up_long_ago)), "choose")).spare is not None
    assert isinstance(plan(coming("reach", **{**up_long_ago, "entered_at": ago(seconds=19)})), Perform)


@pytest.mark.parametrize(
    "changes",
    [
        {"entered_at": ago(seconds=89)},
        {"hedged": True},
        {"limits": Limits()},
        {"offer": an_offer(host="offer-1")},
        {"offer": an_offer(host="")},
        {"offer": None},
    ],
    ids=["too early", "a second time", "switched off", "sold by type", "no hosts told", "no offer known"],
)
def test_a_machine_is_not_set_aside(changes: dict[str, Any]) -> None:
    assert plan(coming(**changes)) == Perform(Look("c1"))


@pytest.mark.parametrize("step", ["install", "test", "thaw"])
def test_a_machine_that_answers_is_never_set_aside(step: str) -> None:
    assert isinstance(plan(coming(step)), Perform)


def test_a_wake_that_is_cancelled_sets_nothing_aside() -> None:
    assert isinstance(plan(coming(cancel_reason="cancelled")), Finish)


def test_the_race_is_not_in_the_chain_of_steps() -> None:
    assert "race" not in CHAINS[OperationKind.WAKE]


# Which


def test_a_second_machine_is_chosen_and_why_is_told() -> None:
    outcome = went(conclude(seeking("choose", offer=None), OffersSeen((SECOND,))), "launch")
    assert events(outcome.changes) == [EventType.OFFER_SELECTED]
    (told,) = (change for change in outcome.changes if isinstance(change, Emit))
    assert told.reason.startswith(
        "RTX_4090 in EU at $0.4/h does not answer after 2 min, so a second is tried: "
    )
    assert memo_of(outcome).spare == known()


@pytest.mark.parametrize(
    "offer",
    [
        an_offer(offer_id="offer-9"),
        replace(SECOND, operator="a"),
        replace(SECOND, host="offer-2"),
        replace(SECOND, price_per_hour=Decimal("1.08")),
    ],
    ids=["same machine", "same operator", "sold by type", "too dear"],
)
def test_what_may_not_stand_beside_the_first_is_not_chosen(offer: Offer) -> None:
    back_at_the_first(conclude(seeking("choose"), OffersSeen((offer,))))


def test_operators_that_are_not_told_are_not_the_same() -> None:
    facts = seeking("choose", spare_known=known(offer=an_offer()))
    went(conclude(facts, OffersSeen((replace(SECOND, operator=""),))), "launch")


@pytest.mark.parametrize(
    ("mbps", "image_gb", "seconds"), [(0.0, 3.0, 840), (100.0, 3.0, 840 + 720), (1.0, 3.0, 2400 + 240)]
)
def test_the_most_it_may_cost_is_its_whole_price_until_it_answers_or_is_sent_away(
    mbps: float, image_gb: float, seconds: int
) -> None:
    offer = an_offer(download_mbps=mbps, price_per_hour=Decimal("3.6"))
    assert most_usd(offer, image_gb, LIMITS) == Decimal(seconds) / 1000


def test_a_big_image_makes_a_second_machine_too_dear() -> None:
    offer = replace(SECOND, price_per_hour=Decimal("0.60"), download_mbps=100.0)
    went(conclude(seeking("choose"), OffersSeen((offer,), Need(image_gb=1.0))), "launch")
    back_at_the_first(conclude(seeking("choose"), OffersSeen((offer,), Need(image_gb=10.0))))


def test_the_price_that_was_set_holds_for_the_second_too() -> None:
    facts = seeking("choose", want=OfferFilter(max_price=Decimal("0.39")))
    back_at_the_first(conclude(facts, OffersSeen((SECOND,))))


@pytest.mark.parametrize(
    "reply",
    [
        OffersSeen(()),
        OffersSeen((), widely=True),
        ProviderUnavailable(),
        RateLimited("", 9),
        ProviderDenied(),
    ],
)
def test_without_an_offer_at_once_the_first_goes_on(reply: Any) -> None:
    assert back_at_the_first(conclude(seeking("choose"), reply)).changes == (TakeSpare(),)


# Renting it


def test_the_second_is_intended_before_it_is_rented() -> None:
    outcome = plan(seeking("launch", attempt=1))
    assert isinstance(outcome, Perform)
    assert outcome.changes == (IntendMachine(SECOND),)
    assert memo_of(outcome).attempt == 2
    assert memo_of(outcome).spare == known()


def intended() -> MachineFacts:
    return launched(
        id=2, label="dumont-1-1-2", state=M.INTENDED, contract_id=None, intended_at=ago(seconds=5)
    )


def test_a_second_that_was_rented_is_told_with_both_prices() -> None:
    outcome = went(conclude(seeking("launch", machine=intended()), Launched("c2")), "loading")
    assert events(outcome.changes) == [EventType.MACHINE_LAUNCHED, EventType.HEDGE_STARTED]
    told = outcome.changes[-1]
    assert isinstance(told, Emit)
    assert told.data["first"]["price_per_hour_usd"] == told.data["second"]["price_per_hour_usd"] == "0.40"
    assert (told.data["waited_seconds"], told.data["most_usd"]) == (120, "0.09")


def test_a_second_that_was_rented_races_with_the_first() -> None:
    facts = seeking("loading", machine=launched(id=2))
    memo = memo_of(went(plan(facts), "race"))
    assert (memo.stage, memo.stage_at, memo.came_at) == ("loading", NOW, NOW)


def test_a_second_launch_in_doubt_is_looked_for_by_its_label_before_anything_else() -> None:
    facts = seeking("launch", machine=intended(), cancel_reason="cancelled")
    assert isinstance(plan(facts), Perform)
    assert plan(facts) == Perform(ListMachines(), memo=replace(facts.operation.memo, looking=True))
    assert isinstance(conclude(facts, ProviderUnavailable()), Wait)
    looking = seeking("launch", machine=intended(), looking=True)
    assert isinstance(conclude(looking, NOTHING), Wait)
    assert isinstance(conclude(looking, ProviderDenied()), Wait)
    went(conclude(looking, MachinesSeen({"dumont-1-1-2": "c2"}, frozenset({"c2"}))), "loading")


def test_a_second_launch_that_never_shows_up_leaves_the_first() -> None:
    lost = replace(intended(), intended_at=ago(seconds=31))
    back = back_at_the_first(conclude(seeking("launch", machine=lost, looking=True), NOTHING))
    assert [c.state for c in back.changes if isinstance(c, SetMachine)] == [M.ABANDONED]


@pytest.mark.parametrize("error", [LaunchDeferred("", 9), BadOrder(), OutOfCredit(), ProviderDenied()])
def test_a_second_that_cannot_be_rented_at_once_is_done_without(error: DumontError) -> None:
    back = back_at_the_first(conclude(seeking("launch", machine=intended(), attempt=6), error))
    assert [c.state for c in back.changes if isinstance(c, SetMachine)] == [M.VOID]
    assert ForgetMachine() in back.changes
    assert memo_of(back).avoid_hosts == ()


def test_a_second_that_somebody_else_was_faster_to_rent_is_done_without_too() -> None:
    back = back_at_the_first(conclude(seeking("launch", machine=intended()), OfferGone()))
    assert events(back.changes) == [EventType.MACHINE_REJECTED]
    assert [c.verdict for c in back.changes if isinstance(c, JudgeHost)] == [Verdict.NO_CAPACITY]


def test_what_a_second_launch_left_behind_is_ended() -> None:
    back = back_at_the_first(conclude(seeking("launch", machine=intended()), LaunchLeftover("", "c9")))
    assert [c.state for c in back.changes if isinstance(c, SetMachine)] == [M.LAUNCHED, M.DESTROYING]


def test_a_second_machine_costs_the_wake_no_attempt() -> None:
    last = coming("reach", attempt=6, hedged=True)
    assert isinstance(conclude(last, MachineFailed("")), Finish)
    one_more = coming("reach", attempt=5, hedged=True)
    went(conclude(one_more, MachineFailed("")), "choose")


# The race


@pytest.mark.parametrize(
    ("stage", "changes", "effect"),
    [
        ("loading", {}, Look("c2")),
        ("loading", {"key_attached": False}, AttachKey("c2")),
        ("reach", {}, Reach("c2")),
    ],
)
def test_the_machine_in_hand_is_looked_at_in_its_own_stage(
    stage: str, changes: dict[str, Any], effect: object
) -> None:
    assert plan(racing(stage, **changes)) == Perform(effect)  # type: ignore[arg-type]


def test_they_take_turns_and_each_keeps_what_is_known_of_it() -> None:
    facts = racing()
    wait = conclude(facts, MachineSeen(Phase.LOADING))
    assert isinstance(wait, Wait)
    assert wait.changes == (SwapMachines(),)
    assert wait.seconds == 0
    memo = memo_of(wait)
    assert (memo.offer, memo.stage_at, memo.phase_at) == (known().offer, NOW - 120, NOW - 100)
    assert memo.spare is not None
    assert (memo.spare.offer, memo.spare.stage_at, memo.spare.phase) == (SECOND, NOW - 30, "loading")
    assert memo.spare.due_at > NOW


def test_whoever_is_not_due_is_not_looked_at() -> None:
    wait = conclude(racing(spare_known=known(due_at=NOW + 30)), MachineSeen(Phase.LOADING))
    assert isinstance(wait, Wait)
    assert wait.changes == ()
    assert 1 <= wait.seconds <= 5


def test_one_that_has_to_queue_does_not_keep_the_other_waiting() -> None:
    wait = conclude(racing(key_attached=False, spare_known=known(due_at=NOW + 2)), RateLimited("", 20))
    assert isinstance(wait, Wait)
    assert (wait.changes, wait.seconds) == ((SwapMachines(),), 2)
    spare = memo_of(wait).spare
    assert spare is not None
    assert spare.due_at == NOW + 20


def test_a_machine_that_runs_is_reached_next() -> None:
    memo = memo_of(conclude(racing(spare_known=known(due_at=NOW + 9)), MachineSeen(Phase.RUNNING)))
    assert (memo.stage, memo.stage_at, memo.due_at) == ("reach", NOW, NOW)


def test_the_first_that_answers_goes_on_and_the_other_is_sent_away() -> None:
    outcome = went(conclude(racing("reach"), Ok()), "install")
    assert events(outcome.changes) == [EventType.MACHINE_REACHED, EventType.SPARE_DISMISSED]
    assert [type(c) for c in outcome.changes if isinstance(c, DismissSpare | SetMachine)] == [DismissSpare]
    memo = memo_of(outcome)
    assert (memo.offer, memo.spare, memo.stage, memo.hedged) == (SECOND, None, "", True)


def test_a_winner_that_had_been_set_aside_is_launched_again_after_the_other_went() -> None:
    facts = racing("reach", machine=launched(state=M.SPARE), spare=launched(id=2))
    outcome = went(conclude(facts, Ok()), "install")
    kinds = [change for change in outcome.changes if isinstance(change, DismissSpare | SetMachine)]
    assert kinds == [DismissSpare("the machine beside it answered first"), SetMachine(M.LAUNCHED)]


def test_whoever_was_overtaken_is_avoided_and_whoever_came_second_is_not() -> None:
    outcome = went(conclude(racing("reach"), Ok()), "install")
    (judged,) = (change for change in outcome.changes if isinstance(change, JudgeHost))
    assert (judged.offer, judged.verdict) == (known().offer, Verdict.TOO_SLOW)
    younger = racing("reach", spare_known=known(came_at=NOW - 10))
    assert not [c for c in went(conclude(younger, Ok()), "install").changes if isinstance(c, JudgeHost)]


def test_a_machine_that_fails_leaves_the_other_with_its_own_clock() -> None:
    back = back_at_the_first(conclude(racing(), MachineSeen(Phase.FAILED, "docker said no")))
    assert [c.state for c in back.changes if isinstance(c, SetMachine)] == [M.DESTROYING]
    assert events(back.changes) == [EventType.MACHINE_REJECTED]
    assert memo_of(back).avoid_hosts == ("host-2",)


def test_a_machine_that_fails_leaves_the_other_in_the_stage_that_it_has_reached() -> None:
    facts = racing(spare_known=known(stage="reach", stage_at=NOW - 7))
    memo = memo_of(went(conclude(facts, MachineSeen(Phase.FAILED)), "reach"))
    assert memo.stage_at == NOW - 7


@pytest.mark.parametrize(("seconds", "waits"), [(599, True), (601, False)])
def test_a_machine_may_load_for_as_long_as_if_it_were_alone(seconds: int, waits: bool) -> None:
    facts = racing(stage_at=NOW - seconds, entered_at=ago(seconds=10))
    assert isinstance(conclude(facts, MachineSeen(Phase.LOADING)), Wait) is waits
    alone = coming(hedged=True, stage_at=NOW - seconds, entered_at=ago(seconds=10))
    assert isinstance(conclude(alone, MachineSeen(Phase.LOADING)), Wait) is waits


@pytest.mark.parametrize(("seconds", "waits"), [(239, True), (241, False)])
def test_a_machine_may_refuse_for_as_long_as_if_it_were_alone(seconds: int, waits: bool) -> None:
    facts = racing("reach", stage_at=NOW - seconds, entered_at=ago(seconds=10))
    assert isinstance(conclude(facts, BoxUnreachable()), Wait) is waits


def test_silence_is_each_machines_own() -> None:
    facts = racing("reach", silent_at=NOW - 61, spare_known=known(stage="reach", silent_at=NOW - 1))
    assert memo_of(went(conclude(facts, BoxSilent("")), "reach")).silent_at == NOW - 1


def test_a_clock_of_the_race_does_not_count_for_the_steps_after_it() -> None:
    late = coming("install", stage_at=NOW - 9999, entered_at=ago(seconds=5))
    assert isinstance(conclude(late, BoxUnreachable()), Wait)
    memo = memo_of(conclude(coming(hedged=True, stage_at=NOW - 60), MachineSeen(Phase.RUNNING)))
    assert memo.stage_at == 0


# The end


@pytest.mark.parametrize(
    "changes",
    [{"cancel_reason": "cancelled"}, {"deadline_at": ago(seconds=1)}],
    ids=["cancelled", "deadline"],
)
def test_a_wake_that_ends_in_a_race_sends_both_away(changes: dict[str, Any]) -> None:
    outcome = plan(racing(**changes))
    assert isinstance(outcome, Finish)
    assert [c.state for c in outcome.changes if isinstance(c, SetMachine)] == [M.DESTROYING]
    assert [c for c in outcome.changes if isinstance(c, DismissSpare)]


def test_an_image_that_no_host_can_pull_ends_both() -> None:
    outcome = conclude(racing(), MachineSeen(Phase.FAILED, "manifest unknown", our_fault=True))
    assert isinstance(outcome, Finish)
    assert outcome.error_code == "image_failed"
    assert [c for c in outcome.changes if isinstance(c, DismissSpare)]


@pytest.mark.parametrize("step", ["choose", "launch"])
def test_a_wake_that_is_cancelled_while_it_looks_for_a_second_ends_the_first(step: str) -> None:
    outcome = plan(seeking(step, cancel_reason="cancelled"))
    assert isinstance(outcome, Finish)
    assert [c for c in outcome.changes if isinstance(c, DismissSpare | SetMachine)] == [
        DismissSpare("cancelled")
    ]


def test_a_spare_that_is_gone_already_is_only_forgotten() -> None:
    outcome = plan(racing(spare=launched(state=M.LOST), cancel_reason="cancelled"))
    assert isinstance(outcome, Finish)
    assert ForgetSpare() in outcome.changes


def test_a_spare_that_vanished_leaves_the_machine_in_hand() -> None:
    outcome = went(plan(racing("reach", spare=launched(state=M.LOST))), "reach")
    assert outcome.changes == (ForgetSpare(),)
    assert (memo_of(outcome).spare, memo_of(outcome).stage_at) == (None, NOW - 30)
    was_aside = racing(machine=launched(state=M.SPARE), spare=launched(id=2, state=M.LOST))
    assert went(plan(was_aside), "loading").changes == (ForgetSpare(), SetMachine(M.LAUNCHED))


def test_a_spare_that_vanished_while_a_second_is_looked_for_leaves_an_ordinary_choice() -> None:
    outcome = went(plan(seeking("choose", spare=launched(state=M.LOST))), "choose")
    assert outcome.changes == (ForgetSpare(),)
    assert memo_of(outcome).spare is None


def test_a_machine_in_hand_that_vanished_leaves_the_spare() -> None:
    back = back_at_the_first(plan(racing(machine=launched(id=2, host="host-2", state=M.LOST))))
    assert not [change for change in back.changes if isinstance(change, SetMachine)]


def test_a_search_for_a_second_asks_for_what_is_wanted() -> None:
    want = OfferFilter(region="EU")
    assert plan(seeking("choose", want=want)) == Perform(SearchOffers(want))


def test_looks_at_most_five_seconds_apart_each() -> None:
    facts = racing(waits=500, spare_known=known(due_at=NOW + timedelta(hours=1).total_seconds()))
    wait = conclude(facts, MachineSeen(Phase.LOADING))
    assert isinstance(wait, Wait)
    assert wait.seconds == 5
