"""A warehouse at rest: nothing is left to be vacuumed or analysed beside what is measured."""

from __future__ import annotations

import time

from customer360 import warehouse
from customer360.settings import Settings


def let_rest(settings: Settings) -> None:
    """Do what autovacuum would do after so large a load, and wait for what it has begun."""
    with warehouse.admin(settings) as connection:
        connection.execute("vacuum (analyze)")
        at_work = "select count(*) from pg_stat_activity where backend_type = 'autovacuum worker'"
        while warehouse.scalar(connection, at_work):
            time.sleep(1)
