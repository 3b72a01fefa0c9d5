"""``c360 verify``: the first two principles, recounted on the warehouse as it stands.

Principle 1: no row is lost. Principle 2 (``full``): what many small runs have made is what one whole build makes.
Everything is counted from the rows, in one snapshot, with SQL that shares nothing with the models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from customer360 import warehouse
from customer360.contract.feeds import FEEDS, Feed
from customer360.front_door import ledger, replay
from customer360.models import runner
from customer360.progress import Progress, Silent
from customer360.publication import control_totals, published_layout
from customer360.publication.build import published_tables
from customer360.publication.copies import build_copy, drop_copy
from customer360.publication.daily import JOURNALS
from customer360.publication.publish import PublishedTable
from customer360.settings import Settings
from customer360.warehouse import Connection, dirty, query, scalar

SCRATCH = "verify_full"
_SHOWN = 5


@dataclass
class Check:
    """One thing that must hold, what was counted for it, and the rows that break it."""

    name: str
    holds: bool
    counted: str
    broken: list[str] = field(default_factory=list)
    next_step: str = ""
    is_aside: bool = False
    """Whether it was left out, for the reason in ``counted``."""


@dataclass
class Money:
    """One currency's orders less refunds, in that currency: what was landed and where it is published."""

    currency: str
    raw: Decimal
    attributed: Decimal
    unattributed: Decimal
    cancelled: Decimal
    deleted: Decimal
    """Of ``raw``, orders that their source has deleted: in no published figure."""

    @property
    def difference(self) -> Decimal:
        """What is in raw and nowhere in marts; 0 when nothing is lost."""
        return self.raw - self.attributed - self.unattributed - self.cancelled - self.deleted


@dataclass
class Report:
    """The outcome of a verification."""

    checks: list[Check] = field(default_factory=list)
    money: list[Money] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether everything holds."""
        return all(check.holds for check in self.checks)


def verify(settings: Settings, *, full: bool = False, progress: Progress | None = None) -> Report:
    """Recount principle 1, and with ``full`` build everything anew beside and compare (principle 2).

    It holds the writer lock, so that nothing is published meanwhile; loads go on beside it.

    Raises:
        warehouse.WriterBusyError: a build does not end.
    """
    progress = progress or Silent()
    with warehouse.writer_lock(settings, who="verify"):
        report = _recount(settings, progress)
        if full:
            report.checks += _compare_with_a_full_build(settings, progress)
    return report


def _recount(settings: Settings, progress: Progress) -> Report:
    report = Report()
    tables = published_tables(settings)
    with warehouse.connect("owner", settings) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        progress.stage("ledger")
        report.checks.append(_ledger(connection))
        pending = _pending(connection)
        report.checks += pending
        if changed := published_layout.changed(connection):
            report.checks.append(
                Check("marts have the columns of their publication", False, "", changed, "`c360 run`, then this again")
            )
            return report  # what is compared below needs the columns
        if not scalar(connection, "select exists (select from ops.live_build)"):
            return report  # nothing is published, or a whole build is due: there is nothing to compare with
        if missing := _missing_tables(connection, settings):
            report.checks.append(
                Check("the tables that the build made are there", False, "", missing, "`c360 run --full-refresh`")
            )
            return report  # they are what the published ones are compared with
        progress.stage("ids", len(FEEDS))
        for feed in FEEDS.values():
            report.checks += _ids(connection, feed)
            progress.step(feed.name)
        progress.stage("money")
        report.money = _money(connection)
        report.checks.append(_money_check(report.money))
        report.checks.append(_control_totals(connection))
        progress.stage("candidate = marts", len(tables))
        same: list[Check] = []
        known: list[Check] = []
        for table in tables:
            same.append(_same_as_candidate(connection, table))
            known += _customers_exist(connection, table)
            progress.step(table.name)
        report.checks += [_together("marts = candidate, row by row", same), _together("every customer exists", known)]
        report.checks.append(_together("published journals = journals, row by row", list(_journals(connection))))
    return report


def _missing_tables(connection: Connection, settings: Settings) -> list[str]:
    """The tables behind the published ones that a build makes and that somebody has dropped since."""
    names = [
        f"{table.schema}.{table.name}"
        for table in runner.model_tables(settings)
        if not {"staging", "live"}.isdisjoint(table.tags)
    ]
    rows = connection.execute(
        "select name from unnest(%s::text[]) as name where to_regclass(name) is null order by name", [names]
    )
    return [name for (name,) in rows.fetchall()]


def _together(name: str, checks: list[Check]) -> Check:
    """One check of many tables, whose names stand before what breaks it."""
    broken = [f"{check.name}: {row}" for check in checks if not check.holds for row in check.broken or ["?"]]
    asides = [f"{check.name}: {check.counted}" for check in checks if check.is_aside]
    return Check(
        name,
        all(check.holds for check in checks),
        "; ".join([f"{len(checks) - len(asides)} tables", *asides]),
        broken,
        next((check.next_step for check in checks if not check.holds), ""),
    )


def _ledger(connection: Connection) -> Check:
    imbalances = ledger.check(connection)
    batches = scalar(connection, "select count(*) from ops.batches")
    return Check(
        "every landed row is accounted for",
        not imbalances,
        f"{batches:,} batches",
        [str(imbalance) for imbalance in imbalances],
        f"{replay.bring_back(imbalances[0].batch_id)}, then `c360 run` and this again" if imbalances else "",
    )


def _pending(connection: Connection) -> list[Check]:
    """What waits is no fault; it is told, because the rest is counted without it."""
    waiting = scalar(connection, "select count(*) from ops.batches where state in ('landed', 'loaded')")
    keys = scalar(connection, "select count(*) from ops.dirty")
    held = scalar(connection, "select count(*) from ops.batches where state = 'held'")
    told = f"{waiting:,} batches and {keys:,} keys wait for a run, {held:,} batches are held"
    return [Check("what is not published yet", True, told)]


def _ids(connection: Connection, feed: Feed) -> Iterator[Check]:
    """Every record in raw or in the archive is once in staging, and once in the facts unless its source deleted it.

    Held batches and due keys are left out.
    """
    key, facts = feed.key, f"marts.{feed.fact}"
    # Records that were built from another feed's are not landed: _built counts them.
    landed = "not is_built" if feed.name in {one.built_into for one in FEEDS.values()} else "true"
    due = f"not in {dirty.keys(feed.scope)}"
    known = f"""
        select distinct {key} as id from raw.{feed.name} join ops.visible_batches using (batch_id) where {key} {due}
        union
        select {key} from {feed.frozen} where {key} {due}
    """
    deleted = scalar(connection, f"select count(*) from ({_deleted(feed)}) as deleted")
    tables = [(f"staging.{feed.staged}", known)]
    if not feed.built_into:
        tables.append((facts, f"{known} except select id from ({_deleted(feed)}) as deleted"))
    for table, wanted in tables:
        without = f", without {deleted:,} that their source has deleted" if deleted and table == facts else ""
        yield _none(
            connection,
            f"each {feed.scope} of raw is in {table}{without}",
            f"""
            select coalesce('lost ' || lost.id, 'invented ' || found.{key}) as broken from ({wanted}) as lost
            full join (select {key} from {table} where {landed} and {key} {due}) as found on found.{key} = lost.id
            where lost.id is null or found.{key} is null
            """,
            counted=f"{scalar(connection, f'select count(*) from {table}'):,} ids",
            next_step="`c360 run --full-refresh` builds every table from raw anew",
        )
    if feed.built_into:
        yield _built(connection)
        return
    yield _none(
        connection,
        f"each {feed.scope} is of the customer that identity says",
        f"""
        select {key} as broken
        from {facts} as fact
        left join identity.records as record on record.record_type = '{feed.scope}' and record.record_id = fact.{key}
        where fact.{key} {due} and record.customer_key is distinct from fact.customer_key
        """,
        counted="",
        next_step="`c360 run --full-refresh` resolves who is who anew",
    )
    yield _none(
        connection,
        f"each {feed.scope} is in {facts} once",
        f"select {key} as broken from {facts} group by {key} having count(*) > 1",
        counted=f"{scalar(connection, f'select count(*) from {facts} where customer_key is null'):,} belong to nobody",
        next_step="`c360 run --full-refresh`",
    )


def _built(connection: Connection) -> Check:
    """Every event that its source has not deleted is in one session, and every built session in the facts or left out.

    Streams that are due are not looked at.
    """
    due = f"not in {dirty.keys('stream')}"
    counts = connection.execute(
        query(f"""
        select sum(event_count), sum(event_count) filter (where left_out_as is not null),
            count(*) filter (where left_out_as is null), count(*) filter (where left_out_as is not null)
        from intermediate.int_sessions__built where stream_key {due}
        """)
    ).fetchone()
    in_sessions, left_out_events, visits, left_out = (int(count or 0) for count in counts or (0, 0, 0, 0))
    return _none(
        connection,
        "each event is in a session, and each session that was built in marts.fct_sessions or left out",
        f"""
        with streams as (
            select stream_key, sum(event_count) as events from (
                select stream_key, 1 as event_count
                from staging.stg_web_events where not is_deleted and stream_key {due}
                union all
                select stream_key, -event_count from intermediate.int_sessions__built where stream_key {due}
            ) as counted group by stream_key
        )
        select 'events of stream ' || stream_key as broken from streams where events <> 0
        union all
        select coalesce('lost ' || built.session_key, 'invented ' || fact.session_key)
        from (
            select session_key from intermediate.int_sessions__built as built
            where left_out_as is null and stream_key {due} and session_key not in {dirty.keys("session")}
        ) as built
        full join (
            select session_key from marts.fct_sessions where is_built and session_key not in {dirty.keys("session")}
        ) as fact using (session_key)
        where (built.session_key is null or fact.session_key is null) and not exists (
            select from staging.stg_web_sessions as landed
            where landed.session_key = built.session_key and not landed.is_built)
        """,
        counted=f"{in_sessions:,} events in {visits + left_out:,} sessions, of which {left_out_events:,} in "
        f"{left_out:,} that are left out",
        next_step="`c360 run --full-refresh` builds every session from its events anew",
    )


def _deleted(feed: Feed) -> str:
    """Give SQL for the keys (``id``) of records whose latest version is a deletion.

    Of versions with one updated_at the one that staging chose counts.
    """
    versions = f"""
        select {feed.key}, updated_at, coalesce(deleted, false) as is_deleted, batch_id, row_number
        from raw.{feed.name} join ops.visible_batches using (batch_id)
        union all
        select {feed.key}, updated_at, is_deleted, batch_id, row_number from {feed.frozen}
    """
    return f"""
        select id from (
            select distinct on (v.{feed.key}) v.{feed.key} as id, v.is_deleted from ({versions}) as v
            left join staging.{feed.staged} as s using ({feed.key})
            where v.{feed.key} in (select {feed.key} from ({versions}) as any_version where is_deleted)
            order by v.{feed.key}, v.updated_at desc,
                (v.batch_id = s.batch_id and v.row_number = s.row_number) desc
        ) as latest where is_deleted
    """


def _money(connection: Connection) -> list[Money]:
    """Per currency, of the orders that are not due: raw's latest versions against the published facts."""
    rows = connection.execute(
        query(
            f"""
            with versions as (
                select order_key, updated_at, batch_id, row_number, currency, total_amount, status, refunds,
                    coalesce(deleted, false) as is_deleted
                from raw.orders join ops.visible_batches using (batch_id)
                union all
                select order_key, updated_at, batch_id, row_number, currency, total_amount, status, refunds, is_deleted
                from state.frozen_orders
            ),
            raw_orders as (
                -- Of versions with one updated_at the one that staging chose: which it is, is no question of money.
                select distinct on (r.order_key) r.order_key, r.currency, r.total_amount, r.status, r.refunds,
                    r.is_deleted
                from versions as r left join staging.stg_orders as s using (order_key)
                where r.order_key not in {dirty.keys("order")}
                order by r.order_key, r.updated_at desc,
                    (r.batch_id = s.batch_id and r.row_number = s.row_number) desc
            ),
            landed as (
                select currency, sum(amount) as amount, sum(amount) filter (where is_deleted) as deleted
                from (
                    select currency, is_deleted,
                        total_amount - case when status = 'cancelled' then 0 else coalesce((
                            select sum((refund ->> 'amount')::numeric) from jsonb_array_elements(refunds) as refund
                        ), 0) end as amount
                    from raw_orders
                ) as netted group by currency
            ),
            published as (
                select currency,
                    sum(original_total_amount - original_refunded_amount)
                        filter (where not is_cancelled and customer_key is not null) as attributed,
                    sum(original_total_amount - original_refunded_amount)
                        filter (where not is_cancelled and customer_key is null) as unattributed,
                    sum(original_total_amount) filter (where is_cancelled) as cancelled
                from marts.fct_orders where order_key not in {dirty.keys("order")}
                group by currency
            )
            select currency, coalesce(amount, 0), coalesce(attributed, 0), coalesce(unattributed, 0),
                coalesce(cancelled, 0), coalesce(deleted, 0)
            from landed full join published using (currency) order by currency
            """
        )
    ).fetchall()
    return [Money(*row) for row in rows]


def _money_check(money: list[Money]) -> Check:
    broken = [f"{one.currency}: {one.difference:,} of {one.raw:,} is missing" for one in money if one.difference]
    return Check(
        "money: raw = attributed + unattributed + cancelled + deleted, less refunds",
        not broken,
        ", ".join(f"{one.raw:,.2f} {one.currency}" for one in money) or "no order",
        broken,
        "`c360 run --full-refresh`, then `c360 verify`; tell finance what differed" if broken else "",
    )


def _control_totals(connection: Connection) -> Check:
    """The totals that publications moved by their differences are what the tables add up to, and they foot."""
    kept = {
        (measure, source): total
        for measure, source, total in connection.execute("select measure, source, total from ops.control_totals")
    }
    counted = control_totals.recount(connection)
    broken = [
        f"{measure} of {source}: kept {kept.get((measure, source), 'none')}, counted {total}"
        for (measure, source), total in counted.items()
        if kept.get((measure, source)) != total
    ]
    for measure in {measure for measure, _ in counted}:
        facts = counted[measure, "facts"]
        others = counted[measure, "customers"] + counted[measure, "unattributed"]
        if facts != others:
            broken.append(f"{measure}: facts {facts}, customers and unattributed {others}")
    return Check(
        "control totals = recount; facts = customers + unattributed",
        not broken,
        f"{len(counted)} totals",
        broken,
        "something other than a publication changed marts: `c360 run --full-refresh`" if broken else "",
    )


def _same_as_candidate(connection: Connection, table: PublishedTable) -> Check:
    """The published rows are the built ones, but for keys that are due."""
    due = "false"
    if table.is_live and table.scope:
        due = f"{table.scope_key} in {dirty.keys(table.scope)}"
    elif "customer_key" in _columns(connection, table.schema, table.name):
        # Daily rows of customers who were merged or erased since the last daily pass are published no more.
        due = "customer_key not in (select customer_key from candidate.customer_360)"
    return _equal(connection, table, f"{table.source_schema}.{table.name}", aside=due)


def _journals(connection: Connection) -> Iterator[Check]:
    """What is published of the journals is what was written; a pass that wrote and did not publish is told of."""
    waits = scalar(
        connection,
        """
        select exists (
            select from ops.runs where kind = 'daily' and state not in ('succeeded', 'idle') and started_at > (
                select coalesce(max(published_at), '-infinity') from ops.publications where kind = 'daily'))
        """,
    )
    for table in JOURNALS:
        if waits:
            yield Check(str(table), True, "not compared, a daily pass was cut off", is_aside=True)
        else:
            yield _equal(connection, table, f"{table.source_schema}.{table.name}")


def _customers_exist(connection: Connection, table: PublishedTable) -> Iterator[Check]:
    columns = _columns(connection, table.schema, table.name)
    # The crosswalk alone has keys of customers who are no more, and beside each whose it is now.
    key = "present_customer_key" if "present_customer_key" in columns else "customer_key"
    if key in columns and table.name != "customer_360":
        yield _none(
            connection,
            str(table),
            f"""
            select distinct {key}::text as broken from {table} as t
            where {key} is not null and not exists (
                select from marts.customer_360 as c where c.customer_key = t.{key})
            """,
            next_step="`c360 run --full-refresh`",
        )


def _compare_with_a_full_build(settings: Settings, progress: Progress) -> list[Check]:
    """Build everything anew in a scratch schema and compare each published table with it, row by row."""
    with warehouse.connect("transformer", settings, autocommit=True) as connection:
        day, is_current = _last_daily_pass(connection)
        if scalar(connection, _IS_DUE):
            return [Check("marts = a full build", False, "a build is not finished", [], "`c360 run`, then this again")]
    try:
        build_copy(settings, SCRATCH, as_of_on=day or settings.today(), run_id=None, progress=progress)
        tables = published_tables(settings)
        progress.stage("compare with a full build", len(tables))
        checks = []
        with warehouse.connect("owner", settings) as connection:
            for table in tables:
                if table.is_live or is_current:
                    # Figures of the last daily pass are those of its moment: later runs do not move them.
                    without = () if is_current else _daily_columns(settings, table)
                    checks.append(_equal(connection, table, f"{SCRATCH}.{table.name}", without=without))
                else:
                    told = "not compared, it is older than the last publication"
                    checks.append(Check(str(table), True, told, is_aside=True))
                progress.step(table.name)
        return [_together("marts = a full build, row by row", checks)]
    finally:
        drop_copy(settings, SCRATCH)


_IS_DUE = """
    select exists (select from ops.dirty) or not exists (select from ops.live_build)
        or exists (select from ops.unpublished_batches where is_claimed)
"""


def _last_daily_pass(connection: Connection) -> tuple[date | None, bool]:
    """The date of the last daily pass, and whether nothing was published after it."""
    row = connection.execute(
        """
        select as_of_on, publication_id = (select max(publication_id) from ops.publications)
        from ops.publications where kind = 'daily' order by publication_id desc limit 1
        """
    ).fetchone()
    return (row[0], row[1]) if row else (None, False)


def _daily_columns(settings: Settings, table: PublishedTable) -> tuple[str, ...]:
    """Columns of a live table that the daily pass fills: their description ends with "Daily."."""
    from customer360.models import runner

    (model,) = (one for one in runner.model_tables(settings) if one.name == table.name)
    marked = [name for name, text in model.column_descriptions.items() if text.endswith("Daily.")]
    return (*marked, "as_of_on") if marked else ()


def _equal(
    connection: Connection,
    table: PublishedTable,
    left: str,
    *,
    aside: str = "false",
    without: tuple[str, ...] = (),
) -> Check:
    """Whether a published table has the rows of ``left``, in all columns but ``without``, rows ``aside`` left out."""
    right = str(table)
    columns = [name for name in _columns(connection, *left.split(".")) if name not in without]
    if not _columns(connection, *right.split(".")):
        return Check(right, True, "not published yet", is_aside=True)
    listed = ", ".join(f'"{name}"' for name in columns)
    one, other = (f"select {listed} from {table_name} where not ({aside})" for table_name in (left, right))
    # Of personal data only whose it is.
    shown = table.primary_key if table.schema == "marts" else table.primary_key[:1]
    differing = f"""
        select distinct {" || ' ' || ".join(f'"{name}"::text' for name in shown)} as broken
        from (({one} except all {other}) union all ({other} except all {one})) as differing
    """
    check = _none(
        connection,
        right,
        differing,
        counted=f"without {len(without)} daily columns" if without else "",
        next_step="`c360 run --full-refresh`; keep the rows named here for the fix of the model",
    )
    check.is_aside = bool(without) and check.holds
    return check


def _columns(connection: Connection, schema: str, name: str) -> list[str]:
    rows = connection.execute(
        """
        select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
            and attname <> 'refreshed_at' order by attnum
        """,
        [f"{schema}.{name}"],
    ).fetchall()
    return [row[0] for row in rows]


def _none(connection: Connection, name: str, broken: str, *, counted: str = "", next_step: str = "") -> Check:
    """A check that holds when the query ``broken`` (one text column of that name) gives no row."""
    count = scalar(connection, f"select count(*) from ({broken}) as b")
    shown: list[str] = []
    if count:
        rows = connection.execute(query(f"select broken from ({broken}) as b order by 1 limit {_SHOWN}")).fetchall()
        shown = [str(row[0]) for row in rows] + ([f"… {count - _SHOWN:,} more"] if count > _SHOWN else [])
    return Check(name, not count, counted, shown, next_step if count else "")
