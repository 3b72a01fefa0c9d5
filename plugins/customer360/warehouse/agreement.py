"""The settings that every process which writes to a warehouse must have alike: time zone and currency.

The first run records its own. A process with others stops before it writes: two that differ would rebuild every table
by turns. Changing them on purpose is :func:`adopt`; the next run then builds every table whole.
"""

from __future__ import annotations

from customer360.errors import ConfigurationError
from customer360.settings import Settings
from customer360.warehouse.server import Connection

_AGREED = {
    "business_timezone": ("C360_BUSINESS_TIMEZONE", "business time zone"),
    "reporting_currency": ("C360_REPORTING_CURRENCY", "reporting currency"),
}


def recorded(connection: Connection) -> dict[str, str]:
    """The values on record; empty before the first run."""
    rows = connection.execute("select name, value from ops.installation where name = any(%s)", [list(_AGREED)])
    return dict(rows.fetchall())


def check(connection: Connection, settings: Settings) -> None:
    """Nothing, if this process has the warehouse's settings or nothing is on record.

    Raises:
        ConfigurationError: it differs; the message says in what, and how to change it on purpose.
    """
    known = recorded(connection)
    for name, (variable, what) in _AGREED.items():
        mine = getattr(settings, name)
        if known.get(name, mine) != mine:
            raise ConfigurationError(
                f"The {what} of this warehouse is {known[name]}, and {variable} says {mine}. Nothing was changed.",
                f"Set {variable}={known[name]}; or, to change it on purpose: `{variable}={mine} c360 adopt-settings`, "
                "after which the next run builds every table whole.",
            )


def adopt(connection: Connection, settings: Settings, *, only_missing: bool = False) -> dict[str, str]:
    """Make this process's settings those of the warehouse; returns what was on record before, where it differed."""
    before = recorded(connection)
    changed = {}
    for name in _AGREED:
        mine = getattr(settings, name)
        if before.get(name) == mine or (only_missing and name in before):
            continue
        connection.execute(
            """
            insert into ops.installation (name, value) values (%s, %s)
            on conflict (name) do update set value = excluded.value, recorded_at = now()
            """,
            [name, mine],
        )
        changed[name] = before.get(name, "")
    return changed
