"""Addresses of the console, and what a page says."""

from __future__ import annotations

import html
import re
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse

from hibernation.models import Instance


def listed(model: str) -> str:
    return f"/admin/hibernation/{model}/"


def page_of(instance: Instance) -> str:
    return reverse("admin:hibernation_instance_change", args=[quote(instance.pk)])


def order_of(instance: Instance, verb: str) -> str:
    return reverse("admin:hibernation_instance_order", args=[quote(instance.pk), verb])


def settings_of(instance: Instance) -> str:
    return reverse("admin:hibernation_instance_settings", args=[quote(instance.pk)])


def text_of(response: Any) -> str:
    """What a person reads: no tags, one space between words."""
    raw = re.sub(r"<[^>]*>", " ", response.content.decode())
    return " ".join(html.unescape(raw).split())
