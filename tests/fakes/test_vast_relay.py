"""The doors of the fake's machines."""

from __future__ import annotations

import gc
import socket
import threading

from tests.fakes.vast.relay import Relays


def test_a_door_that_is_shut_while_many_knock_leaves_no_connection_behind() -> None:
    """An unclosed one is a warning, and so an error."""
    relays, done = Relays(), threading.Event()
    relay = relays.reserve(lambda: None)

    def knock() -> None:
        while not done.is_set():
            with socket.socket() as one:
                one.connect_ex(("127.0.0.1", relay.port))

    knocking = [threading.Thread(target=knock) for _ in range(4)]
    for thread in knocking:
        thread.start()
    for _ in range(100):
        relays.set_door(relay, "open")
        relays.set_door(relay, "shut")
    done.set()
    for thread in knocking:
        thread.join()
    relays.close()
    gc.collect()
