"""Our snapshot engine beside restic, tar | zstd | s5cmd, borg and rclone, on the same machine, workspace and store.

Prints a table with every goal. The peers fetch themselves; the workspace is made once and kept in ``--work``. The whole
run takes about an hour on two cores and 40 GB of disk; ``--rounds 1`` a third of it.

    .venv/bin/python -m benchmarks.snapshot [--only snapshot,next,restore] [--rounds 3] [--markdown docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.snapshot.run import PEERS, SECTIONS, Options, run
from dumont.embedded.processes import signals_as_exits


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default=",".join(SECTIONS), help=f"sections: {','.join(SECTIONS)} (default all)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="medians of this many rounds (default 3)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of the workspace (default 1: over 3 GB)"
    )
    parser.add_argument(
        "--work", type=Path, help="keep workspace and tools here (default: a temporary folder)"
    )
    parser.add_argument(
        "--peers",
        default=",".join(PEERS),
        help=f"whom to race, empty for nobody: {','.join(PEERS)} (default all)",
    )
    parser.add_argument("--markdown", type=Path, help="write the result to this file as well")
    parsed = parser.parse_args()
    sections = parsed.only.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"unknown sections: {', '.join(sorted(unknown))}")
    peers = tuple(name for name in parsed.peers.split(",") if name)
    if unknown := set(peers) - set(PEERS):
        parser.error(f"unknown peers: {', '.join(sorted(unknown))}")
    with signals_as_exits(), tempfile.TemporaryDirectory(prefix="dumont-benchmark-") as folder:
        work = (parsed.work or Path(folder)).resolve()
        options = Options(work, frozenset(sections), parsed.rounds, parsed.scale, peers, parsed.markdown)
        return 0 if run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
