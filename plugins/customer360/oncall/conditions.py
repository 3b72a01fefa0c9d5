"""The states that must wake somebody, each found by looking at the warehouse and never by waiting to be told.

A task that is killed calls nobody, so no condition depends on the task that failed; none but the Airflow ones depends
on Airflow being alive. A condition yields one :class:`Finding` per cause. As long as it is found the incident is
open; when it is no longer found, it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from psycopg.rows import dict_row

from customer360.settings import Settings
from customer360.warehouse import Connection, query

Severity = Literal["critical", "warning", "info"]

EVERY_TABLE = ("marts.*",)
FEED_TABLES = {
    "orders": ("marts.fct_orders", "marts.fct_order_items", "marts.fct_refunds", "marts.customer_360"),
    "web_sessions": ("marts.fct_sessions", "marts.customer_360"),
    "support_tickets": ("marts.fct_tickets", "marts.customer_360"),
}


@dataclass(frozen=True)
class Finding:
    """One cause that is true now. ``key`` is its identity: the same cause has the same key in every look."""

    kind: str
    key: str
    severity: Severity
    summary: str
    command: str
    tables: tuple[str, ...] = EVERY_TABLE
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def runbook(self) -> str:
        """The page that says how to look, fix and prove, below docs/."""
        return f"runbooks/{self.kind}.md"


@dataclass(frozen=True)
class View:
    """What a condition may look at: the warehouse as oncall reads it, and the settings."""

    connection: Connection
    settings: Settings

    def rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query, by column name."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query(statement), parameters).fetchall()


Condition = Callable[[View], Iterator[Finding]]
CONDITIONS: dict[str, Condition] = {}


def condition(kind: str) -> Callable[[Condition], Condition]:
    """Register a condition under the incident kind that it finds."""

    def register(function: Condition) -> Condition:
        CONDITIONS[kind] = function
        return function

    return register


@condition("batch_refused")
def batch_refused(view: View) -> Iterator[Finding]:
    """A whole file was refused and no file of the same name has been loaded since."""
    for row in view.rows(
        """
        select b.batch_id, b.feed, b.file_name, b.error, b.landed_rows
        from ops.batches as b
        where b.state = 'refused' and not exists (
            select 1 from ops.batches as later
            where later.feed = b.feed and later.file_name = b.file_name and later.batch_id > b.batch_id)
        """
    ):
        yield Finding(
            "batch_refused",
            f"batch_refused:{row['batch_id']}",
            "warning",
            f"Batch {row['batch_id']} of {row['feed']} was refused: {row['error']}",
            f"c360 why {row['batch_id']}",
            FEED_TABLES[row["feed"]],
            {"batch_id": row["batch_id"], "file": row["file_name"], "rows": row["landed_rows"]},
        )


@condition("batch_failed")
def batch_failed(view: View) -> Iterator[Finding]:
    """A batch could not be loaded although it was not refused: the cause is ours, not the file's."""
    for row in view.rows("select batch_id, feed, file_name, error, attempts from ops.batches where state = 'failed'"):
        yield Finding(
            "batch_failed",
            f"batch_failed:{row['batch_id']}",
            "critical" if row["attempts"] >= 3 else "warning",
            f"Batch {row['batch_id']} of {row['feed']} failed to load, {row['attempts']} tries: {row['error']}",
            f"c360 replay --batch {row['batch_id']}",
            FEED_TABLES[row["feed"]],
            {"batch_id": row["batch_id"], "file": row["file_name"], "attempts": row["attempts"]},
        )


@condition("gate_failed")
def gate_failed(view: View) -> Iterator[Finding]:
    """The newest run of a kind was stopped by a gate: what was published before stays, and grows old."""
    for row in _newest_runs(view):
        if row["state"] != "blocked":
            continue
        failing = view.rows(
            """
            select suite, expectation, column_name, unexpected_count, outcome from ops.gate_results
            where run_id = %(run)s and outcome <> 'passed' and severity = 'critical' order by checked_at limit 5
            """,
            run=row["run_id"],
        )
        yield Finding(
            "gate_failed",
            f"gate_failed:{row['kind']}",
            "critical",
            f"Run {row['run_id']} ({row['kind']}) was not published: {row['error']}",
            row["next_step"] or f"c360 why {row['run_id']}",
            EVERY_TABLE,
            {"run_id": row["run_id"], "failing": failing},
        )


@condition("run_failed")
def run_failed(view: View) -> Iterator[Finding]:
    """The newest run of a kind failed or died; its work waits for the next run."""
    for row in _newest_runs(view):
        if row["state"] != "failed":
            continue
        yield Finding(
            "run_failed",
            f"run_failed:{row['kind']}",
            "critical" if row["failures"] >= 3 else "warning",
            f"Run {row['run_id']} ({row['kind']}) failed, {row['failures']} in a row: {row['error']}",
            row["next_step"] or f"c360 why {row['run_id']}",
            EVERY_TABLE,
            {"run_id": row["run_id"], "failures": row["failures"]},
        )


def _newest_runs(view: View) -> list[dict[str, Any]]:
    """The newest ended run of each kind, with how many have failed since the last good one."""
    return view.rows(
        """
        select distinct on (r.kind) r.kind, r.run_id, r.state, r.next_step,
            left(coalesce(r.error, 'no message'), 600) as error,
            (select count(*) from ops.runs as f
             where f.kind = r.kind and f.state in ('failed', 'blocked') and f.run_id > coalesce(
                (select max(g.run_id) from ops.runs as g
                          where g.kind = r.kind and g.state in ('succeeded', 'idle')), 0)) as failures
        from ops.runs as r where r.state <> 'running' order by r.kind, r.run_id desc
        """
    )


@condition("run_stuck")
def run_stuck(view: View) -> Iterator[Finding]:
    """A run holds the writer lock for longer than any run should."""
    for row in view.rows(
        """
        select run_id, kind, trigger, extract(epoch from now() - started_at)::bigint as seconds
        from ops.runs where state = 'running' and started_at < now() - make_interval(mins => %(minutes)s)
        """,
        minutes=view.settings.run_stuck_minutes,
    ):
        yield Finding(
            "run_stuck",
            f"run_stuck:{row['run_id']}",
            "critical",
            f"Run {row['run_id']} ({row['kind']}, {row['trigger']}) has been writing for {row['seconds'] // 60} min",
            f"c360 why {row['run_id']}",
            EVERY_TABLE,
            {"run_id": row["run_id"], "seconds": row["seconds"]},
        )


@condition("quarantine_above_threshold")
def quarantine_above_threshold(view: View) -> Iterator[Finding]:
    """More of a feed's recent rows stand in quarantine than the feed's normal noise: one incident, not one per row."""
    for row in view.rows(
        """
        select feed, sum(quarantined_rows)::bigint as quarantined, sum(landed_rows)::bigint as landed,
            array_agg(batch_id order by quarantined_rows desc) filter (where quarantined_rows > 0) as batches
        from ops.batches where quarantined_rows > 0 or landed_at > now() - interval '1 day'
        group by feed
        having sum(quarantined_rows) >= %(rows)s and sum(quarantined_rows) > %(share)s * sum(landed_rows)
        """,
        rows=view.settings.quarantine_alert_rows,
        share=view.settings.quarantine_alert_share,
    ):
        yield Finding(
            "quarantine_above_threshold",
            f"quarantine_above_threshold:{row['feed']}",
            "warning",
            f"{row['quarantined']:,} of {row['landed']:,} rows of {row['feed']} are in quarantine",
            f"c360 quarantine list --feed {row['feed']}",
            FEED_TABLES[row["feed"]],
            {"rows": row["quarantined"], "landed": row["landed"], "batches": (row["batches"] or [])[:10]},
        )


@condition("feed_late")
def feed_late(view: View) -> Iterator[Finding]:
    """A feed that has delivered before is silent for longer than its objective."""
    for row in view.rows(
        """
        select o.subject as feed, o.objective_minutes, max(b.landed_at) as last_at,
            (extract(epoch from now() - max(b.landed_at)) / 60)::bigint as minutes
        from ops.freshness_objectives as o
        join ops.batches as b on b.feed = o.subject and b.state not in ('refused', 'duplicate') and not b.is_history
        where o.measure = 'landing'
        group by o.subject, o.objective_minutes
        having max(b.landed_at) < now() - make_interval(mins => o.objective_minutes)
        """
    ):
        yield Finding(
            "feed_late",
            f"feed_late:{row['feed']}",
            "warning",
            f"Nothing has landed for {row['feed']} for {row['minutes'] // 60} h {row['minutes'] % 60} min "
            f"(objective {row['objective_minutes'] // 60} h)",
            "c360 status",
            FEED_TABLES[row["feed"]],
            {"last_landed_at": row["last_at"].isoformat(), "minutes": row["minutes"]},
        )


@condition("marts_stale")
def marts_stale(view: View) -> Iterator[Finding]:
    """What has landed waits too long for its publication, or the daily tables are of an earlier day."""
    for row in view.rows(
        """
        select count(*) as batches, (extract(epoch from now() - min(loaded_at)) / 60)::bigint as minutes,
            min(o.objective_minutes) as objective, array_agg(distinct feed) as feeds, min(batch_id) as oldest
        from ops.batches, (select objective_minutes from ops.freshness_objectives
                           where subject = 'customer_360' and measure = 'publication') as o
        where state = 'loaded'
        having min(loaded_at) < now() - make_interval(mins => min(o.objective_minutes))
        """
    ):
        yield Finding(
            "marts_stale",
            "marts_stale:publication",
            "critical",
            f"{row['batches']} loaded batches have waited up to {row['minutes']} minutes to be published "
            f"(objective {row['objective']})",
            f"c360 why {row['oldest']}",
            EVERY_TABLE,
            {"minutes": row["minutes"], "feeds": row["feeds"], "oldest_batch": row["oldest"]},
        )
    for row in view.rows(
        """
        select max(p.as_of_on) as as_of_on, %(today)s::date - max(p.as_of_on) as days
        from ops.publications as p where p.as_of_on is not null
        having max(p.as_of_on) < %(today)s::date - (
            select objective_minutes / 1440 from ops.freshness_objectives
            where subject = 'customer_loyalty' and measure = 'publication')
        """,
        today=view.settings.today(),
    ):
        yield Finding(
            "marts_stale",
            "marts_stale:daily",
            "critical",
            f"The daily tables are of {row['as_of_on']}, {row['days']} days ago",
            "c360 run",
            ("marts.customer_loyalty", "marts.customer_churn", "marts.customer_360"),
            {"as_of_on": str(row["as_of_on"]), "days": row["days"]},
        )


@condition("currency_without_rate")
def currency_without_rate(view: View) -> Iterator[Finding]:
    """Orders in a currency that the rate table does not know are counted but in no sum."""
    for row in view.rows(
        """
        select currency, count(*) as orders, min(ordered_on) as since_on from marts.fct_orders
        where exchange_rate is null and is_valid group by currency
        """
        if _exists(view, "marts.fct_orders")
        else "select where false"
    ):
        yield Finding(
            "currency_without_rate",
            f"currency_without_rate:{row['currency']}",
            "warning",
            f"{row['orders']:,} orders in {row['currency']} have no rate to {view.settings.reporting_currency} "
            f"since {row['since_on']}: they are in no sum",
            "c360 run",
            ("marts.fct_orders", "marts.customer_360", "marts.fct_daily_revenue"),
            {"currency": row["currency"], "orders": row["orders"], "since_on": str(row["since_on"])},
        )


@condition("ledger_unbalanced")
def ledger_unbalanced(view: View) -> Iterator[Finding]:
    """A batch whose rows do not add up: the one thing that must never be (design, principle 1)."""
    for row in view.rows(
        """
        select batch_id, feed, landed_rows, loaded_rows + quarantined_rows + released_rows + discarded_rows
            + duplicate_rows + erased_rows + refused_rows as explained_rows
        from ops.batches
        where state in ('loaded', 'published', 'held') and landed_rows <> loaded_rows + quarantined_rows
            + released_rows + discarded_rows + duplicate_rows + erased_rows + refused_rows
        """
    ):
        yield Finding(
            "ledger_unbalanced",
            f"ledger_unbalanced:{row['batch_id']}",
            "critical",
            f"Batch {row['batch_id']} of {row['feed']}: {row['landed_rows']:,} rows landed, "
            f"{row['explained_rows']:,} are accounted for",
            f"c360 why {row['batch_id']}",
            FEED_TABLES[row["feed"]],
            {"batch_id": row["batch_id"], "landed": row["landed_rows"], "explained": row["explained_rows"]},
        )


def _exists(view: View, table: str) -> bool:
    return bool(view.rows("select to_regclass(%(table)s) is not null as found", table=table)[0]["found"])


def look(view: View) -> list[Finding]:
    """Evaluate every registered condition.

    A condition that cannot be evaluated is itself a finding: a broken look must never read as "all is well".
    """
    found: list[Finding] = []
    for kind, evaluate in CONDITIONS.items():
        try:
            with view.connection.transaction():
                found.extend(evaluate(view))
        except Exception as error:  # whatever it is, on-call must hear that this look is blind
            found.append(
                Finding(
                    "condition_blind",
                    f"condition_blind:{kind}",
                    "warning",
                    f"The monitor cannot look for {kind}: {type(error).__name__}: {str(error).splitlines()[0][:200]}",
                    "c360 monitor --once",
                )
            )
    return found
