"""The page of one customer: what happened, in time order, and what is thought of it. No personal data is in marts."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from customer360.report.pictures import BLUE, GREY, ORANGE, RED
from customer360.report.reading import Row, exists, read
from customer360.warehouse import Connection, scalar

# Lines of each kind that a page shows; the latest ones.
_LATEST = 500


@dataclass(frozen=True)
class CustomerStory:
    """Everything that the page shows."""

    customer_key: int
    asked_key: int
    figures: Row
    loyalty: Row
    descriptions: dict[str, str]
    """What each column of customer_loyalty is, as the database says it."""
    churn: Row
    timeline: go.Figure
    events: list[Row]
    alerts: list[Row]
    postings: list[Row]


def tell(connection: Connection, asked_key: int) -> CustomerStory | None:
    """The story of the customer whom a key stands for now; None if nobody is."""
    key = _present_key(connection, asked_key)
    figures = read(connection, "select * from marts.customer_360 where customer_key = %s", [key])
    if not figures:
        return None
    events = _events(connection, key)
    return CustomerStory(
        customer_key=key,
        asked_key=asked_key,
        figures=figures[0],
        loyalty=_one(connection, "customer_loyalty", key),
        descriptions=_descriptions(connection, "customer_loyalty"),
        churn=_one(connection, "customer_churn", key),
        timeline=_timeline(events),
        events=events,
        alerts=_listed(connection, "customer_alerts", key, "alert_id"),
        postings=_listed(connection, "loyalty_points_ledger", key, "posting_id"),
    )


def _present_key(connection: Connection, asked_key: int) -> int:
    if not exists(connection, "marts.customer_key_crosswalk"):
        return asked_key
    present = scalar(
        connection,
        "select present_customer_key from marts.customer_key_crosswalk where customer_key = %s",
        [asked_key],
    )
    return int(present) if present is not None else asked_key


def _one(connection: Connection, table: str, key: int) -> Row:
    if not exists(connection, f"marts.{table}"):
        return {}
    found = read(connection, f"select * from marts.{table} where customer_key = %s", [key])
    return found[0] if found else {}


def _descriptions(connection: Connection, table: str) -> dict[str, str]:
    described = read(
        connection,
        """
        select attname as name, col_description(attrelid, attnum) as text from pg_attribute
        where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
        """,
        [f"marts.{table}"],
    )
    return {row["name"]: row["text"] or "" for row in described}


def _listed(connection: Connection, table: str, key: int, order: str) -> list[Row]:
    if not exists(connection, f"marts.{table}"):
        return []
    return read(
        connection,
        f"select * from marts.{table} where customer_key = %s order by {order} desc limit {_LATEST}",
        [key],
    )


def _events(connection: Connection, key: int) -> list[Row]:
    """Orders, refunds, visits and tickets, the latest first; ``amount`` in the reporting currency."""
    return read(
        connection,
        f"""
        (select ordered_at as at, 'order' as kind, order_id as id, total_amount as amount,
            status || ' via ' || sales_channel || case when is_late then ', late' else '' end as what
        from marts.fct_orders where customer_key = %(key)s order by 1 desc limit {_LATEST})
        union all
        (select refunded_at, 'refund', order_id, -amount, coalesce(reason, 'no reason given')
        from marts.fct_refunds where customer_key = %(key)s order by 1 desc limit {_LATEST})
        union all
        (select started_at, 'visit', session_id, null,
            product_views || ' products seen, ' || add_to_carts || ' put into the cart'
        from marts.fct_sessions where customer_key = %(key)s order by 1 desc limit {_LATEST})
        union all
        (select created_at, 'ticket', ticket_id, null, category || ' by ' || channel || ', ' || status
            || coalesce(', satisfaction ' || round(satisfaction, 2), '')
        from marts.fct_tickets where customer_key = %(key)s order by 1 desc limit {_LATEST})
        order by 1 desc
        """,
        {"key": key},  # type: ignore[arg-type]
    )


def _timeline(events: list[Row]) -> go.Figure:
    colours = {"order": BLUE, "refund": ORANGE, "visit": GREY, "ticket": RED}
    largest = max((float(event["amount"] or 0) for event in events), default=0.0) or 1.0
    figure = go.Figure()
    for kind, colour in colours.items():
        chosen = [event for event in events if event["kind"] == kind]
        sizes = [9 + 16 * abs(float(event["amount"] or 0)) / largest if kind != "visit" else 6 for event in chosen]
        figure.add_scatter(
            x=[event["at"] for event in chosen],
            y=[kind] * len(chosen),
            mode="markers",
            name=f"{kind}s",
            marker={"color": colour, "size": [min(size, 30) for size in sizes], "line": {"width": 1, "color": "white"}},
            text=[event["what"] for event in chosen],
            hovertemplate="%{x|%d %b %Y}: %{text}<extra></extra>",
        )
    # Lanes keep their order whichever of them are empty.
    figure.update_yaxes(categoryorder="array", categoryarray=["ticket", "visit", "refund", "order"])
    figure.update_layout(
        template="plotly_white",
        font={"family": "system-ui, sans-serif", "size": 14},
        margin={"l": 70, "r": 20, "t": 20, "b": 40},
        height=280,
        showlegend=False,
    )
    return figure
