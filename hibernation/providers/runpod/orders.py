"""What we ask of Runpod: the query of the catalogue and the order of a pod. Pure."""

from __future__ import annotations

import shlex
from typing import Any

from hibernation.domain.errors import BadOrder, OfferGone
from hibernation.domain.offers import OfferFilter
from hibernation.domain.regions import countries_wished
from hibernation.providers.base import LaunchSpec
from hibernation.providers.runpod.places import parts_of

WORKSPACE = "/workspace"
CONTAINER_GB = 20
"""For the image's own writes. It is erased at every stop; the workspace lies on a volume, which is not."""
SMALLEST_VOLUME_GB = 10
KEY_VARIABLE = "PUBLIC_KEY"
"""What Runpod's images, and most others made for it, let in. Set by us, it takes the place of the account's keys."""

# The image's own start script starts its SSH server. An image without one must have the server's package.
_THEN_START = """if [ -x /start.sh ]; then exec /start.sh; fi
mkdir -p ~/.ssh; echo "$PUBLIC_KEY" >> ~/.ssh/authorized_keys; chmod -R go= ~/.ssh
service ssh start
exec sleep infinity"""


def catalogue_query(want: OfferFilter, cloud: str) -> dict[str, str]:
    """Types and what is free of them, for pods of so many GPUs in one cloud."""
    query = {"include": "AVAILABILITY", "product": "POD", "count": str(want.gpu_count), "cloud": cloud}
    if countries := countries_wished(want.region):
        query["countryCodes"] = ",".join(sorted(countries))
    if want.min_cuda:
        query["minCudaVersion"] = _version(want.min_cuda)
    return query


def order_of(spec: LaunchSpec) -> dict[str, Any]:
    """The order of a pod. ``OfferGone`` for an offer that is none of Runpod's."""
    if not spec.label:
        raise BadOrder("A pod needs a name, by which it is found again.")
    try:
        gpu_id, cloud, data_center = parts_of(spec.offer.offer_id)
    except ValueError as error:
        raise OfferGone(f"{spec.offer.offer_id!r} is no offer of Runpod.") from error
    gpu: dict[str, Any] = {"id": gpu_id, "count": spec.offer.gpu_count}
    if spec.offer.cuda:
        gpu["minCudaVersion"] = _version(spec.offer.cuda)
    order: dict[str, Any] = {
        "name": spec.label,
        "image": spec.image,
        "gpu": gpu,
        "cloud": cloud,
        "dataCenterIds": [data_center] if data_center else [],
        "disk": CONTAINER_GB,
        "mounts": {"persistent": {"size": max(spec.disk_gb, SMALLEST_VOLUME_GB), "path": WORKSPACE}},
        "ports": [f"{port}/tcp" for port in dict.fromkeys((22, *spec.ports))],
        "env": {**spec.env, KEY_VARIABLE: spec.ssh_public_key.strip()},
        "startSsh": True,
    }
    return order | ({"args": _args(spec.onstart)} if spec.onstart else {})


def _args(onstart: str) -> str:
    """It replaces the image's own command, so it must go on as that would have."""
    return shlex.join(["bash", "-c", f"(\n{onstart}\n) &\n{_THEN_START}"])


def _version(number: float) -> str:
    """``major.minor``: a bare major is refused."""
    return f"{number:.1f}"
