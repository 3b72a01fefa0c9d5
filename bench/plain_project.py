"""The peer of whole builds and increments: a plain dbt-postgres project on the same raw rows (bench/plain_dbt).

What a good engineer writes without customer360: incremental models merged by key, and customer_360 for the customers
of the rows that came. It has no gates, no publication, no journals and one mart, and takes who is who as given. dbt is
called in this process on a manifest that is parsed once, as the product calls it.
"""

from __future__ import annotations

import os
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from customer360 import warehouse
from customer360.models import runner
from customer360.settings import Settings
from customer360.warehouse import query

PROJECT = Path(__file__).with_name("plain_dbt")


class PlainProject:
    """The project in a schema of its own in the warehouse of a benchmark."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._target = tempfile.TemporaryDirectory(prefix="c360-plain-", ignore_cleanup_errors=True)
        with warehouse.admin(settings) as connection:
            owner = warehouse.role_name("transformer", settings)
            connection.execute(query(f"create schema if not exists plain authorization {owner}"))
        self._manifest = self._dbt("parse", None)

    def run(self) -> float:
        """Do what is new; returns the seconds."""
        began = time.perf_counter()
        self._dbt("run", self._manifest)
        return round(time.perf_counter() - began, 2)

    def differing(self) -> dict[str, int]:
        """Column of customer_360 -> customers for whom it has another value than the product's."""
        with warehouse.connect("transformer", self._settings) as connection:
            columns = [
                row[0]
                for row in connection.execute(
                    "select column_name from information_schema.columns where table_schema = 'plain'"
                    " and table_name = 'customer_360' and column_name <> 'built_batch_id'"
                ).fetchall()
            ]
            listed = ", ".join(columns)
            ours, theirs = (
                connection.execute(query(f"select {listed} from {table} order by customer_key")).fetchall()
                for table in ("marts.customer_360", "plain.customer_360")
            )
        return {
            column: wrong
            for n, column in enumerate(columns)
            if (wrong := sum(not same(our[n], their[n]) for our, their in zip(ours, theirs, strict=True)))
        }

    def _dbt(self, command: str, manifest: Any) -> Any:
        from dbt.cli.main import dbtRunner

        runner._settle_behaviour_flags()  # the same mend of dbt for both
        os.environ.update(runner.dbt_environment(self._settings))
        outcome = dbtRunner(manifest=manifest).invoke([
            command, "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT),
            "--target-path", self._target.name, "--log-path", self._target.name,
            "--log-level", "none", "--log-level-file", "none", "--no-print", "--no-write-json", "--no-version-check",
        ])  # fmt: skip
        if not outcome.success:
            failed = [f"{one.node.name}: {one.message}" for one in getattr(outcome.result, "results", ())]
            raise SystemExit(f"The plain project failed: {outcome.exception or failed}")
        return outcome.result


def same(our: Any, their: Any) -> bool:
    """Whether two figures are one: averages are rounded to four decimals on both sides."""
    if our is None or their is None or not isinstance(our, (int, float, Decimal)):
        return bool(our == their)
    return abs(float(our) - float(their)) <= 0.00011
