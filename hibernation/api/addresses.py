"""Where a request comes from, as far as counting goes."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

_ONE_CUSTOMERS = 64
"""Bits of an IPv6 address that name a network; whoever has one has all addresses in it (RFC 6177)."""


def network_of(request: HttpRequest | Request) -> str:
    """The IPv4 address, or the /64 of the IPv6 address; behind ``DUMONT_PROXIES`` as they tell it."""
    told = BaseThrottle().get_ident(request) or ""  # type: ignore[arg-type]
    try:
        address = ip_address(told)
    except ValueError:
        return told
    if not isinstance(address, IPv6Address):
        return told
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, _ONE_CUSTOMERS), strict=False))
