"""The proportions of a simulation: how many of what, how long, how often."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from hibernation.domain.facts import Limits
from hibernation.domain.idle import Policy

INSTANCES = 3
WORKERS = 3
POLICY = Policy(pause_after=timedelta(seconds=60), delete_after=timedelta(minutes=4))
WARM = timedelta(minutes=8)
"""Of all instances but the first, whose machines are ended at once."""
BEGINS_ASLEEP = 2
"""This instance, its machine kept warm."""
INTERVAL = timedelta(minutes=3)
"""Between the periodic snapshots of the last instance; the others have none."""
LIMITS = Limits(
    quiesce=timedelta(seconds=40),
    freeze_unreachable=timedelta(seconds=60),
    verify_unavailable=timedelta(seconds=60),
    fence=timedelta(seconds=60),
    fence_holds=timedelta(seconds=30),
    release=timedelta(seconds=20),
    choose=timedelta(minutes=2),
    launch_queue=timedelta(seconds=60),
    doubt=timedelta(seconds=60),
    created=timedelta(seconds=40),
    loading=timedelta(seconds=60),
    loading_most=timedelta(seconds=90),
    running=timedelta(seconds=40),
    standstill=timedelta(seconds=5),
    silence=timedelta(seconds=20),
    reach=timedelta(seconds=60),
    test=timedelta(seconds=40),
    hook=timedelta(seconds=40),
    hedge_after=timedelta(seconds=15),
    hedge_most_usd=Decimal(1),
    install=timedelta(seconds=60),
    thaw_unreachable=timedelta(seconds=60),
    first_beat=timedelta(seconds=40),
    park=timedelta(seconds=60),
    resume=timedelta(seconds=60),
    lease=timedelta(seconds=45),
)
ACTIONS = (
    ("work", 60),
    ("pass_time", 14),
    ("beats", 14),
    ("hear", 16),
    ("write", 10),
    ("turn_gpu", 2),
    ("tick", 6),
    ("sweep", 6),
    ("reconcile", 9),
    ("command", 2.6),
    ("harm", 0.5),
    ("foreign", 0.15),
    ("start_by_hand", 0.15),
    ("want_back", 0.4),
    ("damage", 0.1),
    ("adopt", 0.3),
    ("release", 0.02),
    ("flush", 0.15),
    ("suspend", 0.08),
    ("config", 0.1),
)
NAMES, WEIGHTS = [name for name, _ in ACTIONS], [weight for _, weight in ACTIONS]
STEPS = 4500
"""Steps with faults in one simulation: some twenty minutes of its time, and then the quiet phase."""
QUIET_ROUND, QUIET_AT_LEAST, QUIET_AT_MOST = 2.0, 240.0, 5400.0
