"""The form of an instance's settings: the API's fields, checked by the API's serializer, whatever they are.

A setting that the API learns appears here by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from rest_framework import serializers

from hibernation.api.fields import LinesField, MinutesField
from hibernation.api.registering import ChangeSerializer
from hibernation.models import Instance
from hibernation.said import in_language

_GROUPS = {
    "Idle": (
        "name",
        "auto_hibernation_enabled",
        "gpu_usage_threshold",
        "pause_after_minutes",
        "delete_after_minutes",
        "hibernate_busy_at_the_end",
        "keep_warm_minutes",
    ),
    "Saving": (
        "precopy_enabled",
        "snapshot_interval_minutes",
        "transfer_limit_mbit",
        "encryption_enabled",
        "keep_last",
        "keep_daily",
    ),
    "Left out": ("default_ignore_rules", "ignore_rules", "leave_out_model_cache"),
    "The next machine": (
        "allow_equivalent_gpus",
        "min_cuda",
        "min_reliability",
        "min_download_mbps",
        "image",
        "disk_gb",
        "ports",
        "env",
        "forget_env",
        "onstart",
        "post_wake_hook",
    ),
}
_WORDS = {
    "cuda": "CUDA",
    "env": "environment",
    "gb": "GB",
    "gpu": "GPU",
    "gpus": "GPUs",
    "mbit": "Mbit/s",
    "mbps": "Mbit/s",
    "onstart": "at every start",
}
_LONG = ("post_wake_hook",)


class SettingsForm(forms.Form):
    """Each field carries what it showed, so that only what a person changed is sent, whoever changed others since."""

    def __init__(self, instance: Instance, data: Any = None) -> None:
        super().__init__(data)
        self._rules = ChangeSerializer()
        self._shown = {"name": instance.name, **ChangeSerializer(instance).data}
        for name, rule in self._rules.fields.items():
            if not rule.read_only:
                self.fields[name] = _field(name, rule, self._shown.get(name))
        told = ", ".join(instance.env_names) or "none"
        self.fields["env"].help_text = f"NAME=value lines; replaces all: now {told}. Empty: as they are"
        self.fields["forget_env"] = forms.BooleanField(required=False, label="Remove all variables")

    def groups(self) -> Iterator[tuple[str, list[forms.BoundField]]]:
        """By what they are about; what no group knows comes last."""
        left = dict.fromkeys(self.fields)
        for title, names in _GROUPS.items():
            yield title, [self[name] for name in names if name in self.fields]
            for name in names:
                left.pop(name, None)
        if left:
            yield "More", [self[name] for name in left]

    def changes(self) -> dict[str, Any]:
        """As ``configure`` takes them. Call it on a valid form; it may find errors still."""
        wish = {name: self._told(name) for name in self.changed_data if name in self._rules.fields}
        if self.cleaned_data.get("forget_env"):
            wish["env"] = {}
        elif not self.cleaned_data.get("env"):
            wish.pop("env", None)
        rules = ChangeSerializer(
            data={name: value for name, value in wish.items() if value != self._shown.get(name)}
        )
        if rules.is_valid():
            return dict(rules.validated_data)
        for name, errors in rules.errors.items():
            self.add_error(name if name in self.fields else None, _sentences(errors))
        return {}

    def _told(self, name: str) -> Any:
        """A field's value as JSON would have it."""
        rule, value = self._rules.fields[name], self.cleaned_data[name]
        if isinstance(rule, LinesField):
            return value.splitlines()
        if isinstance(rule, serializers.DictField):
            return dict(_variable(line) for line in value.splitlines() if line.strip())
        if isinstance(rule, serializers.ListField):
            words = value.replace(",", " ").split()
            return [int(word) if word.isdecimal() else word for word in words]
        return value


def _field(name: str, rule: Any, shown: Any) -> forms.Field:
    common: dict[str, Any] = {
        "required": False,
        "label": _label(name),
        "help_text": _help(rule),
        "show_hidden_initial": True,
        "initial": shown,
    }
    if isinstance(rule, LinesField):
        common["initial"] = "\n".join(shown or [])
        return forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 4}), **common)
    if isinstance(rule, serializers.DictField):
        common.update(initial="", show_hidden_initial=False)
        return forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 3}), **common)
    if isinstance(rule, serializers.ListField):
        common["initial"] = ", ".join(str(one) for one in shown or [])
        return forms.CharField(**common)
    if isinstance(rule, serializers.BooleanField):
        return forms.BooleanField(**common)
    if isinstance(rule, serializers.IntegerField):
        common["required"] = not rule.allow_null
        return forms.IntegerField(**common)
    if isinstance(rule, MinutesField | serializers.FloatField):
        common["required"] = not rule.allow_null
        return forms.FloatField(widget=forms.NumberInput(attrs={"step": "any"}), **common)
    return forms.CharField(strip=name not in _LONG, **common)


def _label(name: str) -> str:
    label = " ".join(_WORDS.get(word, word) for word in name.split("_"))
    return label[0].upper() + label[1:]


def _help(rule: Any) -> str:
    """The API's, else the model's."""
    names = {field.name for field in Instance._meta.get_fields()}
    told = rule.help_text or ""
    if not told and rule.source in names:
        told = getattr(Instance._meta.get_field(rule.source), "help_text", "")
    return str(told).replace("null:", "empty:")


def _variable(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name.strip(), value


def _sentences(errors: Any) -> list[str]:
    """Of a list, or of one's elements."""
    if isinstance(errors, dict):
        return [f"{name}: {text}" for name, texts in errors.items() for text in _sentences(texts)]
    return [in_language(str(error)) for error in errors]
