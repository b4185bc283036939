"""Where a token may be sent: a server by https, or this very machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from .errors import BadAddress


def checked(url: str, *, plain_http: bool = False) -> str:
    """``scheme://host[:port]``, or ``BadAddress``. Plain http only to this machine, unless ``plain_http``."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadAddress("This address cannot be read. It looks like https://dumont.example.org") from None
    if parts.scheme not in ("http", "https") or not host:
        raise BadAddress("The address must begin with https:// and name a server.")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise BadAddress("The address names the server only: no path, no query, no user.")
    if parts.scheme == "http" and not plain_http and not is_loopback(host):
        raise BadAddress("Over plain http anybody on the way reads the token: use https, or say --insecure.")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
