"""Runs once per demo, before the services: an empty database, a user with a token, a registered instance.

A process of its own, and the only part of the demo that loads Django: all else goes through the HTTP API.
"""

from __future__ import annotations

import argparse
import os
from io import StringIO
from pathlib import Path

import django

USER = "demo"
PASSWORD = "DUMONT_DEMO_PASSWORD"  # noqa: S105 - the variable's name


def main() -> None:
    options = _arguments()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dumont.settings")
    django.setup()
    from django.core.management import call_command

    _forget_everything()
    call_command("migrate", interactive=False, verbosity=1)
    _make_user(os.environ.get(PASSWORD))
    token = StringIO()
    call_command("create_token", user=USER, stdout=token)
    call_command(
        "register_instance",
        options.instance,
        provider=options.provider,
        image=options.image,
        gpu_type="RTX 3090",
        region="EU",
        idle_minutes=options.idle_seconds / 60,
    )
    descriptor = os.open(options.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token.getvalue().strip())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--instance", required=True)
    parser.add_argument("--idle-seconds", type=float, required=True)
    parser.add_argument("--provider", required=True)
    parser.add_argument("--image", default="")
    parser.add_argument("--token-file", type=Path, required=True)
    return parser.parse_args()


def _forget_everything() -> None:
    """The machines of an earlier demo are gone; operations it left unfinished must not go on about them."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS public CASCADE")
        cursor.execute("CREATE SCHEMA public")


def _make_user(password: str | None) -> None:
    """Without a password nobody can log in as this user; the token is all there is."""
    from django.contrib.auth import get_user_model

    users = get_user_model()._default_manager
    user = users.model(username=USER, is_staff=bool(password), is_superuser=bool(password))
    user.set_password(password)
    user.save()


if __name__ == "__main__":
    main()
