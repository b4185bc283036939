"""The rules of an instance: the defaults, its own, and what is no rule."""

from __future__ import annotations

import pytest

from hibernation.domain.errors import InvalidRequest
from hibernation.domain.ignore import DEFAULT_RULES, check_rules, rules_for


def test_an_instances_rules_come_after_the_defaults() -> None:
    assert rules_for(default_rules=True, rules="data/\n\n!__pycache__/\n") == (
        *DEFAULT_RULES,
        "data/",
        "!__pycache__/",
    )
    assert rules_for(default_rules=False, rules="") == ()


def test_good_rules_and_comments_are_taken() -> None:
    check_rules("# caches\n*.tmp\n!keep.tmp\n/data/**/raw\n\n")
    check_rules("\n".join(DEFAULT_RULES))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ok\n!\n", "line 2"),
        ("a" * 501, "line 1"),
        ("x\0y", "line 1"),
        ("a\n" + "*a" * 9, "line 2"),
        ("a\n" * 501, "501"),
    ],
)
def test_what_is_no_rule_is_named(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        check_rules(text)
