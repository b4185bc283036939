"""``bin/test``: pytest against a real PostgreSQL and a real Valkey that exist only for this run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .environment import PROJECT, free_port, project_environment
from .postgres import Postgres
from .processes import Identity, bound, signals_as_exits
from .programs import python_env
from .valkey import Valkey

# What is quick comes first, on all processors; the kill-loops need minutes and the machine to themselves.
_ON_ALL_PROCESSORS = ("-n", "logical", "--dist", "worksteal")
_WHOLE_SUITE = (
    (*_ON_ALL_PROCESSORS, "-m", "not chaos and not conformance and not browser and not slow"),
    ("-n", "2", "--dist", "worksteal", "-m", "chaos"),
)
# All tests together come from one address, and the same user asks in many of them.
_UNBOUND = {f"DUMONT_{name}_PER_MINUTE": "0" for name in ("REQUESTS", "STRANGERS", "LOGINS")}


def main(arguments: Sequence[str]) -> int:
    """Runs pytest with the arguments as they are, or the whole suite in two parts. Returns pytest's exit status."""
    runs = (tuple(arguments),) if arguments else _WHOLE_SUITE
    with signals_as_exits(), services() as env:
        for options in runs:
            status = call(("-m", "pytest", *_writable_caches(env), *options), env)
            if status != 0:
                return status
    return 0


@contextlib.contextmanager
def services() -> Iterator[dict[str, str]]:
    """A database and a broker on a state folder of their own, and the environment that points at them."""
    state = Path(tempfile.mkdtemp(prefix="dumont-test-"))
    postgres, valkey = Postgres(state), Valkey(state)
    try:
        postgres.start()
        valkey.start()
        yield project_environment(state, postgres, valkey, free_port()) | _UNBOUND
    finally:
        valkey.stop()
        postgres.stop()
        shutil.rmtree(state, ignore_errors=True)


def call(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Runs Python in the project's folder, in this terminal, and returns its exit status.

    Interrupted, it passes the interrupt on and waits, so that what the child cleans up is cleaned up.
    """
    command = bound((sys.executable, *arguments), signal.SIGINT, Identity.SELF)
    with subprocess.Popen(command, cwd=PROJECT, env={**os.environ, **python_env(), **env}) as child:
        try:
            return child.wait()
        except BaseException as error:
            # Ctrl-C reached the child by itself; a second one would cut its clean-up short.
            if not isinstance(error, KeyboardInterrupt):
                child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(30)
            child.kill()
            raise


def _writable_caches(env: Mapping[str, str]) -> tuple[str, ...]:
    """Where the checkout is not ours to write, pytest would warn, and a warning is an error."""
    if os.access(PROJECT, os.W_OK):
        return ()
    return ("-o", f"cache_dir={env['DUMONT_STATE']}/pytest")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
