"""Who may call the fake market: keys, what each is allowed, and how a refusal looks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http import Request
from tests.fakes.vast.replies import Refusal

CATEGORIES = (
    "misc", "user_read", "user_write", "instance_read", "instance_write", "billing_read", "machine_read",
    "machine_write",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """``categories``: what it may do. ``contract``: it is good for this one only."""

    name: str
    categories: frozenset[str]
    contract: int | None = None


@dataclass
class Keyring:
    """``unknown_status``: the real market tells a wrong key as 404 mostly, as 401 sometimes."""

    unknown_status: int = 404
    scope_status: int = 403
    _keys: dict[str, Key] = field(default_factory=dict)

    def add(
        self,
        name: str,
        permissions: dict[str, Any] | None = None,
        *,
        contract: int | None = None,
        text: str = "",
    ) -> str:
        """The secret of a new key. ``permissions`` as the market takes them, ``{"api": {"misc": {}}}``; None: all."""
        allowed = CATEGORIES if permissions is None else permissions.get("api", {})
        if strange := set(allowed) - set(CATEGORIES):
            raise ValueError(f"no such permission: {', '.join(sorted(strange))}")
        secret = text or secrets.token_hex(32)
        self._keys[secret] = Key(name, frozenset(allowed), contract)
        return secret

    def remove(self, secret: str) -> None:
        self._keys.pop(secret, None)

    def identify(self, request: Request) -> Key:
        """``Refusal`` for nobody and for a key unknown."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        secret = secret.strip() if scheme.lower() == "bearer" else request.query.get("api_key", "")
        if not secret:
            raise Refusal(403, "auth_error", "This action requires login")
        if secret not in self._keys:
            raise self.unknown()
        return self._keys[secret]

    def name_of(self, request: Request) -> str:
        """For the journal: empty for nobody."""
        try:
            return self.identify(request).name
        except Refusal:
            return ""

    def check(self, key: Key, category: str, contract: int | None) -> None:
        if category not in key.categories or (key.contract is not None and key.contract != contract):
            raise Refusal(self.scope_status, "auth_error", f"This key lacks the permission {category}")

    def unknown(self, status: int | None = None) -> Refusal:
        return Refusal(status or self.unknown_status, "auth_error", "Invalid user key")
