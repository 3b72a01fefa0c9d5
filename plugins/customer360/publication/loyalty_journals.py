"""Loyalty's journals: what each customer had, was and was warned of, as it was known on each day.

The daily pass calls :func:`record` after the candidate gate and before the publication. Nothing else writes these
tables, no build reads what a later pass wrote, and no full refresh makes them anew (architecture, "Journal tables"):

* ``loyalty_points_ledger`` is append-only. The models say what the postings should sum to by now
  (``int_loyalty_lots__earned``, ``int_loyalty_points__clawed_back``); whatever differs from what was posted is posted
  as a further version, whether a day has come, a record came late, or an order moved to another customer.
* the histories of tier, lifecycle stage, ladder rung and VIP standing get a period closed and another opened where
  today's status differs from the open one.
* ``customer_alerts`` gets an episode opened where a rule is met, none is open, and the cool-down has passed; an open
  one is closed where its rule is met no more.

A second pass of the same day and the same records adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.publication.publish import PublishedTable
from customer360.settings import Settings
from customer360.warehouse import Connection, query, scalar


class JournalOrderError(Customer360Error):
    """The journals already hold a later day: what was known then cannot be written after it."""


class LedgerError(Customer360Error):
    """The postings of a customer do not sum to the balance that the records give."""


@dataclass(frozen=True)
class History:
    """A journal of periods: its table in state, its status column, and the query for today's statuses.

    ``today`` gives customer_key, status, why and, where the journal has one more column, that column.
    """

    name: str
    status: str
    previous: str
    today: str
    extra: str = ""


HISTORIES = (
    History(
        "loyalty_tier_history",
        "tier",
        "previous_tier",
        "select customer_key, tier as status, tier_reason as why, tier_since_on as reached_on"
        " from intermediate.int_loyalty_tiers__reached",
        "reached_on",
    ),
    History(
        "lifecycle_stage_history",
        "lifecycle_stage",
        "previous_stage",
        "select customer_key, lifecycle_stage as status, 'rule ' || stage_rule as why, lifecycle_stage_5"
        " from intermediate.int_lifecycle_stages__assigned",
        "lifecycle_stage_5",
    ),
    History(
        "relationship_ladder_history",
        "ladder_rung",
        "previous_rung",
        "select customer_key, ladder_rung as status, ladder_evidence as why"
        " from intermediate.int_relationship_ladders__climbed",
    ),
    History(
        "vip_history",
        "vip_status",
        "previous_vip_status",
        "select customer_key, vip_status as status,"
        " format('expected value of 365 days %s', coalesce(expected_value_365_amount::text, 'unknown')) as why,"
        " vip_since_on from intermediate.int_vips__named where vip_status is not null",
        "vip_since_on",
    ),
)

# Only rows that meet ``open_rows`` may still change, once; the publication looks at those and at new ones alone.
TABLES = (
    PublishedTable(
        "loyalty_points_ledger",
        ("posting_id",),
        is_live=False,
        is_daily=True,
        source_schema="state",
        open_rows="false",
    ),
    PublishedTable(
        "customer_alerts",
        ("alert_id",),
        is_live=False,
        is_daily=True,
        source_schema="state",
        open_rows="closed_on is null",
    ),
    *(
        PublishedTable(
            history.name,
            ("period_id",),
            is_live=False,
            is_daily=True,
            source_schema="state",
            open_rows="valid_to_on is null",
        )
        for history in HISTORIES
    ),
)


@dataclass(frozen=True)
class Recorded:
    """How many rows each journal got, and how many open ones were completed."""

    added: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"{name} +{count}" for name, count in self.added.items() if count]
        parts += [f"{name} {count} closed" for name, count in self.closed.items() if count]
        return "journals: " + (", ".join(parts) or "nothing new")


def record(settings: Settings, as_of_on: date) -> Recorded:
    """Bring every journal up to what the daily models of ``as_of_on`` say. One transaction; safe to repeat.

    Call it under the writer lock, when the daily models of that day are built and judged.

    Raises:
        JournalOrderError: the journals already hold a later day; nothing was written.
        LedgerError: the postings would not explain a balance; nothing was written.
    """
    recorded = Recorded()
    with warehouse.connect("owner", settings, application_name="customer360 journals") as connection:
        # Whole tables are compared: a nested loop over two of them is never right (macro plan_for_whole_tables).
        connection.execute("set local enable_nestloop = off")
        connection.execute("set local work_mem = '128MB'")
        _check_order(connection, as_of_on)
        recorded.added["loyalty_points_ledger"] = _post_points(connection, as_of_on)
        _check_balances(connection)
        for history in HISTORIES:
            closed, opened = _follow(connection, history, as_of_on)
            recorded.added[history.name], recorded.closed[history.name] = opened, closed
        closed, opened = _warn(connection, as_of_on)
        recorded.added["customer_alerts"], recorded.closed["customer_alerts"] = opened, closed
        _keep_statistics(connection, as_of_on)
    return recorded


def create_balance_view(settings: Settings) -> None:
    """Create ``marts.loyalty_points_balance``, the view over the published ledger, unless it is there."""
    with warehouse.connect("publisher", settings, application_name="customer360 journals") as connection:
        if scalar(connection, "select to_regclass('marts.loyalty_points_balance')"):
            return
        connection.execute(
            """
            create view marts.loyalty_points_balance as
            select customer_key, sum(points)::bigint as points_balance, count(*) as posting_count,
                max(posting_id) as last_posting_id
            from marts.loyalty_points_ledger
            group by customer_key;
            comment on view marts.loyalty_points_balance is
                'One row per customer with a posting: the sum of the ledger''s postings.';
            comment on column marts.loyalty_points_balance.customer_key is 'The customer''s durable key.';
            comment on column marts.loyalty_points_balance.points_balance is
                'Points that are left: customer_loyalty.points_balance, told by the postings.';
            comment on column marts.loyalty_points_balance.posting_count is 'Postings that make the balance.';
            comment on column marts.loyalty_points_balance.last_posting_id is 'The latest of them.'
            """
        )


def _check_order(connection: Connection, as_of_on: date) -> None:
    latest = scalar(
        connection,
        """
        select greatest(
            (select max(posted_on) from state.loyalty_points_ledger),
            (select max(valid_from_on) from state.lifecycle_stage_history),
            (select max(opened_on) from state.customer_alerts))
        """,
    )
    if latest is not None and latest > as_of_on:
        raise JournalOrderError(
            f"The loyalty journals hold {latest} already, and this pass is of {as_of_on}: what was known is not "
            "written after what was known later.",
            "Put the clock or C360_BUSINESS_TIMEZONE right; a past day is built with `c360 run --as-of DATE`.",
        )


# What the postings should sum to, per lot, kind, source and day. A lot that expired keeps nothing.
_DUE = """
    due as (
        select customer_key, lot, 'earn' as kind, lot as source_id, earned_on as effective_on, expires_on, points
        from intermediate.int_loyalty_lots__earned
        union all
        select customer_key, lot, 'claw_back', source_id, effective_on, expires_on, -points
        from intermediate.int_loyalty_points__clawed_back
        union all
        select lots.customer_key, lots.lot, 'expire', lots.lot, lots.expires_on, lots.expires_on,
            -(lots.points - coalesce(clawed.points, 0))::bigint
        from intermediate.int_loyalty_lots__earned as lots
        left join (
            select lot, sum(points) as points from intermediate.int_loyalty_points__clawed_back group by lot
        ) as clawed using (lot)
        where lots.expires_on <= %(as_of_on)s and lots.points > coalesce(clawed.points, 0)
    )
"""

# Nearly every posting is the first and only version of its source, and still right: those are recognised by one join.
# The few lots that are left are summed up. (Summing up the whole ledger each day takes three times as long.)
_SUSPECTS = f"""
    create temporary table suspects on commit drop as
    with {_DUE},
    first_versions as (
        select source_id, kind, customer_key, lot, effective_on, expires_on, points
        from state.loyalty_points_ledger where version = 1 and kind <> 'transfer'
    )
    select coalesce(due.lot, posted.lot) as lot
    from due
    full join first_versions as posted using (source_id, kind)
    where (due.customer_key, due.effective_on, due.expires_on, due.points)
        is distinct from (posted.customer_key, posted.effective_on, posted.expires_on, posted.points)
    union
    select lot from state.loyalty_points_ledger where version > 1
"""

# What is due and not posted, and what was posted and is not due: the differences alone are posted, to the customer whom
# the order belongs to now, or who had the lot last if it belongs to nobody any more.
_DIFFERENCES = f"""
    create temporary table differences on commit drop as
    with {_DUE},
    posted as (
        select lot, kind, source_id, effective_on, expires_on, sum(points)::bigint as points
        from state.loyalty_points_ledger
        where kind <> 'transfer' and lot in (select lot from suspects)
        group by lot, kind, source_id, effective_on, expires_on
    ),
    differing as (
        select lot, kind, source_id, effective_on, expires_on,
            coalesce(due.points, 0) - coalesce(posted.points, 0) as points
        from (select * from due where lot in (select lot from suspects)) as due
        full join posted using (lot, kind, source_id, effective_on, expires_on)
        where coalesce(due.points, 0) <> coalesce(posted.points, 0)
    ),
    held as (
        select distinct on (lot) lot, customer_key
        from state.loyalty_points_ledger
        where lot in (select lot from differing)
        order by lot, posting_id desc
    )
    select differing.*, coalesce(orders.customer_key, held.customer_key) as customer_key
    from differing
    left join candidate.fct_orders as orders on orders.order_id = differing.lot
    left join held using (lot)
"""

_POST = """
    insert into state.loyalty_points_ledger
        (customer_key, kind, source_id, version, lot, points, effective_on, expires_on, why, posted_on)
    select customer_key, kind, source_id,
        coalesce(earlier.version, 0) + row_number() over (
            partition by source_id, kind order by posting.effective_on, posting.expires_on, posting.points),
        lot, points, effective_on, expires_on,
        case when earlier.version is null then 'new' else 'corrected' end, %(as_of_on)s
    from differences as posting
    left join (
        select source_id, kind, max(version) as version
        from state.loyalty_points_ledger
        where source_id in (select source_id from differences)
        group by source_id, kind
    ) as earlier using (source_id, kind)
    order by effective_on, lot, kind desc, source_id
"""

# A lot whose order belongs to another customer now goes over as it stands, with its old expiry. One that is used up has
# nothing to take along.
_TRANSFER = """
    with astray as (
        select ledger.lot, ledger.customer_key, orders.customer_key as present_customer_key,
            max(ledger.expires_on) as expires_on, sum(ledger.points)::bigint as points
        from state.loyalty_points_ledger as ledger
        inner join candidate.fct_orders as orders
            on orders.order_id = ledger.lot and orders.customer_key <> ledger.customer_key
        where ledger.lot in (select lot from suspects)
        group by ledger.lot, ledger.customer_key, orders.customer_key
        having sum(ledger.points) <> 0
    ),
    moves as (
        select lot, expires_on, customer_key, -points as points, 0 as side from astray
        union all
        select lot, expires_on, present_customer_key, points, 1 from astray
    )
    insert into state.loyalty_points_ledger
        (customer_key, kind, source_id, version, lot, points, effective_on, expires_on, why, posted_on)
    select moves.customer_key, 'transfer', lot,
        coalesce(earlier.version, 0) + row_number() over (partition by lot order by moves.side, moves.customer_key),
        lot, points, %(as_of_on)s, expires_on, 'moved', %(as_of_on)s
    from moves
    left join (
        select lot, max(version) as version from state.loyalty_points_ledger where kind = 'transfer' group by lot
    ) as earlier using (lot)
    order by lot, moves.side
"""


def _post_points(connection: Connection, as_of_on: date) -> int:
    """Post what differs from what is due; returns the postings."""
    day = {"as_of_on": as_of_on}
    connection.execute(query(_SUSPECTS), day)
    connection.execute("analyze suspects")
    connection.execute(query(_DIFFERENCES), day)
    connection.execute("analyze differences")
    posted = connection.execute(_POST, day).rowcount
    return posted + connection.execute(_TRANSFER, day).rowcount


def _check_balances(connection: Connection) -> None:
    """Each balance is the sum of its postings, and nobody has postings that sum to something else than a balance."""
    row = connection.execute(
        """
        select count(*), min(customer_key) from (
            select customer_key, sum(points) as points from state.loyalty_points_ledger group by customer_key
        ) as ledger
        full join intermediate.int_loyalty_points__balanced as balanced using (customer_key)
        where coalesce(ledger.points, 0) <> coalesce(balanced.points_balance, 0)
        """
    ).fetchone()
    count, example = row or (0, None)
    if count:
        raise LedgerError(
            f"The postings of {count} customers (one has the key {example}) do not sum to their points balance; "
            "nothing was posted.",
            "Compare state.loyalty_points_ledger with intermediate.int_loyalty_lots__earned for that customer.",
        )


def _follow(connection: Connection, history: History, as_of_on: date) -> tuple[int, int]:
    """Close the periods whose status is not today's, open those that begin; returns (closed, opened)."""
    table, status = f"state.{history.name}", history.status
    connection.execute(query(f"create temporary table today on commit drop as {history.today}"))
    connection.execute("analyze today")
    closed = connection.execute(
        query(
            f"""
            update {table} as period set valid_to_on = %s, closed_at = now(),
                closed_because = case when ended.is_gone then 'customer_gone' else 'changed' end
            from (
                select open.period_id, customers.customer_key is null as is_gone
                from {table} as open
                left join today using (customer_key)
                left join identity.customers as customers using (customer_key)
                where open.valid_to_on is null and today.status is distinct from open.{status}
            ) as ended
            where period.period_id = ended.period_id
            """
        ),
        [as_of_on],
    ).rowcount
    extra = f", {history.extra}" if history.extra else ""
    opened = connection.execute(
        query(
            f"""
            insert into {table} (customer_key, {status}, {history.previous}, why, valid_from_on{extra})
            select today.customer_key, today.status, before.status, today.why, %s
                {f", today.{history.extra}" if history.extra else ""}
            from today
            left join (select customer_key from {table} where valid_to_on is null) as open using (customer_key)
            left join (
                select distinct on (customer_key) customer_key, {status} as status
                from {table} order by customer_key, period_id desc
            ) as before using (customer_key)
            where open.customer_key is null
            order by today.customer_key
            """
        ),
        [as_of_on],
    ).rowcount
    connection.execute("drop table today")
    return closed, opened


def _warn(connection: Connection, as_of_on: date) -> tuple[int, int]:
    """Close the alerts whose rule is met no more, open those that begin; returns (closed, opened)."""
    closed = connection.execute(
        """
        update state.customer_alerts as alert set closed_on = %s, closed_at = now(), closed_because = ended.because
        from (
            select open.alert_id,
                case
                    when customers.customer_key is null then 'customer_gone'
                    when cadences.last_purchase_on > open.opened_on then 'ordered_again'
                    else coalesce(rules.closed_because_otherwise, 'rule_withdrawn')
                end as because
            from state.customer_alerts as open
            left join intermediate.int_customer_alerts__raised as raised using (customer_key, rule)
            left join identity.customers as customers using (customer_key)
            left join intermediate.int_purchase_cadences__measured as cadences using (customer_key)
            left join staging.alert_rules as rules on rules.rule = open.rule
            where open.closed_on is null and raised.rule is null
        ) as ended
        where alert.alert_id = ended.alert_id
        """,
        [as_of_on],
    ).rowcount
    opened = connection.execute(
        """
        insert into state.customer_alerts (customer_key, rule, severity, evidence, started_on, opened_on, due_on)
        select raised.customer_key, raised.rule, raised.severity, raised.evidence, raised.started_on,
            %(as_of_on)s, %(as_of_on)s::date + raised.due_days
        from intermediate.int_customer_alerts__raised as raised
        left join (
            select customer_key, rule, max(coalesce(closed_on, 'infinity')) as closed_on
            from state.customer_alerts group by customer_key, rule
        ) as earlier using (customer_key, rule)
        where earlier.closed_on is null
            or (earlier.closed_on < 'infinity' and earlier.closed_on + raised.cooldown_days <= %(as_of_on)s)
        order by raised.customer_key, raised.rule
        """,
        {"as_of_on": as_of_on},
    ).rowcount
    return closed, opened


def _keep_statistics(connection: Connection, as_of_on: date) -> None:
    """Keep what the day's customers were compared with. Each pass of a day replaces what an earlier one kept.

    No model reads them back: a pass that read the statistics of an earlier pass of its day would compare today's
    customers with records that have moved since.
    """
    connection.execute("delete from state.population_statistics where as_of_on = %s", [as_of_on])
    connection.execute(
        """
        insert into state.population_statistics (as_of_on, statistic, value)
        select %s, statistic, value from intermediate.int_population_statistics__measured
        """,
        [as_of_on],
    )
