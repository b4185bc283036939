"""What looks like a secret, and what is known to be one, is in no log; everything else stays as it is."""

from __future__ import annotations

import pytest

from hibernation.logs.redaction import hide, redacted

SIGNED = "https://b.example/k?X-Amz-Credential=AKIA%2F20261201&X-Amz-Expires=60&X-Amz-Signature=0a1b2c3d4e5f"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token dmt_abcdEFGHIJKLMNOP-_qrst is new", "token dmt_abcd••• is new"),
        ("dme_abcdEFGHIJKL", "dme_abcd•••"),
        (f"dma1.12.3.{'0' * 64}", "dma1.12.3.•••"),
        ("{'Authorization': 'Bearer abcdefghijklmnop'}", "{'Authorization': 'Bearer •••'}"),
        ("authorization: bearer abcdefghijklmnop, x", "authorization: bearer •••, x"),
        (SIGNED, "https://b.example/k?X-Amz-Credential=•••&X-Amz-Expires=60&X-Amz-Signature=•••"),
        ("/api/store/a/b?expires=9&signature=0a1b2c&size=3", "/api/store/a/b?expires=9&signature=•••&size=3"),
        ("url=https%3A%2F%2Fx%3FX-Amz-Signature%3D0a1b2c", "url=https%3A%2F%2Fx%3FX-Amz-Signature%3D•••"),
        ("redis://:hunter2hunter2@broker:6379/0", "redis://:•••@broker:6379/0"),
        ("connection to host=db user=d password=hunter2 failed", "connection to host=db user=d password=••• failed"),
        ('{"password": "hunter2hunter2"}', '{"password": "•••"}'),
        ("{'api_key': 'abcabc', 'n': 1}", "{'api_key': '•••', 'n': 1}"),
        ("GET https://x.example/v1?api_key=abc&limit=1", "GET https://x.example/v1?api_key=•••&limit=1"),
    ],
)  # fmt: skip
def test_a_secret_of_a_known_shape_is_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Send the machine's own agent token as a bearer token.",
        "dmt_abcd",
        "the URL's signature is wrong",
        "redis+socket:///tmp/valkey.sock",
        "https://console.vast.ai/api/v0/bundles?limit=5",
        'password authentication failed for user "dumont"',
        "operation 12: RunFreeze: box_silent: nothing answers at 203.0.113.7:22",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text


def test_a_value_that_was_told_is_hidden_also_as_a_part_of_an_address() -> None:
    hide("pa/ss wörd&12")
    assert redacted("is pa/ss wörd&12 or pa%2Fss%20w%C3%B6rd%2612?") == "is ••• or •••?"


def test_of_two_values_the_longer_one_is_hidden_whole() -> None:
    hide("sesame-open")
    hide("sesame-open-please")
    assert redacted("sesame-open-please") == "•••"


def test_a_value_that_stands_in_innocent_words_is_left_alone() -> None:
    hide("dumont")
    hide("")
    assert redacted("the database dumont") == "the database dumont"
