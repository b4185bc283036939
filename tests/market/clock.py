"""One time for the fake market and for the database, moved by hand: whoever asks either is told the same moment."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection

from tests.fakes.clock import ManualClock

# Found before the functions of the same names in pg_catalog, by whoever asks in this transaction. No two answers are
# the same: a real clock never stands still.
_SHADOWS = """
CREATE SCHEMA market_time;
CREATE SEQUENCE market_time.ticks;
CREATE FUNCTION market_time.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT to_timestamp(current_setting('market.now')::float8)
        + nextval('market_time.ticks') * interval '1 microsecond' $$;
CREATE FUNCTION market_time.statement_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT market_time.clock_timestamp() $$;
SET search_path TO market_time, pg_catalog, public;
"""


class SharedClock(ManualClock):
    """The database's clock too, until the transaction in which it was made is rolled back."""

    def __init__(self) -> None:
        super().__init__()
        with connection.cursor() as cursor:
            cursor.execute(_SHADOWS)
        self._tell()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._tell()

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)

    def _tell(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('market.now', %s, false)", [repr(self.now())])
