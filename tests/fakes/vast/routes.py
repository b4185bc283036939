"""The fake market's addresses: which call answers at each, and what permission it wants.

The names here are those that ``where={"call": …}`` of a fault and the journal use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.fakes.http import Request


@dataclass(frozen=True, slots=True)
class Route:
    """``handler`` is a method of ``Calls``. ``category`` empty: nobody has to say who he is."""

    call: str
    category: str
    handler: str
    arguments: tuple[int, ...] = ()

    @property
    def contract(self) -> int | None:
        return self.arguments[0] if self.arguments and self.category.startswith("instance") else None


_TABLE = """
GET    v0/gpu_names/unique/                   gpu_names      -
GET    v0/users/current/                      user           user_read
POST   v0/bundles/                            search         misc
PUT    v0/search/asks/                        search         misc           search_new
PUT    v0/asks/#/                             create         instance_write
GET    v1/instances/                          list           instance_read
GET    v0/instances/                          list_v0        instance_read
PUT    v0/instances/                          change_bulk    instance_write
DELETE v0/instances/                          destroy_bulk   instance_write
GET    v0/instances/filters/                  filters        instance_read
GET    v0/instances/count/                    count          instance_read
GET    v0/instances/pending-price-increases/  price_rises    instance_read
PUT    v0/instances/accept-price-increase/    accept_rise    instance_write
PUT    v0/instances/reject-price-increase/    reject_rise    instance_write
GET    v0/instances/#/                        by_id          instance_read
PUT    v0/instances/#/                        change         instance_write
DELETE v0/instances/#/                        destroy        instance_write
GET    v0/instances/#/ssh/                    keys_of        instance_read
POST   v0/instances/#/ssh/                    attach         instance_write
DELETE v0/instances/#/ssh/#/                  detach         instance_write
PUT    v0/instances/reboot/#/                 reboot         instance_write
PUT    v0/instances/recycle/#/                recycle        instance_write
PUT    v0/instances/bid_price/#/              bid            instance_write
PUT    v0/instances/command/#/                execute        instance_write
PUT    v0/instances/request_logs/#/           logs           instance_read
GET    v0/ssh/                                ssh_keys       user_read
POST   v0/ssh/                                ssh_key_create user_write
PUT    v0/ssh/#/                              ssh_key_change user_write
DELETE v0/ssh/#/                              ssh_key_delete user_write
PUT    v0/commands/copy_direct/               copy           instance_write
DELETE v0/commands/copy_direct/               copy_cancel    instance_write
PUT    v0/commands/rsync/                     copy           instance_write
DELETE v0/commands/rsync/                     copy_cancel    instance_write
POST   v0/volumes/search/                     volumes_search misc
GET    v0/volumes/                            volumes        instance_read  volumes_list
PUT    v0/volumes/                            volumes        instance_write volume_create
DELETE v0/volumes/                            volume_delete  instance_write
GET    v0/secrets/                            secrets        user_read      secrets_list
POST   v0/secrets/                            secret_write   user_write
PUT    v0/secrets/                            secret_write   user_write
DELETE v0/secrets/                            secret_write   user_write     secret_delete
GET    v0/template/                           templates      user_read      templates_list
GET    v0/charges/                            charges        billing_read
"""


def _compile() -> list[tuple[str, re.Pattern[str], Route]]:
    routes = []
    for line in _TABLE.strip().splitlines():
        method, path, call, category, *handler = line.split()
        pattern = re.compile("/api/" + path.replace("#", r"(\d+)"))
        route = Route(call, category.strip("-"), handler[0] if handler else call)
        routes.append((method, pattern, route))
    return routes


_ROUTES = _compile()


def find_route(request: Request) -> Route | None:
    for method, pattern, route in _ROUTES:
        if method == request.method and (match := pattern.fullmatch(request.path)):
            arguments = tuple(int(text) for text in match.groups())
            call = _change(request) if route.call == "change" else route.call
            handler = call if route.call == "change" else route.handler
            return Route(call, route.category, handler, arguments)
    return None


def _change(request: Request) -> str:
    """One address, three calls: the body says which."""
    state = request.body.get("state")
    if state in ("running", "stopped"):
        return "start" if state == "running" else "stop"
    return "label" if "label" in request.body else "change"
