"""Whom a request is counted for: an address, or the network of an address that costs its owner nothing to change."""

from __future__ import annotations

import pytest
from django.test import RequestFactory

from hibernation.api.addresses import network_of


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(told: str, counted: str) -> None:
    assert network_of(RequestFactory().get("/", REMOTE_ADDR=told)) == counted
