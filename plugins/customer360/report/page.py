"""The report as one HTML file: Plotly's script is in it, and nothing is fetched from anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import plotly.io
import plotly.offline
from markupsafe import Markup

from customer360 import templates
from customer360.report.customer import CustomerStory
from customer360.report.pictures import Picture
from customer360.report.reading import Row, money, number, percent
from customer360.terminal import counted


@dataclass(frozen=True)
class Tile:
    """A figure that one looks at first, and the section of the page with the list or the picture behind it."""

    name: str
    value: str
    section: str = ""


# The groups of customer_loyalty's columns, by the model that computes each: it stands in the column's description.
_CONCEPTS = {
    "int_repeat_purchases__counted": "Repeat purchase",
    "int_brand_runs__found": "Three in a row (Tucker)",
    "int_purchase_shares__measured": "Share of purchase here",
    "int_loyalty_quadrants__placed": "Attitude and behaviour",
    "int_customer_values__ranked": "Value of 365 days",
    "int_satisfactions__measured": "Satisfaction",
    "int_delivered_values__weighed": "Delivered value (index, assumed prices)",
    "int_lifecycle_stages__assigned": "Lifecycle",
    "int_purchase_cadences__measured": "Cadence",
    "int_relationship_ladders__climbed": "Relationship ladder",
    "int_rfm__scored": "Recency, frequency, monetary value",
    "int_vips__named": "VIP",
    "int_switching_costs__ranked": "Switching cost",
    "int_perceived_risks__measured": "Perceived risk",
    "int_price_dependences__measured": "Price dependence",
    "int_promises__kept": "Promises",
    "int_preferred_channels__found": "Channels",
    "int_next_purchases__timed": "Next purchase",
    "int_loyalty_points__balanced": "Points",
    "int_loyalty_tiers__reached": "Tier",
    "int_loyalty_scores__composed": "Loyalty score",
}


def report(pictures: list[Picture], state: Row, currency: str, customers_at: str | None) -> str:
    """The page of the shop.

    Args:
        currency: the reporting currency, said with every amount.
        customers_at: what a customer's key is put after, to lead to the customer's page; None where there are none.
    """
    standing = [
        Tile("customers", number(state["customer_count"]), "value_concentration"),
        Tile("orders", number(state["order_count"]), "revenue_and_refunds"),
        Tile("net revenue", money(state["net_amount"], currency), "revenue_and_refunds"),
        Tile("bought twice in 365 days", percent(state["repeat_share"], 1), "cohort_retention"),
        Tile("valuable customers at risk", number(state["valuable_at_risk_count"]), "valuable_customers_at_risk"),
        Tile("open warnings", number(state["open_alert_count"]), "open_warnings"),
    ]
    if state.get("waiting_currency_count"):
        waiting = Tile("currencies without a rate", number(state["waiting_currency_count"]), "waiting_for_a_rate")
        standing.append(waiting)
    unattributed = ""
    if state["unattributed_order_count"]:
        unattributed = (
            f"{counted(state['unattributed_order_count'], 'order')}, "
            f"{money(state['unattributed_net_amount'], currency)} of net revenue, "
            "belong to no known customer: in the shop's figures, and in no customer's."
        )
    return _page(
        "report.html", "customer360 report", pictures=pictures, state=state, standing=standing, currency=currency,
        unattributed=unattributed, customers_at=customers_at,
    )  # fmt: skip


def customer(story: CustomerStory, currency: str) -> str:
    """The page of one customer, with the reporting currency said with every amount."""
    return _page(
        "customer.html",
        f"customer {story.customer_key}",
        story=story,
        sentence=_sentence(story),
        standing=_standing(story, currency),
        currency=currency,
        reasons=_reasons(story.churn),
        concepts=_concepts(story.loyalty, story.descriptions),
    )


def _standing(story: CustomerStory, currency: str) -> list[Tile]:
    """What one looks at first."""
    loyalty, churn = story.loyalty, story.churn
    tiles = [
        Tile("orders", number(story.figures["order_count"])),
        Tile("net revenue", money(story.figures["net_amount"], currency, 2)),
        Tile("likely to leave", percent(churn.get("churn_probability"), 1)),
    ]
    if loyalty:
        tiles += [
            Tile("lifecycle stage", str(loyalty["lifecycle_stage"])),
            Tile("tier", str(loyalty["tier"])),
            Tile("points", number(loyalty["points_balance"])),
            Tile("RFM segment", str(loyalty["current_rfm_segment"] or "–").replace("_", " ")),
            Tile("loyalty score", number(loyalty["loyalty_score"], 2)),
        ]
    return tiles


def _sentence(story: CustomerStory) -> str:
    figures, loyalty = story.figures, story.loyalty
    said = f"{number(figures['session_count'])} visits, {number(figures['ticket_count'])} tickets."
    if loyalty:
        said += f" Daily figures of {loyalty['as_of_on']}: rung {loyalty['ladder_rung']}, "
        quadrant = str(loyalty["current_loyalty_quadrant"] or "not known").replace("_", " ")
        said += f"loyalty {quadrant}, stage {loyalty['lifecycle_stage']}"
        said += f" since {loyalty['stage_since_on']}."
    return said


def _reasons(churn: Row) -> list[Row]:
    return [
        {"reason": churn[f"reason_{place}_code"], "contribution to the log-odds": churn[f"reason_{place}_contribution"]}
        for place in (1, 2, 3)
        if churn.get(f"reason_{place}_code")
    ]


def _concepts(loyalty: Row, descriptions: dict[str, str]) -> dict[str, list[tuple[str, Any, str]]]:
    """The columns of customer_loyalty that are measured, by concept: name, value, and what it is."""
    groups: dict[str, list[tuple[str, Any, str]]] = {}
    for name, value in loyalty.items():
        meaning = descriptions.get(name, "")
        model = re.search(r"\((int_\w+)\)$", meaning)
        if model and value is not None:
            groups.setdefault(_CONCEPTS.get(model[1], model[1]), []).append((name, value, meaning))
    return groups


def _plot(name: str, figure: Any) -> Markup:
    drawn: str = plotly.io.to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        div_id=f"plot-{name}",
        config={"displayModeBar": False, "responsive": True},
    )
    return Markup(drawn)  # noqa: S704 - plotly escapes the texts of a figure  # nosec B704


def _is_money(column: str) -> bool:
    """Whether a column of a list is an amount in the reporting currency."""
    return column == "amount" or column.startswith("value_of_")


def _kind(value: Any) -> str:
    """The class of a cell."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return "number"
    return "nowrap" if isinstance(value, date) else ""


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, date):
        return str(value)
    if isinstance(value, float | Decimal):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return str(value)


def _page(template: str, title: str, **values: Any) -> str:
    return templates.render(
        template, title=title, policy=templates.SELF_CONTAINED, library=plotly.offline.get_plotlyjs(), plot=_plot,
        shown=_shown, kind=_kind, is_money=_is_money, percent=percent, **values,
    )  # fmt: skip
