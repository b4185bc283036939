"""``--serve``: what to type to use the running Dumont by hand, until Ctrl-C."""

from __future__ import annotations

import shlex
import time

from .host import INSTANCE, Host
from .prepare import USER

IDLE_MINUTES = 1


def instructions(host: Host, token: str, password: str, contract_id: str) -> str:
    """The guide's calls for this very instance, the admin's login and how to move the GPU."""
    url, gpu = host.stack.base_url, shlex.quote(str(host.gpu_file(contract_id)))
    instance = f"{url}/api/instances/{INSTANCE}"
    curl = f'curl -H "Authorization: Bearer {token}"'
    body = f"{curl} -H 'Content-Type: application/json'"
    return f"""
Dumont is up until Ctrl-C.

  web      {url}/
  admin    {url}/admin/   user {USER}, password {password}
  token    {token}

  export DUMONT_URL={url} DUMONT_TOKEN={token}
  bin/dumont status {INSTANCE}
  bin/dumont wake {INSTANCE} --wait

  {curl} {instance}/status
  {body} -X PUT -d '{{"pause_after_minutes": 2}}' {instance}/config
  {curl} -X POST '{instance}/hibernate?wait=120'
  {body} -X POST -d '{{}}' '{instance}/wake?wait=120'
  {curl} '{instance}/events?limit=10'
  {curl} {url}/api/hibernation/stats

The GPU works now. A machine's GPU is a text file (name, memory MiB, use %, used MiB); a woken machine has its own:

  echo 'RTX 3090, 24576, 0, 0' > {gpu}          # idle: hibernates after {IDLE_MINUTES} min
  echo 'RTX 3090, 24576, 95, 18000' > {gpu}     # busy

  machines {host.state / "machines"}
  logs     {host.state / "logs"}
"""


def stay_up() -> None:
    """Until Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
