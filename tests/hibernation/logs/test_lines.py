"""A line says when, how bad, who, what and for whom, as text or as JSON, and cannot be made to look like two."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from contextvars import copy_context
from functools import partial
from typing import Any

import pytest

from hibernation.logs.context import about, known, tell
from hibernation.logs.lines import JsonLines, Lines

TOKEN = "dmt_abcdEFGHIJKLMNOPQRSTUVWX"


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    log = logging.getLogger("tests.lines")
    log.propagate = False
    yield log
    log.handlers.clear()


def written(log: logging.Logger, form: logging.Formatter) -> io.StringIO:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(form)
    log.addHandler(handler)
    return handler.stream


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_json_line_says_what_it_is_about(log: logging.Logger) -> None:
    stream = written(log, JsonLines())
    with about(request_id="r1"):
        tell(user="ana")
        log.warning("%s of %d", "one", 2, extra={"facts": {"status": 200}})
    log.warning("later")
    first, later = objects(stream.getvalue())
    assert first.pop("at").endswith("+00:00")
    assert first == {
        "level": "WARNING",
        "logger": "tests.lines",
        "message": "one of 2",
        "request_id": "r1",
        "user": "ana",
        "status": 200,
    }
    assert set(later) == {"at", "level", "logger", "message"}


def test_a_line_for_people_says_it_too(log: logging.Logger) -> None:
    stream = written(log, Lines())
    with about(operation_id=7, instance_id="vast_1"):
        log.error("it failed")
    assert stream.getvalue().endswith(" ERROR tests.lines it failed [operation_id=7 instance_id=vast_1]\n")


@pytest.mark.parametrize("form", [Lines(), JsonLines()])
def test_no_part_of_a_line_holds_a_secret(log: logging.Logger, form: logging.Formatter) -> None:
    stream = written(log, form)
    with about(request_id=TOKEN):
        try:
            raise RuntimeError(TOKEN)
        except RuntimeError:
            log.exception("with %s", TOKEN, extra={"facts": {"path": TOKEN}})
    assert "RuntimeError: dmt_abcd" in json.dumps(stream.getvalue())
    assert TOKEN not in stream.getvalue()


def test_what_others_sent_cannot_add_a_line(log: logging.Logger) -> None:
    plain, lines = written(log, Lines()), written(log, JsonLines())
    with about(user="eve\nforged"):
        log.warning("hello\r\n2026-12-01 INFO forged\x1b[2J\u2028")
    assert len(plain.getvalue().splitlines()) == 1
    assert "user=eve\\nforged" in plain.getvalue()
    assert "hello\\r\\n2026-12-01 INFO forged\\x1b[2J\\u2028" in plain.getvalue()
    assert objects(lines.getvalue())[0]["message"] == "hello\r\n2026-12-01 INFO forged\x1b[2J\u2028"


def test_what_is_told_ends_with_its_block_and_outside_any_nothing_is() -> None:
    tell(user="nobody")
    with about(request_id="r1"):
        tell(user="ana")
        with about(operation_id=1):
            tell(instance_id="i")
            assert known() == {"request_id": "r1", "user": "ana", "operation_id": 1, "instance_id": "i"}
        assert known() == {"request_id": "r1", "user": "ana"}
    assert known() == {}


def test_another_thread_knows_nothing_of_it_unless_it_is_given_the_context() -> None:
    seen: list[dict[str, Any]] = []

    def look() -> None:
        seen.append(dict(known()))

    with about(request_id="r1"):
        for target in (look, partial(copy_context().run, look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [{}, {"request_id": "r1"}]


def test_the_words_of_an_error_cannot_look_like_a_line_of_their_own(log: logging.Logger) -> None:
    stream = written(log, Lines())
    try:
        raise ValueError("boom\n2026-12-01 12:00:00,000 INFO forged\x1b[2J")
    except ValueError:
        log.exception("it broke")
    first, *trace = stream.getvalue().splitlines()
    assert first.endswith("it broke")
    assert all(line.startswith("    ") for line in trace)
    assert "\x1b" not in stream.getvalue()
