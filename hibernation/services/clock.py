"""The database's clock: the only clock that decides anything."""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.db.models import DateTimeField, Func

DB_NOW = Func(function="clock_timestamp", output_field=DateTimeField())
"""The same inside a query, for rows that are shown as they are at that moment."""


def db_now() -> datetime:
    """The present moment on the database server. Moves on inside a transaction, unlike ``now()``."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    moment: datetime = row[0]
    return moment
