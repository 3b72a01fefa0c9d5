"""The journal ``customer_360_history``: what was known of each customer on each day.

The daily pass calls :func:`record` after the candidate gate and before the publication. Where today's figures of a
customer are not those of the open period, that is closed and another opened: a late or corrected record changes what
is known from now on, and never what was known before. A second pass over the same records writes nothing. What was
known on day D: the row with ``valid_from_on <= D and (valid_to_on is null or valid_to_on > D)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from customer360 import warehouse
from customer360.publication.loyalty_journals import JournalOrderError
from customer360.publication.publish import PublishedTable
from customer360.settings import Settings
from customer360.warehouse import query, scalar

TABLE = PublishedTable(
    "customer_360_history",
    ("period_id",),
    is_live=False,
    is_daily=True,
    source_schema="state",
    open_rows="valid_to_on is null",
)

_FIGURES = ("tier", "lifecycle_stage", "churn_band", "order_count", "net_amount")

_TODAY = """
    create temporary table today on commit drop as
    select customer.customer_key, customer.tier, loyalty.lifecycle_stage, churn.churn_band, customer.order_count,
        customer.net_amount
    from candidate.customer_360 as customer
    left join candidate.customer_loyalty as loyalty using (customer_key)
    left join candidate.customer_churn as churn using (customer_key)
"""


@dataclass(frozen=True)
class Recorded:
    """How many periods were opened and closed."""

    opened: int
    closed: int

    def __str__(self) -> str:
        return f"history: {self.opened} periods opened, {self.closed} closed"


def record(settings: Settings, as_of_on: date) -> Recorded:
    """Bring the journal up to what the tables of ``as_of_on`` say. One transaction; safe to repeat.

    Call it under the writer lock, when the daily models of that day are built and judged.

    Raises:
        JournalOrderError: the journal already holds a later day; nothing was written.
    """
    with warehouse.connect("owner", settings, application_name="customer360 history") as connection:
        newest = "select greatest(max(valid_from_on), max(valid_to_on)) from state.customer_360_history"
        latest = scalar(connection, newest)
        if latest is not None and latest > as_of_on:
            raise JournalOrderError(
                f"customer_360_history holds {latest} already, and this pass is of {as_of_on}: what was known is not "
                "written after what was known later.",
                "Put the clock or C360_BUSINESS_TIMEZONE right; a past day is built with `c360 run --as-of DATE`.",
            )
        # Whole tables are compared: a nested loop over two of them is never right.
        connection.execute("set local enable_nestloop = off")
        connection.execute("set local work_mem = '128MB'")
        connection.execute(_TODAY)
        connection.execute("analyze today")
        was, is_now = (f"row({', '.join(f'{row}.{name}' for name in _FIGURES)})" for row in ("open", "today"))
        closed = connection.execute(
            query(
                f"""
                update state.customer_360_history as period set valid_to_on = %s, closed_at = now(),
                    closed_because = case when ended.is_gone then 'customer_gone' else 'changed' end
                from (
                    select open.period_id, today.customer_key is null as is_gone
                    from state.customer_360_history as open
                    left join today using (customer_key)
                    where open.valid_to_on is null and (today.customer_key is null or {is_now} is distinct from {was})
                ) as ended
                where period.period_id = ended.period_id
                """
            ),
            [as_of_on],
        ).rowcount
        figures = ", ".join(_FIGURES)
        opened = connection.execute(
            query(
                f"""
                insert into state.customer_360_history (customer_key, {figures}, valid_from_on)
                select customer_key, {", ".join(f"today.{name}" for name in _FIGURES)}, %s
                from today
                left join (
                    select customer_key, period_id from state.customer_360_history where valid_to_on is null
                ) as open using (customer_key)
                where open.period_id is null
                order by customer_key
                """
            ),
            [as_of_on],
        ).rowcount
    return Recorded(opened, closed)
