"""SQL for many rows at once that are like one of Django's: what varies are expressions, the rest is as in that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.db.models import Model


def rows_like(template: Model, varying: Mapping[str, str], parameters: dict[str, Any]) -> tuple[str, str]:
    """What inserts, and what selects for each row of ``new`` one like ``template``, but for the columns of ``varying``.

    The values of the others are added to ``parameters``.
    """
    columns, values = [], []
    for field in template._meta.concrete_fields:
        column = str(field.column)
        if column in varying:
            values.append(varying[column])
        elif field.primary_key:
            continue
        else:
            values.append(_value(field, getattr(template, field.attname), parameters))
        columns.append(column)
    into = f"INSERT INTO {template._meta.db_table} ({', '.join(columns)})"
    return into, f"SELECT {', '.join(values)} FROM new"  # noqa: S608


def changes_to(model: type[Model], fields: Mapping[str, Any], parameters: dict[str, Any]) -> str:
    """What sets the columns of ``fields`` to their values."""
    columns = [field for field in model._meta.concrete_fields if field.name in fields]
    return ", ".join(f"{one.column} = {_value(one, fields[one.name], parameters)}" for one in columns)


def _value(field: Any, value: object, parameters: dict[str, Any]) -> str:
    name = f"value_{len(parameters)}"
    parameters[name] = field.get_db_prep_save(value, connection)
    return f"%({name})s::{field.db_type(connection)}"
