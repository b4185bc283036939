"""``manage.py check_store``: proves that the configured store does all that snapshots need, or says what to change."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from hibernation.domain.errors import DumontError
from hibernation.snapshots.checkup import Finding, check_up
from hibernation.snapshots.registry import get_store

_SIGNS = {True: "✓", False: "✗", None: "–"}


class Command(BaseCommand):
    """Writes a few small objects and removes them. Exit code 1 if anything failed."""

    help = "Try everything that snapshots need on the configured store, and say what to fix."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            store = get_store()
        except DumontError as error:
            raise CommandError(error.message) from None
        if not options["json"]:
            self.stdout.write(_place())
        findings = []
        for finding in check_up(store):
            findings.append(finding)
            if not options["json"]:
                self._print(finding)
        if options["json"]:
            self.stdout.write(json.dumps(_document(findings), ensure_ascii=False, indent=2))
        if _failed(findings):
            sys.exit(1)

    def _print(self, finding: Finding) -> None:
        took = "" if finding.passed is None else f"{finding.ms:6.0f} ms"
        line = f"{_SIGNS[finding.passed]} {finding.what:34} {took:9}  {finding.detail}"
        self.stdout.write(line.rstrip())
        if finding.advice:
            self.stdout.write(f"    → {finding.advice}")


def _place() -> str:
    if settings.DUMONT_STORE == "filesystem":
        return f"filesystem: {settings.DUMONT_STORE_ROOT}, served at {settings.DUMONT_BASE_URL}"
    where = settings.DUMONT_S3_ENDPOINT or f"AWS {settings.DUMONT_S3_REGION}"
    return f"s3: {settings.DUMONT_S3_BUCKET}/{settings.DUMONT_S3_PREFIX} at {where}"


def _document(findings: list[Finding]) -> dict[str, Any]:
    checks = [{**asdict(finding), "ms": round(finding.ms, 1)} for finding in findings]
    return {"store": _place(), "ok": not _failed(findings), "checks": checks}


def _failed(findings: list[Finding]) -> bool:
    return any(finding.passed is False for finding in findings)
