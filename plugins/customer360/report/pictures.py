"""The pictures of the shop: each a question, a sentence that answers it in figures, and a figure that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import plotly.graph_objects as go

from customer360.report.reading import Row, exists, money, number, percent, read, read_one
from customer360.warehouse import Connection, scalar

# Told apart by people who see colours differently, on white and on black (Okabe and Ito 2008).
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#8A8A8A"

# More months, and more cohorts, than these are not read in one picture.
_MONTHS = _COHORTS = 24
# Up to here a cell is wide enough for its figure; beyond, the scale tells.
_LABELLED_MONTHS = 16
# Over how long movements between stages and tiers are shown.
_MOVEMENT_DAYS = 90
# How pale a month is that is not whole.
_PARTIAL = 0.45
# So many rows of a list are shown.
_LISTED = 20

_JOURNALS = {"lifecycle_stage": "lifecycle_stage_history", "loyalty_tier": "loyalty_tier_history"}

STAGES = ("exploration", "formation", "stable", "decline")
TIERS = ("base", "silver", "gold", "platinum")


@dataclass(frozen=True)
class Picture:
    """One section of the report. Without a figure the sentence says what is missing."""

    name: str
    title: str
    sentence: str
    figure: go.Figure | None = None
    tables: tuple[list[Row], ...] = ()
    """Figures that are better read than seen, under the picture."""


def all_pictures(connection: Connection) -> list[Picture]:
    """Every picture, in the order of the report. What is not published yet is said, not skipped."""
    return [
        draw(connection)
        if exists(connection, *needs)
        else Picture(draw.__name__, _title(draw), "Not published yet: `c360 run` makes the daily tables.")
        for draw, needs in _PICTURES
    ]


def state_of_the_shop(connection: Connection) -> Row:
    """What the report was made of: the publication and the day, and the figures one looks at first.

    Figures of daily tables are null until those are published. Orders and money are the whole shop's, from the table
    that the revenue picture shows; ``unattributed_…`` is the part of them that belongs to no known customer.
    """
    state: Row = {"repeat_share": None, "valuable_at_risk_count": None, "open_alert_count": None}
    if exists(connection, "marts.unconverted_totals"):
        waiting = "select count(distinct currency) as waiting_currency_count from marts.unconverted_totals"
        state |= read(connection, waiting)[0]
    if exists(connection, "marts.customer_loyalty"):
        state |= read(
            connection,
            """
            select (count(*) filter (where is_repeat_buyer))::numeric
                    / nullif(count(*) filter (where purchase_day_count_365d > 0), 0) as repeat_share,
                count(*) filter (where is_high_past_value_at_risk) as valuable_at_risk_count
            from marts.customer_loyalty
            """,
        )[0]
    if exists(connection, "marts.customer_alerts"):
        alerts = "select count(*) as open_alert_count from marts.customer_alerts where closed_on is null"
        state |= read(connection, alerts)[0]
    return (
        state
        | read(
            connection,
            """
        select
            (select max(publication_id) from ops.publications) as publication_id,
            (select max(published_at) from ops.publications) as published_at,
            (select max(as_of_on) from ops.publications where kind = 'daily') as as_of_on,
            (select count(*) from marts.customer_360) as customer_count,
            coalesce(sum(order_count), 0) as order_count,
            coalesce(sum(net_amount), 0) as net_amount,
            (select count(*) from marts.fct_orders where customer_key is null and is_valid) as unattributed_order_count,
            coalesce((select sum(net_amount) from marts.unattributed_totals), 0) as unattributed_net_amount
        from marts.fct_daily_revenue
        """,
        )[0]
    )


def currency_of(connection: Connection) -> str:
    """The reporting currency that the warehouse's amounts are in, as on record; "" where none is yet."""
    return (
        scalar(connection, "select max(value) filter (where name = 'reporting_currency') from ops.installation") or ""
    )


def revenue_and_refunds(connection: Connection) -> Picture:
    """Revenue and refunds"""
    months = read(
        connection,
        """
        with days as (
            select *, min(revenue_on) over () as began_on, max(revenue_on) over () as ended_on
            from marts.fct_daily_revenue
        )
        select date_trunc('month', revenue_on)::date as month, sum(net_amount + refunded_net_amount) as sold,
            sum(refunded_net_amount) as refunded, sum(net_amount) as net,
            case when date_trunc('month', revenue_on) < min(began_on) then min(began_on) end as begins_on,
            case
                when date_trunc('month', revenue_on) + interval '1 month - 1 day' > max(ended_on) then max(ended_on)
            end as ends_on
        from days
        where revenue_on >= date_trunc('month', ended_on) - make_interval(months => %s)
        group by date_trunc('month', revenue_on) order by 1
        """,
        [_MONTHS - 1],
    )
    if not months:
        return _empty(revenue_and_refunds, "No order is published yet.")
    sold = sum(row["sold"] for row in months)
    refunded = sum(row["refunded"] for row in months)
    when = [row["month"] for row in months]
    currency = currency_of(connection)
    # A month of which days are missing looks like a collapse: it is pale, outside the line, and said.
    whole = [row["begins_on"] is None and row["ends_on"] is None for row in months]
    shade = {"opacity": [1 if is_whole else _PARTIAL for is_whole in whole]}
    figure = _figure("month", currency or "reporting currency", barmode="relative")
    figure.add_bar(x=when, y=_values(months, "sold"), name="net before refunds", marker={"color": BLUE} | shade)
    refunds = [-float(row["refunded"]) for row in months]
    figure.add_bar(x=when, y=refunds, name="refunds", marker={"color": ORANGE} | shade)
    line = [float(row["net"]) if is_whole else None for row, is_whole in zip(months, whole, strict=True)]
    figure.add_scatter(x=when, y=line, name="net revenue of whole months", mode="lines", line_color=GREEN)
    for row in months:
        said = _missing_days(row)
        if said:
            place = {"x": row["month"], "y": max(float(row["sold"]), 0), "yshift": 10, "showarrow": False}
            figure.add_annotation(**place, text=said, font={"size": 11, "color": GREY})
    return _drawn(
        revenue_and_refunds,
        f"{money(sold, currency)} net before refunds since {when[0]:%B %Y}, of which "
        f"{percent(refunded / sold if sold else None, 1)} went back; a refund counts on its own day."
        + "".join(f" {row['month']:%B %Y} is not whole: {_missing_days(row)}." for row in months if _missing_days(row)),
        figure,
    )


def _missing_days(month: Row) -> str:
    """Which days a month consists of, where it is not whole."""
    begins = f"from {month['begins_on']:%-d %B}" if month["begins_on"] else ""
    ends = f"up to {month['ends_on']:%-d %B}" if month["ends_on"] else ""
    return f"{begins} {ends}".strip()


def cohort_retention(connection: Connection) -> Picture:
    """Who comes back: cohorts by month of first purchase"""
    cells = read(
        connection,
        """
        select cohort_month, month_number, customer_count, active_customer_count, retention_rate
        from marts.retention_cohorts
        where retention_rate is not null and month_number between 1 and %s and cohort_month > (
            select max(cohort_month) from marts.retention_cohorts) - make_interval(months => %s)
        order by cohort_month, month_number
        """,
        [_COHORTS, _COHORTS + 1],
    )
    if not cells:
        return _empty(cohort_retention, "No month after a first purchase has ended yet.")
    cohorts = sorted({row["cohort_month"] for row in cells})
    months = range(1, max(row["month_number"] for row in cells) + 1)
    rates = {(row["cohort_month"], row["month_number"]): float(row["retention_rate"]) for row in cells}
    figure = _figure("months since the first purchase", "month of the first purchase")
    grid = [[rates.get((cohort, month)) for month in months] for cohort in cohorts]
    figure.add_heatmap(
        x=[str(month) for month in months],
        y=[f"{cohort:%b %Y}" for cohort in cohorts],
        z=grid,
        text=[["" if rate is None else f"{100 * rate:.0f}" for rate in line] for line in grid],
        texttemplate="%{text}" if len(months) <= _LABELLED_MONTHS else None,
        textfont_size=11,
        xgap=1,
        ygap=1,
        zmin=0,
        showscale=len(months) > _LABELLED_MONTHS,
        colorbar_tickformat=".0%",
        hoverongaps=False,
        hovertemplate="%{y}, month %{x}: %{z:.1%}<extra></extra>",
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", title_text="")
    first = [row for row in cells if row["month_number"] == 1]
    back = sum(row["active_customer_count"] for row in first)
    share = back / sum(row["customer_count"] for row in first) if first else None
    return _drawn(
        cohort_retention,
        f"{percent(share, 1)} bought again in the month after their first purchase. In per cent; a month that "
        "has not ended is empty.",
        figure,
    )


def value_concentration(connection: Connection) -> Picture:
    """How concentrated value is: the measured 80/20"""
    measured = read(connection, "select * from marts.customer_concentration")
    curve = read(
        connection,
        """
        select max(customers)::float as customers, max(share)::float as share from (
            select cume_dist() over (order by value_rank) as customers, cumulative_value_share as share
            from marts.customer_loyalty where value_rank is not null
        ) as places
        group by floor(customers * 400) order by 1
        """,
    )
    if not measured or measured[0]["top20_value_share"] is None:
        return _empty(value_concentration, "Nobody brought a positive value in the last 365 days.")
    found = measured[0]
    customers = [0.0, *_values(curve, "customers")]
    figure = _figure("share of customers, the most valuable first", "share of positive value")
    figure.add_scatter(x=customers, y=[0.0, *_values(curve, "share")], mode="lines", name="measured", line_color=BLUE)
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="all alike", line={"color": GREY, "dash": "dot"})
    top = found["top20_customer_count"] / found["customer_count"]
    figure.add_scatter(
        x=[top],
        y=[float(found["top20_value_share"])],
        mode="markers+text",
        text=[f"  {percent(top)} bring {percent(found['top20_value_share'])}"],
        textposition="middle right",
        name="top fifth",
        marker={"color": RED, "size": 11},
    )
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(tickformat=".0%", range=[0, 1.02])
    what = "margin" if found["value_measure"] == "margin" else "net revenue"
    return _drawn(
        value_concentration,
        f"The top fifth brings {percent(found['top20_value_share'], 1)} of the {what} of 365 days; "
        f"{percent(found['customer_share_of_80_value'], 1)} of the customers bring four fifths of it "
        f"(Gini {number(found['gini_coefficient'], 2)}); {percent(found['losing_customer_share'], 1)} cost money.",
        figure,
    )


def rfm_map(connection: Connection) -> Picture:
    """Recency, frequency and monetary value"""
    cells = read(
        connection,
        """
        select r_score, f_score, rfm_segment, count(*) as customers, sum(monetary_amount) as money
        from marts.customer_loyalty where r_score is not null group by 1, 2, 3
        """,
    )
    if not cells:
        return _empty(rfm_map, "Fewer than five customers have ordered: there are no quintiles.")
    at = {(row["r_score"], row["f_score"]): row for row in cells}
    scores = range(1, 6)
    grid = [[at.get((r, f)) for f in scores] for r in scores]
    figure = _figure("frequency score", "recency score")
    figure.add_heatmap(
        x=list(scores),
        y=list(scores),
        z=[[cell["customers"] if cell else 0 for cell in line] for line in grid],
        text=[
            [f"{cell['rfm_segment'].replace('_', ' ')}<br>{cell['customers']:,}" if cell else "" for cell in line]
            for line in grid
        ],
        texttemplate="%{text}",
        textfont_size=11,
        xgap=2,
        ygap=2,
        showscale=False,
        hovertemplate="recency %{y}, frequency %{x}: %{z:,} customers<extra></extra>",
    )
    figure.update_xaxes(showgrid=False, dtick=1)
    figure.update_yaxes(showgrid=False, dtick=1)
    segments: dict[str, int] = {}
    for row in cells:
        segments[row["rfm_segment"]] = segments.get(row["rfm_segment"], 0) + row["customers"]
    largest = max(segments, key=lambda segment: segments[segment])
    share = segments[largest] / sum(segments.values())
    return _drawn(
        rfm_map,
        f"The largest segment is {largest.replace('_', ' ')}: {percent(share, 1)} of those who have ordered. "
        "5 is the best fifth of each measure.",
        figure,
    )


def lifecycle_flow(connection: Connection) -> Picture:
    """How customers move through the lifecycle"""
    return _flow(connection, lifecycle_flow, "lifecycle_stage", "lifecycle_stage", STAGES)


def tier_movement(connection: Connection) -> Picture:
    """How customers move between tiers"""
    return _flow(connection, tier_movement, "loyalty_tier", "tier", TIERS)


def satisfaction_against_churn(connection: Connection) -> Picture:
    """Do the satisfied stay?"""
    bins = read(
        connection,
        """
        select avg(satisfaction_ratio)::float as ratio, avg(churn_probability)::float as churn, count(*) as customers
        from (
            select satisfaction_ratio, churn_probability,
                ntile(10) over (order by satisfaction_ratio, customer_key) as bin
            from marts.customer_loyalty inner join marts.customer_churn using (customer_key)
            where satisfaction_ratio is not null and churn_probability is not null
        ) as both_known
        group by bin order by 1
        """,
    )
    if not bins:
        return _empty(satisfaction_against_churn, "Nobody has both a satisfaction and a churn probability yet.")
    figure = _figure("satisfaction ratio (perceived / expected)", "mean churn probability")
    figure.add_scatter(
        x=_values(bins, "ratio"), y=_values(bins, "churn"), mode="lines+markers", line_color=BLUE, name="tenths",
        text=[f"{row['customers']:,} customers" for row in bins],
    )  # fmt: skip
    figure.add_vline(x=1, line={"color": GREY, "dash": "dot"}, annotation_text="as expected")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return _drawn(
        satisfaction_against_churn,
        f"Of the least satisfied tenth {percent(bins[0]['churn'])} are expected to leave, of the most satisfied "
        f"{percent(bins[-1]['churn'])}. Together, not because of it: the score knows more than satisfaction.",
        figure,
    )


def complaint_recovery(connection: Connection) -> Picture:
    """Who comes back after a complaint"""
    cells = read(connection, "select * from marts.complaint_recovery order by severity, handling")
    decided = [row for row in cells if row["came_back_rate"] is not None]
    if not decided:
        return _empty(complaint_recovery, "No complaint is 90 days old yet: there is no outcome to show.")
    names = {(row["severity"], row["handling"]): row for row in cells}
    order = [
        (severity, handling) for severity in ("minor", "major") for handling in ("fast", "slow", "unresolved", "silent")
    ]
    present = [key for key in order if key in names]
    chosen = [names[key] for key in present]
    labels = [f"{row['severity']}, {row['handling']} (n = {row['decided_complaint_count']:,})" for row in chosen]
    figure = _figure("came back within 90 days", "")
    figure.add_bar(
        y=labels,
        x=[None if row["came_back_rate"] is None else float(row["came_back_rate"]) for row in chosen],
        orientation="h",
        name="measured, 95 % interval",
        marker_color=BLUE,
        error_x={
            "type": "data",
            "color": GREY,
            "array": [_distance(row, "high") for row in chosen],
            "arrayminus": [_distance(row, "low") for row in chosen],
        },
    )
    published = _values(chosen, "published_came_back_rate")
    marker = {"symbol": "diamond", "size": 11, "color": ORANGE}
    figure.add_scatter(y=labels, x=published, mode="markers", name="published (TARP 1986)", marker=marker)
    figure.update_xaxes(tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(autorange="reversed")
    return _drawn(
        complaint_recovery,
        f"{number(sum(row['decided_complaint_count'] for row in decided))} complaints and silent failures are old "
        "enough to judge. TARP asked people whether they would buy again; here they did or did not.",
        figure,
    )


def churn_calibration(connection: Connection) -> Picture:
    """Can the churn score be believed?"""
    found = read(
        connection,
        """
        select evaluation.model, evaluation.calibration_bins as bins, evaluation.auc, evaluation.brier,
            versions.tested_on, versions.model_version
        from marts.churn_model_evaluation as evaluation
        inner join marts.churn_model_versions as versions using (model_version)
        where evaluation.segment = 'all' and evaluation.calibration_bins is not null
            and evaluation.model in ('primary', 'hiatus')
            and model_version = (
                select model_version from marts.churn_model_versions
                order by is_serving desc, model_version desc limit 1)
        """,
    )
    if not found:
        return _empty(churn_calibration, "No churn model has been judged yet: `c360 churn fit`.")
    figure = _figure("predicted to leave", "left")
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="perfect", line={"color": GREY, "dash": "dot"})
    for row, colour in zip(sorted(found, key=lambda row: row["model"], reverse=True), (BLUE, ORANGE), strict=False):
        figure.add_scatter(
            x=[part["mean_predicted"] for part in row["bins"]],
            y=[part["realised"] for part in row["bins"]],
            mode="lines+markers",
            name=f"{row['model']} (AUC {number(row['auc'], 3)})",
            line_color=colour,
            text=[f"{part['n']:,} customers" for part in row["bins"]],
        )
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(tickformat=".0%", range=[0, 1])
    best = next((row for row in found if row["model"] == "primary"), found[0])
    return _drawn(
        churn_calibration,
        f"Version {best['model_version']}, judged once on customers as of {best['tested_on']}: "
        f"AUC {number(best['auc'], 3)}, Brier {number(best['brier'], 3)}. "
        "On the dotted line a score says what happens.",
        figure,
    )


def data_quality_and_freshness(connection: Connection) -> Picture:
    """Can the figures be believed: data quality and freshness"""
    feeds = read(
        connection,
        """
        select feed, count(*) as files, sum(landed_rows) as landed, sum(loaded_rows) as loaded,
            sum(quarantined_rows) as quarantined, sum(duplicate_rows) as duplicates, sum(refused_rows) as refused,
            max(landed_at) as last_landed_at
        from ops.batches where state <> 'duplicate' group by feed order by feed
        """,
    )
    if not feeds:
        return _empty(data_quality_and_freshness, "No file has landed yet.")
    figure = _figure("share of the landed rows", "")
    for column, colour in (("quarantined", ORANGE), ("refused", RED), ("duplicates", GREY)):
        figure.add_bar(
            y=[row["feed"].replace("_", " ") for row in feeds],
            x=[float(row[column] / row["landed"]) if row["landed"] else 0 for row in feeds],
            text=[number(row[column]) if row[column] else "" for row in feeds],
            name=column,
            orientation="h",
            marker_color=colour,
            hovertemplate="%{y}: %{x:.2%} " + column + "<extra></extra>",
        )
    largest = max(float((row["landed"] - row["loaded"]) / row["landed"]) if row["landed"] else 0 for row in feeds)
    figure.update_xaxes(tickformat=".1%", range=[0, max(1.1 * largest, 0.01)])
    figure.update_layout(barmode="stack", height=200, legend_traceorder="normal")
    aside = sum(row["quarantined"] + row["refused"] for row in feeds)
    landed = sum(row["landed"] for row in feeds)
    gates = read(
        connection,
        """
        select count(*) as checks, count(*) filter (where outcome <> 'passed') as failures
        from ops.gate_results where checked_at > now() - interval '30 days'
        """,
    )[0]
    fresh = read(
        connection,
        """
        select distinct on (subject, measure) subject, measure, round(age_minutes::numeric) as age_minutes,
            objective_minutes, is_fresh
        from ops.freshness order by subject, measure, looked_at desc
        """,
    )
    shown = ("feed", "files", "landed", "loaded", "quarantined", "refused", "last_landed_at")
    return Picture(
        data_quality_and_freshness.__name__,
        _title(data_quality_and_freshness),
        f"{number(landed)} rows landed, {percent(aside / landed if landed else None, 2)} stand aside in quarantine or "
        f"in refused files; in 30 days {number(gates['checks'])} expectations were judged and "
        f"{number(gates['failures'])} did not hold.",
        figure,
        ([{name: row[name] for name in shown} for row in feeds], fresh),
    )


def valuable_customers_at_risk(connection: Connection) -> Picture:
    """Who brought much and is about to leave: valuable customers at risk"""
    listed = read(
        connection,
        """
        select loyalty.customer_key, loyalty.past_value_amount as value_of_last_active_year,
            loyalty.value_at_risk_amount as value_of_it_at_risk, churn.churn_probability as likely_to_leave,
            loyalty.recency_days as days_since_last_order, round(loyalty.expected_gap_days, 1) as expected_gap_in_days
        from marts.customer_loyalty as loyalty
        left join marts.customer_churn as churn using (customer_key)
        where loyalty.is_high_past_value_at_risk
        order by loyalty.value_at_risk_amount desc nulls last, loyalty.past_value_amount desc, loyalty.customer_key
        """,
    )
    table = "marts.customer_loyalty where is_high_past_value_at_risk"
    what = "customers who brought much are late or probably leaving"
    return _listed(valuable_customers_at_risk, listed, what, table)


def open_warnings(connection: Connection) -> Picture:
    """What somebody should act on: open warnings"""
    listed = read(
        connection,
        """
        select customer_key, severity, rule, evidence, opened_on, due_on from marts.customer_alerts
        where closed_on is null
        order by array_position(array['critical', 'high', 'medium'], severity), due_on, customer_key
        """,
    )
    return _listed(
        open_warnings, listed, "open warnings, the gravest first", "marts.customer_alerts where closed_on is null"
    )


def waiting_for_a_rate(connection: Connection) -> Picture:
    """Money that waits for an exchange rate"""
    listed = read(
        connection,
        """
        select currency, sum(order_count) as orders, sum(original_gross_amount) as amount_in_that_currency,
            min(ordered_on) as first_on, max(ordered_on) as last_on
        from marts.unconverted_totals group by currency order by currency
        """,
    )
    return _listed(waiting_for_a_rate, listed, "currencies", "marts.unconverted_totals")


def _listed(draw: Callable[[Connection], Picture], rows: list[Row], what: str, table: str) -> Picture:
    """A list behind a figure: its first rows, and where the rest is."""
    if not rows:
        return Picture(draw.__name__, _title(draw), f"None: `{table}` has no row.")
    more = f" The first {_LISTED} are here; all are in `{table}`." if len(rows) > _LISTED else ""
    return Picture(draw.__name__, _title(draw), f"{number(len(rows))} {what}.{more}", None, (rows[:_LISTED],))


_PICTURES: tuple[tuple[Callable[[Connection], Picture], tuple[str, ...]], ...] = (
    (revenue_and_refunds, ("marts.fct_daily_revenue",)),
    (cohort_retention, ("marts.retention_cohorts",)),
    (value_concentration, ("marts.customer_concentration", "marts.customer_loyalty")),
    (rfm_map, ("marts.customer_loyalty",)),
    (lifecycle_flow, ("marts.lifecycle_stage_history",)),
    (tier_movement, ("marts.loyalty_tier_history",)),
    (satisfaction_against_churn, ("marts.customer_loyalty", "marts.customer_churn")),
    (complaint_recovery, ("marts.complaint_recovery",)),
    (churn_calibration, ("marts.churn_model_evaluation", "marts.churn_model_versions")),
    (valuable_customers_at_risk, ("marts.customer_loyalty", "marts.customer_churn")),
    (open_warnings, ("marts.customer_alerts",)),
    (waiting_for_a_rate, ("marts.unconverted_totals",)),
    (data_quality_and_freshness, ("ops.batches",)),
)


def _flow(
    connection: Connection, draw: Callable[[Connection], Picture], history: str, status: str, order: tuple[str, ...]
) -> Picture:
    """Where customers were at the start of the window and where they are now.

    The journal tells both; while it is younger than the window, the reconstructed month end before the window tells
    where they were.
    """
    journal, by_month = _JOURNALS[history], f"marts.{history}_by_month"
    first_on, last_on, is_known_by_month = read_one(
        connection,
        f"""
        select greatest(max(valid_from_on) - {_MOVEMENT_DAYS}, min(valid_from_on)), max(valid_from_on),
            max(valid_from_on) - {_MOVEMENT_DAYS} < min(valid_from_on)
        from marts.{journal}
        """,
    )
    is_known_by_month = is_known_by_month and exists(connection, by_month)
    if is_known_by_month:
        past_on = scalar(
            connection,
            f"select max(month_end_on) from {by_month} where month_end_on <= %s and is_reconstructed",
            [last_on - timedelta(days=_MOVEMENT_DAYS)],
        )
        is_known_by_month, first_on = past_on is not None, past_on or first_on
    earlier = (
        f"select customer_key, {status} from {by_month} where month_end_on = %s and is_reconstructed"
        if is_known_by_month
        else f"select customer_key, {status} from marts.{journal}"
        " where valid_from_on <= %s and (valid_to_on is null or valid_to_on > %s)"
    )
    flows = read(
        connection,
        f"""
        select earlier.{status} as was, present.{status} as is_now, count(*) as customers
        from marts.{journal} as present
        left join ({earlier}) as earlier using (customer_key)
        where present.valid_to_on is null
        group by 1, 2
        """,
        [first_on] * earlier.count("%s"),
    )
    if not flows:
        return _empty(draw, "No daily pass has recorded it yet.")
    names = ["new", *order]
    colours = dict(zip(names, (GREY, PURPLE, BLUE, GREEN, ORANGE), strict=True))
    before, after = [n for n in names if any((row["was"] or "new") == n for row in flows)], list(order)
    figure = _figure("", "")
    figure.add_sankey(
        node={
            "label": [f"{name} before" if name != "new" else name for name in before]
            + [f"{name} now" for name in after],
            "color": [colours[name] for name in [*before, *after]],
            "pad": 18,
            "thickness": 14,
            "line": {"width": 0},
        },
        link={
            "source": [before.index(row["was"] or "new") for row in flows],
            "target": [len(before) + after.index(row["is_now"]) for row in flows],
            "value": [row["customers"] for row in flows],
            "color": [_faint(colours[row["was"] or "new"]) for row in flows],
            "hovertemplate": "%{source.label} → %{target.label}: %{value:,} customers<extra></extra>",
        },
    )
    moved = sum(row["customers"] for row in flows if row["was"] not in (None, row["is_now"]))
    known = sum(row["customers"] for row in flows if row["was"])
    share = percent(moved / known if known else None, 1)
    said = (
        f"From {first_on} to {last_on} {number(moved)} of {number(known)} customers moved ({share})."
        + " The start is worked out from the records." * is_known_by_month
        if first_on < last_on
        else f"Recorded since {first_on}: movements show from the next daily pass on."
    )
    return _drawn(draw, said, figure)


def _faint(colour: str) -> str:
    """A colour that others are seen through."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},.35)"


def _distance(row: Row, end: str) -> float:
    """How far an end of the interval lies from the rate; 0 without a rate."""
    if row["came_back_rate"] is None:
        return 0.0
    return abs(float(row[f"came_back_rate_{end}"]) - float(row["came_back_rate"]))


def _figure(x: str, y: str, **layout: Any) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="plotly_white",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 20, "r": 20, "t": 30, "b": 30},
        height=340,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **layout,
    )
    # As wide as the labels need, and no wider.
    figure.update_xaxes(title_text=x, automargin=True)
    figure.update_yaxes(title_text=y, automargin=True)
    return figure


def _values(rows: list[Row], column: str) -> list[float]:
    return [float(row[column] or 0) for row in rows]


def _title(draw: Callable[[Connection], Picture]) -> str:
    return (draw.__doc__ or "").strip()


def _drawn(draw: Callable[[Connection], Picture], sentence: str, figure: go.Figure) -> Picture:
    return Picture(draw.__name__, _title(draw), sentence, figure)


def _empty(draw: Callable[[Connection], Picture], sentence: str) -> Picture:
    return Picture(draw.__name__, _title(draw), sentence)
