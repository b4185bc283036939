from __future__ import annotations

import threading
import time
from collections.abc import Callable

from agents.snapshot.room import Rooms


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_room_is_lent_to_one_at_a_time_and_both_halves_begin_at_a_page() -> None:
    rooms = Rooms(2)
    with rooms.lent() as one, rooms.lent() as two:
        assert one is not two
        one.raw[0] = one.sealed[0] = 1
        assert two.raw[0] == two.sealed[0] == 0
    assert not rooms.are_short


def test_the_urgent_go_first_and_rooms_are_short_while_somebody_waits() -> None:
    rooms, order = Rooms(1), list[str]()

    def decode(name: str, urgent: bool) -> None:
        with rooms.lent(urgent=urgent):
            order.append(name)

    threads = [threading.Thread(target=decode, args=args) for args in (("later", False), ("first", True))]
    with rooms.lent():
        assert not rooms.are_short
        for number, thread in enumerate(threads, 1):
            thread.start()
            eventually(lambda number=number: sum(rooms._waiting.values()) == number)  # type: ignore[misc]
        assert rooms.are_short
    for thread in threads:
        thread.join()
    assert order == ["first", "later"]


def test_a_room_comes_back_after_a_failure() -> None:
    rooms = Rooms(1)
    for _ in range(2):
        try:
            with rooms.lent():
                raise ValueError
        except ValueError:
            pass
    with rooms.lent():
        pass
