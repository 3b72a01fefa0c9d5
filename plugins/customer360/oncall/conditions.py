"""The states that must wake somebody, each found by looking at the warehouse and never by waiting to be told.

A task that is killed calls nobody, so no condition depends on the task that failed; none but the Airflow ones depends
on Airflow being alive. A condition yields one :class:`Finding` per cause. As long as it is found the incident is
open; when it is no longer found, it is closed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from psycopg.rows import dict_row

from customer360 import warehouse
from customer360.contract.feeds import FEEDS, RECORD_FEEDS
from customer360.front_door import landing, ledger, replay
from customer360.oncall.alerts import channels
from customer360.publication import published_layout
from customer360.publication.build import MISSING_FROM_RAW
from customer360.settings import Settings
from customer360.warehouse import Connection, query, roles
from customer360.warehouse.run_log import DIED
from customer360.warehouse.side_products import WHAT

Severity = Literal["critical", "warning", "info"]

EVERY_TABLE = ("marts.*",)
# A second file of the same name is given a number by `c360 land`: a~2.csv is the correction of a.csv.
_SAME_NAME = "regexp_replace({file_name}, '~[0-9]+(\\.[^/]*)?$', '\\1')"


# Commands that show something and change nothing: they are no fix, and nothing may call them one.
_LOOKS = (
    "c360 why",
    "c360 status",
    "c360 quarantine list",
    "c360 runbook",
    "c360 verify",
    "c360 receive status",
    "c360 source list",
)


# Two failures have one reason if they say the same but for numbers: of a row, of a batch.
_REASON = "left(md5(regexp_replace({error}, '[0-9]+', '#', 'g')), 8)"


def label_of(command: str) -> str:
    """What to call the command of an incident: "fix" where it mends it, "read first" where it only shows something."""
    return "read first" if command.startswith(_LOOKS) else "fix"


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
    follows: tuple[str, ...] = ()
    """Keys of causes (or kinds, ending in a colon) of which this would be a mere consequence: while one of them is
    found this one opens no incident of its own."""

    @property
    def runbook(self) -> str:
        """The page that says how to look, fix and prove, below docs/."""
        return f"runbooks/{self.kind}.md"

    @property
    def command_label(self) -> str:
        """What the command does for the incident: "fix" mends it, "read first" only shows what to decide on."""
        return label_of(self.command)

    def is_explained_by(self, keys: set[str]) -> bool:
        """Whether one of ``keys`` is a cause that this finding follows from."""
        return any(key == cause or (cause.endswith(":") and key.startswith(cause)) for cause in self.follows
                   for key in keys)  # fmt: skip


def graver_if(is_graver: bool, feed: str = "orders") -> Severity:
    """Critical for what is grave and of tier 1; a warning otherwise."""
    return "critical" if is_graver and FEEDS[feed].tier == 1 else "warning"


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
    """Whole files were refused, and no file of the same name has come since: one incident per feed and reason."""
    for row in view.rows(
        f"""
        select min(b.batch_id) as batch_id, b.feed, min(b.error) as error, sum(b.landed_rows)::bigint as rows,
            array_agg(b.batch_id order by b.batch_id) as batches,
            array_agg(b.file_name order by b.batch_id) as files, {_REASON.format(error="b.error")} as reason
        from ops.batches as b
        where b.state = 'refused' and not exists (
            select 1 from ops.batches as later
            where later.feed = b.feed and later.batch_id > b.batch_id
              and {_SAME_NAME.format(file_name="later.file_name")} = {_SAME_NAME.format(file_name="b.file_name")})
        group by b.feed, reason
        """
    ):
        yield Finding(
            "batch_refused",
            f"batch_refused:{row['feed']}:{row['reason']}",
            "warning",
            f"{_batches(row['batches'])} of {row['feed']} {'was' if len(row['batches']) == 1 else 'were'} refused: "
            f"{row['error']}",
            f"c360 why batch {row['batch_id']}",
            FEEDS[row["feed"]].published,
            {"batch_id": row["batch_id"], "batches": row["batches"][:20], "files": row["files"][:20],
             "rows": row["rows"]},
        )  # fmt: skip


def _batches(batch_ids: list[int]) -> str:
    """One batch by its number, several by their count and the first few numbers."""
    if len(batch_ids) == 1:
        return f"Batch {batch_ids[0]}"
    shown = ", ".join(map(str, batch_ids[:5])) + (", …" if len(batch_ids) > 5 else "")
    return f"{len(batch_ids)} batches ({shown})"


def _causes(error: str) -> tuple[str, ...]:
    """The incidents that an error of a load belongs to: one cause is one incident, however many batches it stops."""
    if "disk is full" in error or "No space left" in error:
        return ("disk_nearly_full:",)
    return ("rights_missing:",) if "permission denied" in error else ()


@condition("batch_failed")
def batch_failed(view: View) -> Iterator[Finding]:
    """A batch could not be loaded although it was not refused: the cause is ours, not the file's."""
    # While a batch is tried again it has no error and is neither good nor failed: the reason of its last failure is
    # gone, so that it keeps every incident of its feed open and opens none.
    trying = {
        row["feed"]: row["batches"]
        for row in view.rows(
            """
            select feed, array_agg(batch_id) as batches from ops.batches
            where state = 'landed' and attempts >= 2 group by feed
            """
        )
    }
    for row in view.rows(
        f"""
        select feed, min(batch_id) as batch_id, array_agg(batch_id order by batch_id) as batches,
            array_agg(file_name order by batch_id) as files, max(attempts) as attempts, min(error) as error,
            {_REASON.format(error="error")} as reason
        from ops.batches where state = 'failed' group by feed, reason
        """
    ):
        batch_ids = row["batches"]
        chosen = f"--batch {batch_ids[0]}" if len(batch_ids) == 1 else f"--feed {row['feed']} --state failed"
        yield Finding(
            "batch_failed",
            f"batch_failed:{row['feed']}:{row['reason']}",
            graver_if(row["attempts"] >= 3, row["feed"]),
            f"{_batches(batch_ids)} of {row['feed']} failed to load, {row['attempts']} tries: {row['error']}",
            f"c360 replay {chosen} --because 'the cause is gone'",
            FEEDS[row["feed"]].published,
            {"batch_id": row["batch_id"], "batches": batch_ids[:20], "files": row["files"][:20],
             "attempts": row["attempts"]},
            follows=_causes(row["error"]),
        )  # fmt: skip
    for known in view.rows(
        """
        select dedupe_key, severity, summary, command, tables, evidence from ops.incidents
        where kind = 'batch_failed' and closed_at is null
        """
    ):
        feed = known["dedupe_key"].split(":")[1]
        if set(known["evidence"].get("batches", ())) & set(trying.get(feed, ())):
            yield Finding("batch_failed", known["dedupe_key"], known["severity"], known["summary"], known["command"],
                          tuple(known["tables"]), known["evidence"], follows=(known["dedupe_key"],))  # fmt: skip


@condition("name_conflict")
def name_conflict(view: View) -> Iterator[Finding]:
    """A landed file was overwritten with other content. Both contents are kept; for an hour somebody should know."""
    for row in view.rows(
        """
        select batch_id, feed, file_name, state, warning from ops.batches
        where warning like '%%other content%%' and state not in ('duplicate', 'held')
          and (state in ('landed', 'failed') or landed_at > now() - interval '1 hour')
        """
    ):
        yield Finding(
            "name_conflict",
            f"name_conflict:{row['batch_id']}",
            "warning",
            f"Batch {row['batch_id']}: {row['feed']}/{row['file_name']} was overwritten after it had been read; "
            f"{row['warning']}",
            f"c360 why {row['batch_id']}",
            FEEDS[row["feed"]].published,
            {"batch_id": row["batch_id"], "file": row["file_name"]},
        )


@condition("files_waiting")
def files_waiting(view: View) -> Iterator[Finding]:
    """Finished files that lie in the landing zone and in no ledger: neither an event nor the sweep took them."""
    minutes = view.settings.files_waiting_minutes
    for feed in FEEDS:
        # A landed file must not change, so that one whose place is known is known; what the ledger entered and did
        # not finish is the business of batch_failed.
        lying = {file.location: file.modified_ns for file in landing.files(view.settings, feed)}
        known = {
            row["path"]
            for row in view.rows(
                "select path from ops.landing_seen where path = any(%(paths)s) and batch_id is not null",
                paths=list(lying),
            )
        }
        ages = [(time.time() - ns / 1e9) / 60 for path, ns in lying.items() if path not in known and ns]
        unloaded = view.rows(
            """
            select count(*) as batches, coalesce(max(extract(epoch from now() - landed_at)) / 60, 0)::float as minutes
            from ops.batches where feed = %(feed)s and state = 'landed'
            """,
            feed=feed,
        )[0]
        oldest = max([*ages, unloaded["minutes"]], default=0)
        if oldest > minutes:
            count = len(ages) + unloaded["batches"]
            yield Finding(
                "files_waiting",
                f"files_waiting:{feed}",
                graver_if(True, feed),
                f"{count} files of {feed} have waited up to {oldest:.0f} minutes to be loaded (objective {minutes})",
                "c360 run",
                FEEDS[feed].published,
                {"files": count, "minutes": round(oldest)},
            )


@condition("disk_nearly_full")
def disk_nearly_full(view: View) -> Iterator[Finding]:
    """The disk under C360_HOME, which holds the embedded warehouse, the landing zone and the logs, runs out of room."""
    usage = shutil.disk_usage(view.settings.home)
    wanted = view.settings.disk_free_mb * 1_000_000
    if usage.free < wanted:
        yield Finding(
            "disk_nearly_full",
            "disk_nearly_full:home",
            "critical" if usage.free < wanted / 4 else "warning",
            f"{usage.free / 1e9:.1f} GB are free on the disk of C360_HOME (wanted {wanted / 1e9:.1f} GB)",
            "c360 tidy",
            EVERY_TABLE,
            {"free_bytes": usage.free, "total_bytes": usage.total},
        )


@condition("gate_failed")
def gate_failed(view: View) -> Iterator[Finding]:
    """The newest run of a kind was stopped by a gate: what was published before stays, and grows old."""
    for row in _newest_runs(view):
        if row["state"] != "blocked":
            continue
        failing = view.rows(
            """
            select gate, suite, expectation, column_name, unexpected_count, outcome, detail from ops.gate_results
            where run_id = %(run)s and (outcome = 'crashed' or (outcome = 'failed' and severity = 'critical'))
            order by checked_at limit 5
            """,
            run=row["run_id"],
        )
        yield Finding(
            "gate_failed",
            f"gate_failed:{row['line']}",
            "critical",
            f"Run {row['run_id']} ({row['kind']}) was {'' if row['is_published'] else 'not '}published: {row['error']}",
            _first_command(row["next_step"]) or f"c360 why run {row['run_id']}",
            EVERY_TABLE,
            {"run_id": row["run_id"], "failing": failing, "next_step": row["next_step"]},
            follows=("raw_differs:",) if row["error"].startswith(MISSING_FROM_RAW) else (),
        )


@condition("run_failed")
def run_failed(view: View) -> Iterator[Finding]:
    """The newest run of a kind failed or died; its work waits for the next run."""
    for row in _newest_runs(view):
        if row["state"] != "failed":
            continue
        yield Finding(
            "run_failed",
            f"run_failed:{row['line']}",
            "critical" if row["failures"] >= 3 else "warning",
            f"Run {row['run_id']} ({row['kind']}) failed, {row['failures']} in a row: {row['error']}",
            # Another run helps where the cause passes by itself; a model that is wrong must be read and mended.
            _first_command(row["next_step"])
            or (f"c360 why run {row['run_id']}" if row["error"].startswith(("Model ", "The dbt project"))
                else "c360 run"),
            EVERY_TABLE,
            {"run_id": row["run_id"], "failures": row["failures"], "next_step": row["next_step"]},
            follows=("disk_nearly_full:",) if "53100" in row["error"] or "No space left" in row["error"] else (),
        )  # fmt: skip


def _first_command(next_step: str | None) -> str:
    """The first command that a next step names: on-call wants a line to paste, the sentence stands in the story."""
    import re

    found = re.search(r"`(c360 [^`]+)`", next_step or "")
    return found[1] if found else ""


def _newest_runs(view: View) -> list[dict[str, Any]]:
    """The newest run of each line, with how many have failed since the last good one.

    The lines are the live build, the daily tables and the churn model. An as-of build is not among them: it touches
    nothing that is published, and the person who asked for it saw it fail. A run that still says "running" while the
    lease of the writer is free has died. An idle run says nothing about a gate that was not passed: it found no
    work, and what the gate refused is unchanged.
    """
    return view.rows(
        """
        with told as (
            select run_id, kind, next_step, error,
                case when kind in ('build', 'rebuild') then 'build' else kind end as line,
                case when state = 'running' then 'failed'
                    when state = 'failed' and published_at is not null and error <> %(died)s
                        then 'blocked'  -- by the marts gate
                    else state end as state, published_at is not null as is_published
            from ops.runs
            where kind <> 'as_of' and (state <> 'running' or (
                kind <> 'fit' and started_at < now() - interval '15 seconds' and %(writer)s = ''))
        ),
        worked as (
            select * from told as t where state <> 'idle' or not exists (
                select from told as b where b.line = t.line and b.run_id < t.run_id and b.state = 'blocked'
                and not exists (select from told as g where g.line = t.line and g.state = 'succeeded'
                                and g.run_id between b.run_id and t.run_id))
        )
        select distinct on (r.line) r.line, r.kind, r.run_id, r.state, r.next_step, r.is_published,
            left(coalesce(r.error, 'the process died before it could say why'), 600) as error,
            (select count(*) from worked as f
             where f.line = r.line and f.state in ('failed', 'blocked') and f.run_id > coalesce(
                (select max(g.run_id) from worked as g
                 where g.line = r.line and g.state in ('succeeded', 'idle')), 0)) as failures
        from worked as r order by r.line, r.run_id desc
        """,
        writer=warehouse.holder(view.connection),
        died=DIED,
    )


@condition("run_stuck")
def run_stuck(view: View) -> Iterator[Finding]:
    """A run holds the lease of the writer for longer than any run should."""
    for row in view.rows(
        """
        select run_id, kind, trigger, extract(epoch from now() - started_at)::bigint as seconds
        from ops.runs where state = 'running' and started_at < now() - make_interval(mins => %(minutes)s)
          and %(writer)s <> ''
        """,
        minutes=view.settings.run_stuck_minutes,
        writer=warehouse.holder(view.connection),
    ):
        yield Finding(
            "run_stuck",
            f"run_stuck:{row['run_id']}",
            "critical",
            f"Run {row['run_id']} ({row['kind']}, {row['trigger']}) has been writing for {row['seconds'] // 60} min",
            f"c360 why run {row['run_id']}",
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
            FEEDS[row["feed"]].published,
            {"rows": row["quarantined"], "landed": row["landed"], "batches": (row["batches"] or [])[:10]},
        )


@condition("rows_isolated")
def rows_isolated(view: View) -> Iterator[Finding]:
    """A run took rows out of the build because they stopped it, and they wait in quarantine, or their batch is held."""
    for row in view.rows(
        """
        select b.batch_id, b.feed, b.file_name, b.state,
            count(q.quarantine_id) as rows,
            (array_agg(q.row_number order by q.row_number) filter (where q.row_number is not null))[:20] as row_numbers,
            coalesce(min(r.reason ->> 'message'), min(a.because)) as because
        from ops.batches as b
        left join quarantine.rows as q on q.batch_id = b.batch_id and q.state = 'open'
            and q.reasons @> '[{"rule": "isolated"}]'
        left join lateral (select q.reasons -> 0 as reason) as r on true
        left join lateral (
            select because from ops.batch_actions as acted
            where acted.batch_id = b.batch_id and acted.acted_by = 'isolation' and b.state = 'held'
            order by acted.action_id desc limit 1
        ) as a on true
        where b.batch_id in (select batch_id from ops.batch_actions where acted_by = 'isolation')
            and (q.quarantine_id is not null or a.because is not null)
        group by b.batch_id
        """
    ):
        what = "is held" if row["state"] == "held" else f"has {row['rows']:,} quarantined rows that stopped a build"
        yield Finding(
            "rows_isolated",
            f"rows_isolated:{row['batch_id']}",
            graver_if(row["state"] == "held", row["feed"]),
            f"Batch {row['batch_id']} of {row['feed']} {what}: {row['because']}",
            f"c360 quarantine list --batch {row['batch_id']}" if row["rows"] else f"c360 why {row['batch_id']}",
            FEEDS[row["feed"]].published,
            {"batch_id": row["batch_id"], "file": row["file_name"], "rows": row["rows"],
             "row_numbers": row["row_numbers"]},
        )  # fmt: skip


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
            graver_if(row["minutes"] >= 2 * row["objective_minutes"], row["feed"]),
            f"Nothing has landed for {row['feed']} for {row['minutes'] // 60} h {row['minutes'] % 60} min "
            f"(objective {row['objective_minutes'] // 60} h)",
            "c360 status",
            FEEDS[row["feed"]].published,
            {"last_landed_at": row["last_at"].isoformat(), "minutes": row["minutes"]},
        )


@condition("marts_stale")
def marts_stale(view: View) -> Iterator[Finding]:
    """What has landed waits too long for its publication, or the daily tables are of an earlier day."""
    for row in view.rows(
        """
        select count(*) as batches, (extract(epoch from now() - min(loaded_at)) / 60)::bigint as minutes,
            min(o.objective_minutes) as objective, array_agg(distinct feed) as feeds, min(batch_id) as oldest
        from ops.unpublished_batches, (select objective_minutes from ops.freshness_objectives
                                       where subject = 'customer_360' and measure = 'publication') as o
        having min(loaded_at) < now() - make_interval(mins => min(o.objective_minutes))
        """
    ):
        yield Finding(
            "marts_stale",
            "marts_stale:publication",
            "critical",
            f"{row['batches']} loaded batches have waited up to {row['minutes']} minutes to be published "
            f"(objective {row['objective']})",
            "c360 run",
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
    """Orders without an exchange rate are counted but in no sum."""
    for row in view.rows(
        """
        select currency, sum(order_count)::bigint as orders, sum(original_gross_amount) as amount,
            min(ordered_on) as since_on
        from marts.unconverted_totals group by currency having sum(original_gross_amount) > 0
        """
        if _exists(view, "marts.unconverted_totals")
        else "select where false"
    ):
        yield Finding(
            "currency_without_rate",
            f"currency_without_rate:{row['currency']}",
            "warning",
            f"{row['orders']:,} orders of {row['amount']:,.2f} {row['currency']} have no rate to "
            f"{view.settings.reporting_currency} since {row['since_on']}: they are in no sum of money",
            "c360 rates list",
            ("marts.fct_orders", "marts.customer_360", "marts.fct_daily_revenue"),
            {
                "currency": row["currency"],
                "orders": row["orders"],
                "amount": str(row["amount"]),
                "since_on": str(row["since_on"]),
            },
        )


@condition("id_conflict")
def id_conflict(view: View) -> Iterator[Finding]:
    """Two records share one id: a version has changed what never changes, and the older record is in no figure."""
    for feed in RECORD_FEEDS.values():
        if not _has_column(view, f"marts.{feed.fact}", "has_id_conflict"):
            continue
        found = view.rows(
            f"""
            select count(*) as records, max(batch_id) as batch_id,
                (array_agg({feed.key} order by batch_id desc, {feed.key}))[:5] as keys
            from marts.{feed.fact} where has_id_conflict
            """
        )[0]
        if not found["records"] or found["records"] < view.settings.id_conflict_alert_records:
            continue
        yield Finding(
            "id_conflict",
            f"id_conflict:{feed.name}",
            graver_if(False, feed.name),
            f"{found['records']:,} ids of {feed.name} stand for two records each: {feed.seen_at} and "
            f"{' or '.join(feed.owner)} have changed; the older record is not counted",
            f"c360 why {found['batch_id']}",
            feed.published,
            {"feed": feed.name, "records": found["records"], "keys": found["keys"], "batch_id": found["batch_id"]},
        )


@condition("sessions_counted_twice")
def sessions_counted_twice(view: View) -> Iterator[Finding]:
    """One source lands sessions, and events of which sessions are built: each visit counts twice."""
    if not _has_column(view, "marts.fct_sessions", "is_built"):
        return
    for row in view.rows(
        """
        select events.source, events.last_on, landed.batch_id
        from (
            select source, max(traffic_on) as last_on from marts.fct_daily_web_traffic
            where session_count > 0 group by source
        ) as events
        cross join lateral (
            select batch_id from marts.fct_sessions as fact
            where fact.source = events.source and not fact.is_built order by fact.batch_id desc limit 1
        ) as landed
        """
    ):
        yield Finding(
            "sessions_counted_twice",
            f"sessions_counted_twice:{row['source']}",
            graver_if(False, "web_sessions"),
            f"The source {row['source'] or '(none)'} lands sessions, and web events of which sessions are built: "
            "its visits count twice",
            f"c360 why {row['batch_id']}",
            FEEDS["web_events"].published,
            {"source": row["source"], "batch_id": row["batch_id"], "last_on": str(row["last_on"])},
        )


@condition("ledger_unbalanced")
def ledger_unbalanced(view: View) -> Iterator[Finding]:
    """A batch whose rows do not add up: the one thing that must never be (architecture, principle 1)."""
    for row in view.rows(
        """
        select batch_id, feed, landed_rows, loaded_rows + quarantined_rows + released_rows + discarded_rows
            + duplicate_rows + erased_rows + refused_rows as explained_rows
        from ops.batches
        where landed_rows <> loaded_rows + quarantined_rows
            + released_rows + discarded_rows + duplicate_rows + erased_rows + refused_rows
        """
    ):
        yield Finding(
            "ledger_unbalanced",
            f"ledger_unbalanced:{row['batch_id']}",
            "critical",
            f"Batch {row['batch_id']} of {row['feed']}: {row['landed_rows']:,} rows landed, "
            f"{row['explained_rows']:,} are accounted for",
            f"c360 replay --batch {row['batch_id']} --because 'its rows do not add up'",
            FEEDS[row["feed"]].published,
            {"batch_id": row["batch_id"], "landed": row["landed_rows"], "explained": row["explained_rows"]},
        )


@condition("raw_differs")
def raw_differs(view: View) -> Iterator[Finding]:
    """Raw has fewer or more rows of a batch than the ledger counts: somebody has changed it by hand, or the disk has.

    Rows are counted only after rows of a feed were deleted, changed or its table exchanged.
    """
    by_feed: dict[str, list[ledger.Imbalance]] = {}
    for one in ledger.raw_imbalances(view.connection, only_changed=True):
        by_feed.setdefault(one.feed, []).append(one)
    for feed, found in by_feed.items():
        lost = sum(max(0, one.expected - one.found) for one in found)
        extra = sum(max(0, one.found - one.expected) for one in found)
        counts = " and ".join([f"lacks {lost:,} of the loaded rows"] * bool(lost) + [f"has {extra:,} too many"] *
                              bool(extra))  # fmt: skip
        batch_ids = [one.batch_id for one in found]
        yield Finding(
            "raw_differs",
            f"raw_differs:{feed}",
            "critical",
            f"raw.{feed} {counts}: {_batches(batch_ids)}",
            replay.bring_back(batch_ids[0]).strip("`"),
            FEEDS[feed].published,
            {"batch_id": batch_ids[0], "batches": batch_ids[:20], "lost": lost, "extra": extra},
            follows=(f"ledger_unbalanced:{batch_ids[0]}",) if len(batch_ids) == 1 else (),
        )


def _some_of(found: list[str]) -> str:
    return "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")


@condition("marts_changed")
def marts_changed(view: View) -> Iterator[Finding]:
    """A published table has other columns than its last publication left: somebody has changed it by hand."""
    if found := published_layout.changed(view.connection):
        yield Finding(
            "marts_changed",
            "marts_changed:columns",
            "critical",
            f"Columns of published tables were changed by hand: {_some_of(found)}",
            "c360 run",
            tuple(sorted({".".join(one.split(" ")[0].split(".")[:2]) for one in found})),
            {"columns": found[:50]},
        )  # fmt: skip


@condition("rights_missing")
def rights_missing(view: View) -> Iterator[Finding]:
    """A role of the pipeline or of the readers lacks a right on a table that set-up gave it."""
    if found := roles.missing_grants(view.connection, view.settings):
        yield Finding(
            "rights_missing",
            "rights_missing:tables",
            "critical",
            f"Rights on tables were taken away: {_some_of(found)}",
            "c360 set-up",
            tuple(sorted({one.rsplit(" ", 1)[1] for one in found})),
            {"rights": found[:50]},
        )  # fmt: skip


@condition("backup_old")
def backup_old(view: View) -> Iterator[Finding]:
    """The last good backup is half as old again as the schedule of backups allows, or there is none."""
    hours = view.settings.backup_hours
    if not view.settings.backup_url or not hours:
        return
    for row in view.rows(
        """
        select (extract(epoch from now() - max(taken_at)) / 3600)::bigint as hours, max(taken_at) as taken_at,
            (select error from ops.backups where state = 'failed' order by backup_id desc limit 1) as error
        from ops.backups where state = 'succeeded'
        having coalesce(max(taken_at), '-infinity') < now() - make_interval(mins => %(minutes)s)
            -- a warehouse without data has nothing to lose
            and exists (select from ops.publications where published_at < now() - make_interval(mins => %(minutes)s))
        """,
        minutes=hours * 90,
    ):
        last = "There is no backup" if row["taken_at"] is None else f"The last good backup is {row['hours']} hours old"
        because = f"; the last try failed: {row['error']}" if row["error"] else ""
        yield Finding(
            "backup_old",
            "backup_old:warehouse",
            graver_if(row["taken_at"] is None or row["hours"] >= 3 * hours),
            f"{last} (every {hours} hours){because}",
            "c360 backup",
            (),
            {"last_taken_at": row["taken_at"] and row["taken_at"].isoformat(), "error": row["error"]},
            follows=("disk_nearly_full:",) if "No space left" in (row["error"] or "") else (),
        )


# Most laws give a month to answer a request; who is called after a week has time to find out what it asks.
_REQUEST_DAYS, _REQUEST_LATE_DAYS = 7, 21


@condition("erasure_unfinished")
def erasure_unfinished(view: View) -> Iterator[Finding]:
    """An erasure was cut off, so that parts of the person are still there; or a request for one waits too long."""
    for row in view.rows(
        "select erasure_id, began_at from state.erasures where state <> 'finished' "
        "and began_at < now() - interval '15 minutes' order by 1"
    ):
        yield Finding(
            "erasure_unfinished",
            f"erasure_unfinished:{row['erasure_id']}",
            "critical",
            f"Erasure {row['erasure_id']} began at {row['began_at']:%Y-%m-%d %H:%M} UTC and is not finished",
            "c360 erase --resume",
            (),
            {"erasure_id": row["erasure_id"]},
        )
    for row in view.rows(
        """
        select count(*) as waiting, min(request_id) as request_id, min(requested_at) as requested_at,
            (extract(epoch from now() - min(requested_at)) / 86400)::bigint as days
        from state.erasure_requests where state = 'open' and requested_at < now() - make_interval(days => %(days)s)
        having count(*) > 0
        """,
        days=_REQUEST_DAYS,
    ):
        yield Finding(
            "erasure_unfinished",
            "erasure_unfinished:requests",
            graver_if(row["days"] >= _REQUEST_LATE_DAYS),
            f"{row['waiting']} requests to erase a person wait, the oldest for {row['days']} days",
            "c360 erase requests",
            (),
            {"request_id": row["request_id"], "requests": row["waiting"]},
        )


def _has_column(view: View, table: str, column: str) -> bool:
    return bool(
        view.rows(
            """
            select exists (select from pg_attribute where attrelid = to_regclass(%(table)s) and attname = %(column)s
                           and not attisdropped) as found
            """,
            table=table,
            column=column,
        )[0]["found"]
    )


_WHO_MISSES: dict[str, tuple[str, ...]] = {
    "report": ("marts.customer_360",),
    "churn_picture": ("marts.customer_churn",),
    "history": ("marts.loyalty_tier_by_month", "marts.lifecycle_stage_by_month", "marts.relationship_ladder_by_month"),
}
# An alert is tried again with growing pauses; the third failure in a row is no hiccup.
_FAILED_DELIVERIES = 3


@condition("side_product_failed")
def side_product_failed(view: View) -> Iterator[Finding]:
    """Something beside the tables cannot be made or delivered. What is published is not affected."""
    for row in view.rows(
        "select product, failing_since, failures, error from ops.side_product_failures order by product"
    ):
        yield Finding(
            "side_product_failed",
            f"side_product_failed:{row['product']}",
            "critical" if row["product"] == "alerts" else "warning",
            f"Side product {WHAT[row['product']]}: cannot be made since {row['failing_since']:%Y-%m-%d %H:%M} UTC, "
            f"{row['failures']} tries: {row['error']}",
            "c360 side-products",
            _WHO_MISSES.get(row["product"], ()),
            {"product": row["product"], "failures": row["failures"]},
        )
    for row in view.rows(
        """
        select channel, count(*) as alerts, max(attempts) as attempts, max(error) as error from ops.alert_deliveries
        where sent_at is null and attempts >= %(failures)s and channel = any(%(channels)s) group by channel
        """,
        failures=_FAILED_DELIVERIES,
        channels=[channel.name for channel in channels(view.settings)],
    ):
        yield Finding(
            "side_product_failed",
            f"side_product_failed:alerts.{row['channel']}",
            "critical",
            f"{row['alerts']} alerts cannot be delivered to the {row['channel']} channel, "
            f"{row['attempts']} tries: {row['error']}",
            "c360 side-products",
            (),
            {"product": "alerts", "channel": row["channel"], "alerts": row["alerts"]},
        )


def _exists(view: View, table: str) -> bool:
    return bool(view.rows("select to_regclass(%(table)s) is not null as found", table=table)[0]["found"])


def blind(what: str, error: Exception, command: str) -> Finding:
    """The finding that something could not be looked at."""
    words = (str(error).splitlines() or ["no message"])[0][:200]
    return Finding(
        "condition_blind",
        f"condition_blind:{what}",
        "warning",
        f"The monitor cannot look at {what}: {type(error).__name__}: {words}",
        command,
    )


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
            found.append(blind(kind, error, "c360 monitor --once"))
    return found
