"""What 1,000, 10,000 and 50,000 schedules cost: our tick, and beat with their entries enabled and disabled.

PostgreSQL and the scheduler of django-celery-beat are the real ones; nothing is sent to a broker while rows are timed.
Wakes that are due together become operations in our tick; beat's own rate of pokes stands beside it.

    python -m benchmarks.schedules [--sizes 1000,10000,50000] [--due 10000] [--markdown FILE]

Exit status 0: all goals are met.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.schedules.figures import Figures, goals, lines, page
from dumont.embedded.processes import signals_as_exits
from dumont.embedded.testing import services


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.schedules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--sizes", default="1000,10000,50000", help="how many schedules there are, in rising order"
    )
    parser.add_argument("--due", type=int, default=10_000, help="how many of the most wake at nine")
    parser.add_argument("--rounds", type=int, default=3, help="of the wakes at nine (default 3)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page with the figures")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with signals_as_exits(), services() as env:
        os.environ.update(env, DJANGO_SETTINGS_MODULE="dumont.settings", DUMONT_LOG_LEVEL="ERROR")
        import django

        django.setup()
        from benchmarks.schedules.run import measure

        found: Figures = measure(sizes, min(options.due, sizes[-1]), options.rounds)
    print("\n".join(lines(found)))
    if options.markdown is not None:
        options.markdown.write_text(page(found))
    return 0 if all(goal.met for goal in goals(found)) else 1


if __name__ == "__main__":
    sys.exit(main())
