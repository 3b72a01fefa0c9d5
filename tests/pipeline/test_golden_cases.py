"""What the field quarrels about, in cases small enough to check on paper, from the records to what BI reads."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from customer360.publication.build import build
from customer360.publication.daily import refresh_daily
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.shop import Record, load_all, order, rows, session, ticket

pytestmark = pytest.mark.builds


def one(settings: Settings, columns: str, where: str = "true") -> tuple[Any, ...]:
    """The only row of customer_360, in some columns."""
    (row,) = rows(settings, f"select {columns} from marts.customer_360 where {where}")
    return row


def test_a_guest_who_logs_in_later_is_one_customer_from_the_first_visit_on(settings: Settings) -> None:
    load_all(
        settings,
        [
            session("before", device="d1", day=0, page_views=3),
            order("guest", day=1, email="Ann@Inbox.example", anonymous_id="d1", total="30.00"),
            session("somebody else", device="d2", day=1, page_views=9),
        ],
    )
    build(settings, "test")
    as_guest = one(settings, "customer_key, order_count, session_count, page_view_count, net_amount::int")
    assert as_guest == (1, 1, 1, 3, 30)
    load_all(
        settings,
        [
            session("login", device="d1", day=2, customer_id="c7", email="ann@inbox.example", page_views=4),
            order("member", day=3, customer_id="c7", total="20.00"),
        ],
    )
    build(settings, "test")
    # The address leads from the guest's order to the account: the key is the guest's, who was first.
    as_member = one(settings, "customer_key, order_count, session_count, page_view_count, net_amount::int")
    assert as_member == (1, 2, 2, 7, 50)
    assert rows(settings, "select session_count, order_count from marts.unattributed_totals") == [(1, 0)]
    assert verify(settings).holds


def test_a_partial_refund_after_a_tier_was_reached_takes_money_points_and_tier_back(settings: Settings) -> None:
    """A point for each unit of net amount; silver from 250 points on. Delivered, so that the points count at once."""
    noon = datetime.combine(settings.today(), datetime.min.time(), ZoneInfo("UTC")) + timedelta(hours=12)
    placed, delivered, refunded = (noon - timedelta(days=days) for days in (40, 35, 5))

    def big_order(version: datetime, refunds: list[Record] | None = None) -> Record:
        # 360 charged: 300 of goods, 48 tax, 12 shipping.
        return order(
            "o1", customer_id="c1", total="360.00", tax_amount="48.00", shipping_amount="12.00", refunds=refunds
        ) | {
            "ordered_at": placed.isoformat(),
            "delivered_at": delivered.isoformat(),
            "updated_at": version.isoformat(),
            "status": "delivered",
        }

    load_all(settings, [big_order(delivered)])
    build(settings, "test")
    refresh_daily(settings, trigger="test")
    loyalty = "select points_balance::int, tier from marts.customer_loyalty"
    assert rows(settings, loyalty) == [(300, "silver")]
    assert one(settings, "gross_amount::int, net_amount::int, tier") == (360, 300, "silver")

    # 90 of 360 come back: a quarter, and so 75 of the 300 of net revenue and 75 of the 300 points.
    back = {"refund_id": "r1", "refunded_at": refunded.isoformat(), "amount": "90.00"}
    load_all(settings, [big_order(refunded, refunds=[back])])
    build(settings, "test")
    assert one(settings, "gross_amount::int, refunded_amount::int, refunded_net_amount::int, net_amount::int") == (
        360,
        90,
        75,
        225,
    )
    assert one(settings, "tier") == ("silver",), "a tier moves with the daily pass alone"
    days = "select revenue_on, net_amount::int from marts.fct_daily_revenue order by 1"
    assert rows(settings, days) == [(placed.date(), 300), (refunded.date(), -75)]

    refresh_daily(settings, trigger="test")
    assert rows(settings, loyalty) == [(225, "base")]
    assert rows(
        settings, "select kind, points::int, effective_on from marts.loyalty_points_ledger order by posting_id"
    ) == [("earn", 300, delivered.date()), ("claw_back", -75, refunded.date())]
    # What was known stays known: the silver period is closed, not rewritten.
    assert rows(
        settings, "select tier, net_amount::int, valid_to_on is null from marts.customer_360_history order by period_id"
    ) == [("silver", 300, False), ("base", 225, True)]
    assert rows(settings, "select tier, valid_to_on is null from marts.loyalty_tier_history order by period_id") == [
        ("silver", False),
        ("base", True),
    ]
    # The day on which the order was placed is over: its figures stay, and so nothing is restated but the refund's day.
    restated = "select table_name, key, figure from ops.restatements order by 1, 2, 3"
    assert rows(settings, restated) == []
    assert verify(settings, full=True).holds


def test_a_reopened_ticket_is_resolved_first_and_finally(settings: Settings) -> None:
    """Opened on day 0, answered after 2 hours, solved after 6, reopened, solved again after 30."""
    answered, first, final = ("2026-03-01T14:00:00+00:00", "2026-03-01T18:00:00+00:00", "2026-03-02T18:00:00+00:00")
    case: Record = {"customer_id": "c1", "first_response_at": answered, "category": "delivery"}
    versions = [
        ticket("t1", version=0.1, status="open", replies=1, **case),
        ticket("t1", version=0.3, status="solved", resolved_at=first, replies=2, **case),
        ticket("t1", version=0.6, status="open", reopens=1, replies=3, **case),
        ticket("t1", version=1.3, status="solved", resolved_at=final, reopens=1, replies=4, **case),
    ]
    load_all(settings, [versions[2], versions[0]])
    build(settings, "test")
    assert one(settings, "open_ticket_count, resolved_ticket_count, reopen_count") == (1, 0, 1)
    load_all(settings, [versions[3], versions[1]])  # the first solution is told late, and still is the first
    build(settings, "test")
    assert one(
        settings,
        "average_first_response_hours, average_first_resolution_hours, average_final_resolution_hours,"
        " open_ticket_count, reopen_count, reply_count, ticket_count",
    ) == (2, 6, 30, 0, 1, 4, 1)
    assert verify(settings, full=True).holds


def test_thumbs_and_scales_of_five_and_ten_are_one_measure(settings: Settings) -> None:
    """A thumb up is 1, a thumb down 0, 4 of 5 is 0.8, 4 of 10 is 0.4: and that is a complaint, as 3 of 5 is not."""
    load_all(
        settings,
        [
            ticket(name, day=day, customer_id="c1", satisfaction_score=score, satisfaction_scale_max=top)
            for day, (name, score, top) in enumerate(
                [("up", 1, 1), ("down", 0, 1), ("five", 4, 5), ("ten", 4, 10), ("middle", 3, 5)]
            )
        ],
    )
    build(settings, "test")
    answers = "select ticket_id, satisfaction, is_complaint from marts.fct_tickets order by created_at"
    assert rows(settings, answers) == [
        ("up", 1, False),
        ("down", 0, True),
        ("five", Decimal("0.8"), False),
        ("ten", Decimal("0.4"), True),
        ("middle", Decimal("0.6"), False),
    ]
    # (1 + 0 + 0.8 + 0.4 + 0.6) / 5
    assert one(settings, "satisfaction_answer_count, average_satisfaction, last_satisfaction, complaint_count") == (
        5,
        Decimal("0.56"),
        Decimal("0.6"),
        2,
    )


def test_a_correction_after_150_days_restates_its_customer_and_its_days_and_nobody_else(settings: Settings) -> None:
    """The first order moves from 100 on 1 March to 80 on 3 March; its neighbour of 50 on 1 March stays."""
    load_all(settings, [order("o1", customer_id="c1"), order("o2", customer_id="c2", total="50.00")])
    build(settings, "test")
    before = rows(settings, "select refreshed_at from marts.customer_360 where customer_key = 2")
    (batch,) = load_all(settings, [order("o1", day=2, version=150, customer_id="c1", total="80.00")])
    summary = build(settings, "test")
    figures = "select table_name, key, figure, old_amount::int, new_amount::int, batch_id from ops.restatements"
    assert rows(settings, f"{figures} order by 1, 2, 3") == [
        ("fct_daily_revenue", "2026-03-01", "gross_amount", 150, 50, batch),
        ("fct_daily_revenue", "2026-03-01", "net_amount", 150, 50, batch),
        ("fct_orders", "o1", "gross_amount", 100, 80, batch),
    ]
    assert rows(settings, "select revenue_on::text, gross_amount::int from marts.fct_daily_revenue order by 1") == [
        ("2026-03-01", 50),
        ("2026-03-03", 80),
    ]
    assert (summary.tables["marts.customer_360"].changed, summary.tables["marts.fct_orders"].changed) == (1, 1)
    assert rows(settings, "select refreshed_at from marts.customer_360 where customer_key = 2") == before
