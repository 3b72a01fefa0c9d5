"""Whether a fit is due by what has happened, not by the clock: the first one, and the first with a longer horizon.

A shop has scores from its first day: as soon as its history suffices for a test, or with BG/NBD before that. The weekly
fit does the rest.
"""

from __future__ import annotations

from customer360 import warehouse
from customer360.churn import protocol, versions
from customer360.churn.snapshots import WarehouseSource
from customer360.settings import Settings
from customer360.warehouse import scalar

RETRY_HOURS = 1
"""After a fit that failed."""

AWAITED_MINUTES = 5
"""The first daily pass waits for the first fit so long at most: with scores it has VIPs, alerts and a recovery plan,
and without them it would be made twice within minutes. Data is never held up by a fit that fails or is switched off."""


def is_awaited(settings: Settings) -> bool:
    """Whether today's daily pass should be woken by the first fit rather than before it. Reads only."""
    with warehouse.connect("transformer", settings, autocommit=True) as connection:
        is_new = scalar(
            connection,
            """
            select min(published_at) > now() - %s * interval '1 minute'
                and not exists (select from state.churn_model_versions)
            from ops.publications where kind <> 'daily'
            """,
            [AWAITED_MINUTES],
        )
        if not is_new:
            return False
        is_running = scalar(connection, "select exists (select from ops.runs where kind = 'fit' and state = 'running')")
    return bool(is_running) or is_due(settings)


def is_due(settings: Settings) -> bool:
    """Whether the shop can be fitted for the first time, or with a horizon nearer to the one asked for. Reads only."""
    today = settings.today()
    with warehouse.connect("transformer", settings, autocommit=True) as connection:
        if not scalar(connection, "select to_regclass('candidate.fct_orders')"):
            return False
        newest = connection.execute(
            """
            select as_of_on, fitted_at, cardinality(snapshots) > 0, horizon_days, requested_horizon_days
            from state.churn_model_versions order by model_version desc limit 1
            """
        ).fetchone()
        horizon = versions.horizon_in_force(connection, today)
        if newest is not None:
            as_of_on, fitted_at, is_judged, used, requested = newest
            if is_judged and used >= requested:
                return False
            is_news = scalar(
                connection,
                "select exists (select from ops.publications where kind <> 'daily' and published_at > %s)",
                [fitted_at],
            )
            if as_of_on >= today and not is_news:
                return False
        if scalar(
            connection,
            """
            select exists (
                select from ops.runs where kind = 'fit' and (
                    state = 'running' or (state = 'failed' and started_at > now() - %s * interval '1 hour')))
            """,
            [RETRY_HOURS],
        ):
            return False
        customers: int = scalar(
            connection,
            """
            select count(*) from (
                select distinct customer_key from candidate.fct_orders where is_valid and customer_key is not null
                limit %s
            ) as found
            """,
            [protocol.MINIMUM_POPULATION],
        )
    if customers < protocol.MINIMUM_POPULATION:
        return False
    if newest is None:
        return True
    source = WarehouseSource(settings, today)
    plan = protocol.plan_snapshots(source.first_ordered_on, source.last_complete_on, horizon)
    return plan is not None and (not is_judged or plan.horizon_days > used)
