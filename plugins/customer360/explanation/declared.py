"""How each published figure that can be explained comes about: which rows it sums, which parts it divides, which rule.

The models compute; this says the same a second time, so that a person sees the rows behind a figure. A test explains
every declared column of every customer of a shop and compares with what is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fact:
    """A table whose rows figures are made of. ``f`` is its alias in every expression.

    ``key`` gives a row's key as text, ``on`` its date, ``staged`` the staging table that knows file and line, whose
    key is the column ``joined`` of the fact. Without one the rows come from no single line.
    """

    table: str
    key: str
    on: str
    staged: str = ""
    joined: str = ""


ORDERS = Fact("marts.fct_orders", "f.order_key", "f.ordered_on", "stg_orders", "order_key")
REFUNDS = Fact("marts.fct_refunds", "f.order_key || ':' || f.refund_number", "f.refunded_on", "stg_orders", "order_key")
ITEMS = Fact("marts.fct_order_items", "f.order_key || ':' || f.line_number", "f.ordered_on", "stg_orders", "order_key")
SESSIONS = Fact("marts.fct_sessions", "f.session_key", "f.started_on", "stg_web_sessions", "session_key")
TICKETS = Fact("marts.fct_tickets", "f.ticket_key", "f.created_on", "stg_support_tickets", "ticket_key")
IDENTIFIERS = Fact("identity.identifiers", "f.identifier_type || ' ' || f.identifier_key", "null::date")
LOTS = Fact("intermediate.int_loyalty_lots__earned", "f.lot", "f.earned_on", "stg_orders", "lot")
CLAW_BACKS = Fact("intermediate.int_loyalty_points__clawed_back", "f.source_id", "f.effective_on", "stg_orders", "lot")


@dataclass(frozen=True)
class Sum:
    """The sum of ``value`` over the rows of a customer that meet ``where``; of each ``distinct`` one row counts."""

    fact: Fact
    value: str = "1"
    where: str = "true"
    distinct: str = ""
    is_null_without_rows: bool = False


@dataclass(frozen=True)
class Signed:
    """Several sums, each added or taken away."""

    parts: tuple[tuple[int, str, Sum], ...]


@dataclass(frozen=True)
class Ratio:
    """One sum divided by another; ``complement``: 1 less that. Rounded as the column is."""

    above: Sum
    below: Sum
    digits: int = 4
    complement: bool = False


@dataclass(frozen=True)
class Pick:
    """A value of the one row that comes first in an order; the rows that come after are shown too."""

    fact: Fact
    value: str
    order: str
    where: str = "true"


@dataclass(frozen=True)
class Choice:
    """The best of several groups of rows, by an order of what the groups sum up."""

    fact: Fact
    group: str
    shown: Mapping[str, str]
    order: str
    where: str = "true"


@dataclass(frozen=True)
class Rule:
    """What a rule gives for figures of the same day: the figures, and the rows of loyalty_parameters that it names."""

    says: str
    figures: Mapping[str, str]
    """Name → SQL over ``l`` (customer_loyalty), ``c`` (customer_churn), ``t`` (customer_360)."""
    result: str
    """SQL over the same, with ``{parameter}`` for the value of each of ``parameters``."""
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rank:
    """A place among all customers: how many are compared, by what, and where the cuts lie."""

    table: str
    measure: str
    says: str
    has_cuts: bool = False
    """Whether the figure is a quintile by the cut points in rfm_cut_points; else it is the place itself."""


@dataclass(frozen=True)
class Score:
    """The probability of leaving: the baseline and the reasons, which add up to its log-odds."""


Declared = Sum | Signed | Ratio | Pick | Choice | Rule | Rank | Score

_VALID = "f.is_valid"
_CHANNELS = ("web", "app", "store", "phone", "marketplace")
_AS_OF = "(select max(as_of_on) from marts.customer_360 where customer_key = %(key)s)"


def _window(date: str, days: int) -> str:
    return f"{date} > {_AS_OF} - {days} and {date} <= {_AS_OF}"


_ORDER_COUNT = Sum(ORDERS, where=_VALID)
_COMPLAINTS = Sum(TICKETS, where="f.is_complaint")
_CARTS = "f.add_to_carts > 0"
_FIRST_ORDER = (
    "f.order_key = (select o.order_key from marts.fct_orders as o where o.customer_key = %(key)s and o.is_valid "
    "order by o.ordered_at, o.order_key limit 1)"
)
_LATE = (
    "Later than twice the usual gap: recency_days > late_gap_ratio × expected_gap_days. The usual gap is the "
    "customer's own span of purchases and the median gap of all customers, over the purchase days."
)


def _count(fact: Fact, where: str = "true") -> Sum:
    return Sum(fact, where=where)


def _average(fact: Fact, value: str, digits: int = 4, where: str = "true") -> Ratio:
    known = f"{where} and {value} is not null"
    return Ratio(Sum(fact, value, known), Sum(fact, where=known), digits)


def _favourite(what: str) -> Choice:
    return Choice(
        ITEMS,
        f"f.{what}",
        {"kept_amount": "sum(f.kept_amount)", "kept_quantity": "sum(f.kept_quantity)"},
        f"sum(f.kept_amount) desc nulls last, sum(f.kept_quantity) desc, f.{what}",
        f"f.is_valid and f.{what} is not null",
    )


CUSTOMER_360: dict[str, Declared] = {
    "identifier_count": _count(IDENTIFIERS),
    "order_count": _ORDER_COUNT,
    "cancelled_order_count": _count(ORDERS, "f.is_cancelled"),
    "returned_order_count": _count(ORDERS, "f.status = 'returned'"),
    "unconverted_order_count": _count(ORDERS, "f.exchange_rate is null"),
    "purchase_day_count": Sum(ORDERS, where=_VALID, distinct="f.ordered_on"),
    "first_order_at": Pick(ORDERS, "f.ordered_at", "f.ordered_at, f.order_key", _VALID),
    "last_order_at": Pick(ORDERS, "f.ordered_at", "f.ordered_at desc, f.order_key", _VALID),
    "first_order_on": Pick(ORDERS, "f.ordered_on", "f.ordered_at, f.order_key", _VALID),
    "last_order_on": Pick(ORDERS, "f.ordered_on", "f.ordered_at desc, f.order_key", _VALID),
    "gross_amount": Sum(ORDERS, "f.gross_amount"),
    "discount_amount": Sum(ORDERS, "f.discount_amount", "not f.is_cancelled"),
    "tax_amount": Sum(ORDERS, "f.tax_amount", "not f.is_cancelled"),
    "shipping_amount": Sum(ORDERS, "f.shipping_amount", "not f.is_cancelled"),
    "refunded_amount": Sum(ORDERS, "f.refunded_amount"),
    "refunded_net_amount": Sum(ORDERS, "f.refunded_net_amount"),
    "net_amount": Sum(ORDERS, "f.net_amount"),
    "cancelled_amount": Sum(ORDERS, "f.cancelled_amount"),
    "average_order_amount": Ratio(
        Sum(ORDERS, "f.gross_amount"),
        # What is not valid or has no rate has no share in the average: order_count - unconverted_order_count.
        Sum(ORDERS, "f.is_valid::int - (f.exchange_rate is null)::int", "f.is_valid or f.exchange_rate is null"),
    ),
    "refund_count": _count(REFUNDS),
    "last_refunded_at": Pick(
        REFUNDS, "f.refunded_at", "f.refunded_at desc nulls last, f.order_key", "f.refunded_at is not null"
    ),
    "discounted_order_count": _count(ORDERS, "f.is_valid and f.discount_amount > 0"),
    "coupon_order_count": _count(ORDERS, "f.is_valid and f.coupon_code is not null"),
    "returns_unknown_order_count": _count(ORDERS, "f.is_returns_unknown"),
    **{f"{name}_order_count": _count(ORDERS, f"f.is_valid and f.sales_channel = '{name}'") for name in _CHANNELS},
    **{f"{name}_net_amount": Sum(ORDERS, "f.net_amount", f"f.sales_channel = '{name}'") for name in _CHANNELS},
    "item_quantity": Sum(ITEMS, "f.quantity", _VALID),
    "returned_quantity": Sum(ITEMS, "f.returned_quantity", _VALID),
    "kept_quantity": Sum(ITEMS, "f.kept_quantity", _VALID),
    **{
        f"{name}_count": Sum(
            ITEMS, where=f"f.is_valid and f.kept_quantity > 0 and f.{name} is not null", distinct=f"f.{name}"
        )
        for name in ("category", "brand")
    },
    "favourite_category": Choice(
        ITEMS, "f.category", _favourite("category").shown, _favourite("category").order,
        "f.is_valid and f.category is not null and f.kept_quantity > 0",
    ),
    "favourite_brand": Choice(
        ITEMS, "f.brand", _favourite("brand").shown, _favourite("brand").order,
        "f.is_valid and f.brand is not null and f.kept_quantity > 0",
    ),
    "first_order_category": Pick(ITEMS, "f.category", "f.line_amount desc nulls last, f.line_number", _FIRST_ORDER),
    "first_order_sku": Pick(ITEMS, "f.sku", "f.line_amount desc nulls last, f.line_number", _FIRST_ORDER),
    "session_count": _count(SESSIONS),
    "first_session_at": Pick(SESSIONS, "f.started_at", "f.started_at, f.session_key"),
    "last_session_at": Pick(SESSIONS, "f.started_at", "f.started_at desc, f.session_key"),
    "first_touch_channel": Pick(SESSIONS, "f.channel", "f.started_at, f.session_key"),
    "engaged_seconds": Sum(SESSIONS, "f.engaged_seconds", "f.engaged_seconds is not null", is_null_without_rows=True),
    **{
        column: Sum(SESSIONS, f"f.{source}")
        for column, source in {
            "session_seconds": "session_seconds", "page_view_count": "page_views",
            "product_view_count": "product_views", "search_count": "searches", "add_to_cart_count": "add_to_carts",
            "checkout_started_count": "checkouts_started",
        }.items()
    },
    "product_view_session_count": _count(SESSIONS, "f.product_views > 0"),
    "cart_session_count": _count(SESSIONS, _CARTS),
    "checkout_session_count": _count(SESSIONS, "f.checkouts_started > 0"),
    "order_session_count": _count(SESSIONS, "f.order_id is not null"),
    "view_to_cart_rate": Ratio(_count(SESSIONS, _CARTS), _count(SESSIONS, "f.product_views > 0")),
    "cart_to_order_rate": Ratio(_count(SESSIONS, "f.order_id is not null"), _count(SESSIONS, _CARTS)),
    "product_view_cart_session_count": _count(SESSIONS, f"f.product_views > 0 and {_CARTS}"),
    "cart_order_session_count": _count(SESSIONS, f"{_CARTS} and f.order_id is not null"),
    "product_view_to_cart_rate": Ratio(
        _count(SESSIONS, f"f.product_views > 0 and {_CARTS}"), _count(SESSIONS, "f.product_views > 0")
    ),
    "cart_to_purchase_rate": Ratio(
        _count(SESSIONS, f"{_CARTS} and f.order_id is not null"), _count(SESSIONS, _CARTS)
    ),
    "ticket_count": _count(TICKETS),
    "open_ticket_count": _count(TICKETS, "f.is_open"),
    "complaint_count": _COMPLAINTS,
    "open_complaint_count": _count(TICKETS, "f.is_complaint and f.is_open"),
    "complaints_per_order": Ratio(_COMPLAINTS, _ORDER_COUNT),
    "first_ticket_at": Pick(TICKETS, "f.created_at", "f.created_at, f.ticket_key"),
    "last_ticket_at": Pick(TICKETS, "f.created_at", "f.created_at desc, f.ticket_key"),
    "answered_ticket_count": _count(TICKETS, "f.first_response_hours is not null"),
    "average_first_response_hours": _average(TICKETS, "f.first_response_hours"),
    "resolved_ticket_count": _count(TICKETS, "f.first_resolution_hours is not null"),
    "average_first_resolution_hours": _average(TICKETS, "f.first_resolution_hours"),
    "average_final_resolution_hours": _average(TICKETS, "f.final_resolution_hours"),
    "reply_count": Sum(TICKETS, "f.replies"),
    "reopen_count": Sum(TICKETS, "f.reopens"),
    "satisfaction_answer_count": _count(TICKETS, "f.satisfaction is not null"),
    "average_satisfaction": _average(TICKETS, "f.satisfaction"),
    "last_satisfaction": Pick(
        TICKETS, "f.satisfaction", "f.satisfaction_at desc, f.ticket_key", "f.satisfaction is not null"
    ),
    "compensation_amount": Sum(TICKETS, "f.compensation_amount"),
    "delivered_order_count": _count(ORDERS, "f.is_valid and f.delivered_at is not null"),
    "promised_delivery_count": _count(ORDERS, "f.is_valid and f.is_late is not null"),
    "late_order_count": _count(ORDERS, "f.is_valid and f.is_late"),
    "on_time_rate": Ratio(
        _count(ORDERS, "f.is_valid and f.is_late"), _count(ORDERS, "f.is_valid and f.is_late is not null"),
        complement=True,
    ),
    "average_delivery_days": _average(
        ORDERS, "extract(epoch from f.delivered_at - f.ordered_at) / 86400", where=_VALID
    ),
    **{
        f"{name}_{days}d": Sum(fact, value, f"{where} and {_window(fact.on, days)}")
        for days in (7, 30, 90)
        for name, fact, value, where in (
            ("order_count", ORDERS, "1", _VALID),
            ("net_amount", ORDERS, "f.net_amount", _VALID),
            ("session_count", SESSIONS, "1", "true"),
            ("engaged_seconds", SESSIONS, "f.engaged_seconds", "true"),
            ("ticket_count", TICKETS, "1", "true"),
        )
    },
    "recency_days": Rule(
        "Days from the last valid order to the day of the daily pass: as_of_on - last_order_on.",
        {"as_of_on": "t.as_of_on", "last_order_on": "t.last_order_on"},
        "t.as_of_on - t.last_order_on",
    ),
    "tier": Rule(
        "The highest tier whose points the customer has earned in 365 days; base below all of them. "
        "`c360 explain customer_loyalty points_365d KEY` gives the points.",
        {"points_365d": "l.points_365d"},
        "case when l.points_365d >= {tier_platinum_minimum_points} then 'platinum' "
        "when l.points_365d >= {tier_gold_minimum_points} then 'gold' "
        "when l.points_365d >= {tier_silver_minimum_points} then 'silver' else 'base' end",
        ("tier_silver_minimum_points", "tier_gold_minimum_points", "tier_platinum_minimum_points"),
    ),
    "churn_model_status": Rule(
        "What the probability comes from; out_of_population without a valid order in 365 days.",
        {"model_version": "c.model_version", "recency_days": "c.recency_days", "why": "c.model_status_reason"},
        "c.model_status",
    ),
    "churn_probability": Score(),
    "is_late_vs_own_cadence": Rule(
        _LATE + " Unknown below two purchase days.",
        {
            "purchase_day_count": "c.purchase_day_count", "recency_days": "c.recency_days",
            "expected_gap_days": "c.expected_gap_days",
        },
        "case when c.purchase_day_count >= 2 then c.is_late_vs_expected_gap end",
        ("late_gap_ratio",),
    ),
    "is_late_vs_expected_gap": Rule(
        _LATE,
        {"recency_days": "l.recency_days", "expected_gap_days": "l.expected_gap_days"},
        "l.recency_days > {late_gap_ratio} * l.expected_gap_days",
        ("late_gap_ratio",),
    ),
}  # fmt: skip

NOT_FIGURES: Mapping[str, str] = {
    "customer_key": "it is the key",
    "identity_confidence": "`c360 identity show` explains who is who",
    "first_seen_at": "it is the time of the first record of any feed",
    "as_of_on": "it is the day of the daily pass",
}
"""Columns of customer_360 that no rows add up to."""


def _points(where: str) -> Signed:
    return Signed((
        (1, "points earned", Sum(LOTS, "f.points", where)),
        (-1, "points taken back with refunds", Sum(CLAW_BACKS, "f.points", where)),
    ))  # fmt: skip


_EXPIRES = f"f.expires_on > {_AS_OF}"

CUSTOMER_LOYALTY: dict[str, Declared] = {
    "points_balance": _points(_EXPIRES),
    "points_expiring_30d": _points(f"{_EXPIRES} and f.expires_on <= {_AS_OF} + 30"),
    "points_365d": _points(_window("f.earned_on", 365)),
    "tier": CUSTOMER_360["tier"],
    "order_count": Sum(ORDERS, where=f"{_VALID} and f.ordered_on <= {_AS_OF}"),
    "purchase_day_count": Sum(ORDERS, where=f"{_VALID} and f.ordered_on <= {_AS_OF}", distinct="f.ordered_on"),
    "purchase_day_count_365d": Sum(
        ORDERS, where=f"{_VALID} and {_window('f.ordered_on', 365)}", distinct="f.ordered_on"
    ),
    "purchase_day_count_90d": Sum(
        ORDERS, where=f"{_VALID} and {_window('f.ordered_on', 90)}", distinct="f.ordered_on"
    ),
    "is_repeat_buyer": Rule(
        "At least so many purchase days in 365 days.",
        {"purchase_day_count_365d": "l.purchase_day_count_365d"},
        "l.purchase_day_count_365d >= {repeat_buyer_minimum_purchase_days}",
        ("repeat_buyer_minimum_purchase_days",),
    ),
    "past_value_amount": Sum(
        ORDERS, "f.net_amount",
        f"{_VALID} and f.net_amount is not null and f.ordered_on <= {_AS_OF} and f.ordered_on > (select "
        f"max(o.ordered_on) from marts.fct_orders as o where o.customer_key = %(key)s and o.is_valid "
        f"and o.ordered_on <= {_AS_OF}) - 365",
        is_null_without_rows=True,
    ),
    "value_at_risk_amount": Rule(
        "What the customer brought in the last active year times the probability of leaving.",
        {"past_value_amount": "l.past_value_amount", "churn_probability": "c.churn_probability"},
        "round((l.past_value_amount * c.churn_probability)::numeric, 4)",
    ),
    "lifecycle_stage": Rule(
        "The first rule of the seed lifecycle_stages that fits; stage_rule names it.",
        {
            "purchase_day_count": "l.purchase_day_count", "recency_days": "l.recency_days",
            "expected_gap_days": "l.expected_gap_days", "purchase_trend": "l.purchase_trend",
            "order_probability": "1 - c.churn_probability", "stage_rule": "l.stage_rule",
        },
        "(select stage_4 from staging.lifecycle_stages as s where s.rule = l.stage_rule)",
        (
            "late_gap_ratio", "dormant_maximum_order_probability", "decline_trend_below", "growth_trend_above",
            "mature_minimum_purchase_days",
        ),
    ),
    "r_score": Rank("customer_loyalty", "recency_days", "5 for the fifth that ordered last.", has_cuts=True),
    "f_score": Rank("customer_loyalty", "order_count", "5 for the fifth with the most orders.", has_cuts=True),
    "m_score": Rank("customer_loyalty", "monetary_amount", "5 for the fifth with the most net revenue.", has_cuts=True),
    "value_rank": Rank("customer_loyalty", "value_amount_365d", "1 for the highest value of 365 days; ties share it."),
}  # fmt: skip

CUSTOMER_CHURN: dict[str, Declared] = {
    "churn_probability": Score(),
    "churn_band": Rule(
        "low, medium or high, by where churn_probability lies.",
        {"churn_probability": "c.churn_probability"},
        "case when c.churn_probability >= {churn_band_high_from} then 'high' "
        "when c.churn_probability >= {churn_band_medium_from} then 'medium' "
        "when c.churn_probability is not null then 'low' end",
        ("churn_band_medium_from", "churn_band_high_from"),
    ),
    "is_late_vs_expected_gap": CUSTOMER_360["is_late_vs_expected_gap"],
    "is_late_vs_own_cadence": CUSTOMER_360["is_late_vs_own_cadence"],
}

OF_CUSTOMERS: Mapping[str, Mapping[str, Declared]] = {
    "customer_360": CUSTOMER_360,
    "customer_loyalty": CUSTOMER_LOYALTY,
    "customer_churn": CUSTOMER_CHURN,
}


@dataclass(frozen=True)
class FactTable:
    """A fact: the columns of its key, and for columns that are worked out the terms that add up to them."""

    fact: Fact
    primary_key: tuple[str, ...]
    terms: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Column → (what it is, SQL over ``f``), which sum to the column."""
    sums: Mapping[str, Sum] = field(default_factory=dict)
    """Column → the rows of another fact of the same order that sum to it."""


FACTS: Mapping[str, FactTable] = {
    "fct_orders": FactTable(
        ORDERS,
        ("order_key",),
        {
            "gross_amount": (
                ("total_amount", "f.total_amount"),
                ("a cancelled order counts nowhere", "-f.cancelled_amount"),
            ),
            "net_amount": (
                ("total_amount", "f.total_amount"),
                ("a cancelled order counts nowhere", "-f.cancelled_amount"),
                ("tax", "case when f.is_cancelled then 0 else -f.tax_amount end"),
                ("shipping", "case when f.is_cancelled then 0 else -f.shipping_amount end"),
                (
                    "less than nothing is nothing",
                    "case when f.is_cancelled then 0 "
                    "else greatest(f.tax_amount + f.shipping_amount - f.total_amount, 0) end",
                ),
                ("refunds, less their share of tax and shipping", "-f.refunded_net_amount"),
            ),
            "cancelled_amount": (("the total of a cancelled order", "f.cancelled_amount"),),
        },
        {"refunded_amount": Sum(REFUNDS, "f.amount"), "refunded_net_amount": Sum(REFUNDS, "f.net_amount")},
    ),
    "fct_refunds": FactTable(REFUNDS, ("order_key", "refund_number")),
    "fct_order_items": FactTable(ITEMS, ("order_key", "line_number")),
    "fct_sessions": FactTable(SESSIONS, ("session_key",)),
    "fct_tickets": FactTable(TICKETS, ("ticket_key",)),
}
