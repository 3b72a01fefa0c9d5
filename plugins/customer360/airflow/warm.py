"""What the scheduler imports before it forks its workers. Libraries only: no connection, thread or file is opened."""

from __future__ import annotations

import importlib
import logging
import sys
import time

from customer360.settings import get_settings

_log = logging.getLogger(__name__)

# Each of these costs a task between 0.3 and 6 seconds when it is not there yet.
MODULES = (
    "pandas",
    "pyarrow.parquet",
    "psycopg",
    "great_expectations",
    "great_expectations.expectations",
    "dbt.cli.main",
    "dbt.adapters.postgres",
    "customer360.front_door.load",
    "customer360.publication.build",
    "customer360.publication.daily",
)


def warm() -> None:
    """Import what tasks need and parse the dbt project, so that forked tasks inherit both.

    A failure is logged and not raised: a project that does not parse must fail in its own task, with its own
    message, and not keep the scheduler from starting.
    """
    started = time.monotonic()
    for module in MODULES:
        try:
            importlib.import_module(module)
        except Exception:
            _log.exception("%s is not warm; tasks will import it themselves", module)
    try:
        from customer360.models import runner

        runner.warm(get_settings())
    except Exception:
        _log.exception("The dbt project is not parsed ahead; tasks will parse it themselves")
    # Logging is not set up yet when Airflow imports its local settings.
    print(f"Imported ahead of the tasks in {time.monotonic() - started:.1f} s", file=sys.stderr)  # noqa: T201
