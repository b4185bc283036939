"""Run many small tasks on a few threads; the first failure stops all and is raised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable


def run_all(tasks: Iterable[Callable[[], None]], threads: int) -> None:
    """Tasks are taken one at a time, so an endless source costs no memory. Threads die with the process."""
    source = iter(tasks)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        while not errors:
            with lock:
                task = next(source, None)
            if task is None:
                return
            try:
                task()
            except BaseException as error:
                errors.append(error)

    workers = [threading.Thread(target=work, daemon=True, name=f"work-{n}") for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
