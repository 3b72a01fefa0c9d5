"""The past before the first daily pass: tier, lifecycle stage and ladder of each customer at each month end.

The journals begin with the installation, the records do not. :func:`reconstruct` works out what a daily pass of each
month end would have journalled from the records that are known now, for all month ends at once, and keeps it in state
tables beside the journals. ``marts.<history>_by_month`` unites the two and marks what was reconstructed; where a
journal has begun, it alone speaks. No model of the build or the daily pass reads any of it (docs/decisions/0011).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.kill_points import reach
from customer360.progress import Progress, Silent
from customer360.settings import Settings
from customer360.warehouse import Connection, query, scalar


class ReconstructionError(Customer360Error):
    """There is nothing yet that a past could be reconstructed from."""


@dataclass(frozen=True)
class History:
    """A history that is reconstructed: its model, its journal, the columns that both have, what the columns say."""

    name: str
    model: str
    journal: str
    columns: dict[str, str]
    """Column of the state table and the journal → its description."""

    @property
    def table(self) -> str:
        """The state table."""
        return f"state.{self.name}_reconstructed"

    @property
    def view(self) -> str:
        """What readers see: the state table and the journal as one."""
        return f"marts.{self.name}_by_month"


HISTORIES = (
    History(
        "loyalty_tier",
        "int_loyalty_tiers__reconstructed",
        "loyalty_tier_history",
        {
            "tier": "Tier of loyalty: base, silver, gold or platinum.",
            "reached_on": "Business date on which the records say that this tier was reached.",
            "why": "The figures that gave the tier; of a journalled month those of the day when the tier began.",
        },
    ),
    History(
        "lifecycle_stage",
        "int_lifecycle_stages__reconstructed",
        "lifecycle_stage_history",
        {
            "lifecycle_stage": "Stage of four: exploration, formation, stable or decline.",
            "lifecycle_stage_5": "Stage of five: establishment, adaptation, growth, mature or decline. Of a journalled "
            "month the one when the stage of four began.",
            "why": "The rule of the seed lifecycle_stages that was met.",
        },
    ),
    History(
        "relationship_ladder",
        "int_relationship_ladders__reconstructed",
        "relationship_ladder_history",
        {
            "ladder_rung": "Rung of the ladder: prospect, purchaser, client, supporter, advocate or partner.",
            "why": "The figures that gave the rung; of a journalled month those of the day when it was reached.",
        },
    ),
)


@dataclass(frozen=True)
class Reconstructed:
    """One history after a call: its rows, and whether they were worked out now or stood already."""

    history: str
    row_count: int
    seconds: float
    was_done: bool

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.history}: {self.row_count} rows" + (
            ", done before" if self.was_done else f" in {self.seconds:.1f} s"
        )


def is_due(settings: Settings) -> bool:
    """Whether a daily pass was made, and the past before it is missing, or older than a backfill published since."""
    if not settings.history_months:
        return False
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        return bool(_first_pass(connection)) and any(
            _standing(connection, settings, history) is None for history in HISTORIES
        )


def reconstruct(settings: Settings, *, again: bool = False, progress: Progress | None = None) -> list[Reconstructed]:
    """Work out every history that is missing or stale, each in its own transaction; returns all of them.

    Cut off anywhere, it goes on with the first history that is not done. ``again`` works out all of them.

    Raises:
        ReconstructionError: no daily pass was made yet.
        warehouse.WriterBusyError: a build does not end.
        transform.ModelsFailedError: a model failed; what was there stays.
    """
    progress = progress or Silent()
    with (
        warehouse.writer_lock(settings, who="reconstruction"),
        warehouse.connect("owner", settings, autocommit=True) as connection,
    ):
        if not _first_pass(connection):
            raise ReconstructionError(
                "No daily pass was made yet: the past is worked out from its tables.",
                "Run `c360 run`, then this again.",
            )
        progress.stage("reconstruct the past", len(HISTORIES))
        done = []
        for history in HISTORIES:
            standing = None if again else _standing(connection, settings, history)
            one = standing or _reconstruct(settings, connection, history)
            create_view(settings, history)
            done.append(one)
            progress.step(history.name)
            progress.note(str(one))
            reach("history.reconstructed")
    return done


def _first_pass(connection: Connection) -> Any:
    """The business date with which the journals begin; None if there is none."""
    return scalar(connection, "select min(valid_from_on) from state.lifecycle_stage_history")


def _standing(connection: Connection, settings: Settings, history: History) -> Reconstructed | None:
    """The history as it stands, if it is of this installation's first pass and setting, and newer than any backfill."""
    row = connection.execute(
        """
        select history, row_count, seconds from state.reconstructions
        where history = %s and month_count = %s
            and first_pass_on = (select min(valid_from_on) from state.lifecycle_stage_history)
            and publication_id >= coalesce(
                (select max(publication_id) from ops.batches where is_history and state = 'published'), 0)
        """,
        [history.name, settings.history_months],
    ).fetchone()
    if row is None:
        return None
    name, row_count, seconds = row
    return Reconstructed(name, row_count, seconds, was_done=True)


def _reconstruct(settings: Settings, connection: Connection, history: History) -> Reconstructed:
    from customer360.models import runner

    began = time.monotonic()
    publication_id = scalar(connection, "select coalesce(max(publication_id), 0) from ops.publications")
    runner.run_models(
        settings,
        history.model,
        run_id=None,
        full_refresh=True,
        variables={
            "history_months": settings.history_months,
            # Whatever the clock says: the daily tables that it reads are those of the last pass.
            "as_of_on": str(scalar(connection, "select max(as_of_on) from ops.publications where kind = 'daily'")),
        },
    )
    reach("history.modelled")
    columns = sql.SQL(", ").join(map(sql.Identifier, ("month_end_on", "customer_key", *history.columns)))
    table, built = sql.SQL(query(history.table)), sql.Identifier("intermediate", history.model)
    with connection.transaction():
        connection.execute(sql.SQL("delete from {}").format(table))
        count = connection.execute(
            sql.SQL("insert into {table} ({columns}) select {columns} from {built}").format(
                table=table, columns=columns, built=built
            )
        ).rowcount
        seconds = time.monotonic() - began
        connection.execute(
            """
            insert into state.reconstructions (history, first_pass_on, month_count, row_count, publication_id, seconds)
            values (%s, %s, %s, %s, %s, %s)
            on conflict (history) do update set first_pass_on = excluded.first_pass_on, row_count = excluded.row_count,
                month_count = excluded.month_count, publication_id = excluded.publication_id,
                seconds = excluded.seconds, reconstructed_at = now()
            """,
            [history.name, _first_pass(connection), settings.history_months, count, publication_id, seconds],
        )
    connection.execute(sql.SQL("analyze {}").format(table))
    with warehouse.connect("transformer", settings, autocommit=True) as transformer:
        transformer.execute(sql.SQL("drop table {}").format(built))  # the state table has its rows
    return Reconstructed(history.name, count, seconds, was_done=False)


def create_view(settings: Settings, history: History) -> None:
    """Create the view that unites the history's two tables, unless it is there."""
    said = {
        "": f"One row per customer and month end, up to the last daily pass: {history.name.replace('_', ' ')} on that "
        "day. From the first daily pass on it is what the journal says, before that it is reconstructed from the "
        "records (is_reconstructed).",
        "customer_key": "The customer's durable key; of a journalled month the key of that time.",
        "month_end_on": "The last day of the month.",
        **history.columns,
        "is_reconstructed": "Whether the row was worked out afterwards from the records that are known now; false: it "
        "was known on that day.",
    }
    with warehouse.connect("publisher", settings, application_name="customer360 reconstruction") as connection:
        if scalar(connection, f"select to_regclass('{history.view}')"):
            return
        connection.execute(
            query(
                f"""
                create view {history.view} as
                with passes as (
                    select min(valid_from_on) as first_on,
                        (select max(as_of_on) from ops.publications where kind = 'daily') as last_on
                    from marts.{history.journal}
                ),
                journalled as (
                    select (date_trunc('month', first_on::timestamp) + (number + 1) * interval '1 month')::date - 1
                        as month_end_on
                    from passes, generate_series(0,
                        ((extract(year from last_on) - extract(year from first_on)) * 12
                            + extract(month from last_on) - extract(month from first_on))::integer) as number
                )
                select past.customer_key, past.month_end_on, {", ".join(f"past.{c}" for c in history.columns)},
                    true as is_reconstructed
                from {history.table} as past
                cross join passes
                where past.month_end_on < passes.first_on
                    and exists (select from marts.customer_360 as c where c.customer_key = past.customer_key)
                union all
                select period.customer_key, journalled.month_end_on,
                    {", ".join(f"period.{c}" for c in history.columns)}, false
                from journalled
                cross join passes
                inner join marts.{history.journal} as period on period.valid_from_on <= journalled.month_end_on
                    and (period.valid_to_on is null or period.valid_to_on > journalled.month_end_on)
                where journalled.month_end_on <= passes.last_on
                """
            )
        )
        for column, text in said.items():
            thing = sql.SQL("column {}.{}" if column else "view {}").format(
                sql.SQL(query(history.view)), *([sql.Identifier(column)] if column else [])
            )
            connection.execute(sql.SQL("comment on {} is {}").format(thing, sql.Literal(text)))
