"""The report as one HTML file: Plotly's script is in it, and nothing is fetched from anywhere."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from html import escape
from string import Template
from typing import Any

import plotly.io
import plotly.offline

from customer360.report.customer import CustomerStory
from customer360.report.pictures import Picture
from customer360.report.reading import Row, number, percent

# The policy makes the promise hold: a page with it cannot load or send anything.
_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline';
 style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<title>$title</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem;
 color: #1b1b1b; background: #fff; }
h1 { margin-bottom: 0; } h2 { margin: 2.5rem 0 .2rem; } p { margin: .3rem 0; max-width: 60rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
table { border-collapse: collapse; margin: .5rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: .2rem 2rem; }
.figures div { display: flex; justify-content: space-between; border-bottom: 1px solid #ddd; gap: 1rem; }
.quiet { color: #555; }
</style><script>$script</script></head><body>
$body
</body></html>
""")


def report(pictures: list[Picture], state: Row) -> str:
    """The page of the shop."""
    made = (
        f"Publication {state['publication_id']} of {_when(state['published_at'])}, daily figures of "
        f"{state['as_of_on'] or 'no day yet'}: {number(state['customer_count'])} customers, "
        f"{number(state['order_count'])} orders, {number(state['net_amount'], 2)} net revenue."
    )
    links = "".join(f'<a href="#{picture.name}">{escape(picture.title)}</a> ' for picture in pictures)
    sections = "".join(_section(picture) for picture in pictures)
    return _page(
        "customer360 report",
        f'<h1>customer360</h1><p class="quiet">{escape(made)}</p><nav>{links}</nav>{sections}',
    )


def customer(story: CustomerStory) -> str:
    """The page of one customer."""
    key = str(story.customer_key)
    moved = f" (asked for as {story.asked_key})" if story.asked_key != story.customer_key else ""
    body = f"<h1>Customer {key}</h1>"
    body += f'<p class="quiet">{escape(_sentence(story))}{moved}</p>'
    body += "<h2>What happened</h2>" + _plot("timeline", story.timeline)
    body += "<h2>Churn</h2>" + _churn(story.churn)
    body += "<h2>Loyalty</h2>" + _figures(story.loyalty, leave_out={"customer_key", "refreshed_at"})
    if story.alerts:
        columns = ["opened_on", "rule", "severity", "evidence", "due_on", "closed_on", "closed_because"]
        body += "<h2>Warnings</h2>" + _table(story.alerts, columns)
    if story.postings:
        columns = ["effective_on", "kind", "points", "lot", "source_id", "version", "expires_on", "why", "posted_on"]
        body += "<h2>Points</h2>" + _table(story.postings, columns)
    body += "<h2>Event by event</h2>" + _table(story.events, ["at", "kind", "id", "amount", "what"])
    return _page(f"customer {key}", body)


def _sentence(story: CustomerStory) -> str:
    figures, loyalty = story.figures, story.loyalty
    said = (
        f"{number(figures['order_count'])} orders, {number(figures['net_amount'], 2)} net revenue, "
        f"{number(figures['session_count'])} visits, {number(figures['ticket_count'])} tickets."
    )
    if loyalty:
        said += f" Stage {loyalty['lifecycle_stage']}, rung {loyalty['ladder_rung']}, tier {loyalty['tier']}"
        said += f", {loyalty['rfm_segment']}." if loyalty["rfm_segment"] else "."
    return said


def _churn(churn: Row) -> str:
    if not churn or churn["churn_probability"] is None:
        status = escape(str(churn.get("model_status", "not scored"))) if churn else "not scored"
        return f"<p>No churn probability: {status}.</p>"
    said = (
        f"{percent(churn['churn_probability'], 1)} likely to place no order in {churn['horizon_days']} days "
        f"(band {churn['churn_band']}, model {churn['model_status']})."
    )
    reasons = [
        {"reason": churn[f"reason_{place}_code"], "contribution to the log-odds": churn[f"reason_{place}_contribution"]}
        for place in (1, 2, 3)
        if churn.get(f"reason_{place}_code")
    ]
    rest = (
        _table(reasons, ["reason", "contribution to the log-odds"]) if reasons else "<p>Nothing raises the score.</p>"
    )
    return f"<p>{escape(said)}</p>{rest}<p class='quiet'>Reasons explain the score, not the cause.</p>"


def _section(picture: Picture) -> str:
    body = _plot(picture.name, picture.figure) if picture.figure is not None else ""
    if picture.rows:
        body += _table(picture.rows, list(picture.rows[0]))
    return (
        f'<section id="{picture.name}"><h2>{escape(picture.title)}</h2>'
        f'<p class="answer">{escape(picture.sentence)}</p>{body}</section>'
    )


def _plot(name: str, figure: Any) -> str:
    drawn: str = plotly.io.to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        div_id=f"plot-{name}",
        config={"displaylogo": False, "responsive": True},
    )
    return drawn


def _figures(row: Row, leave_out: set[str]) -> str:
    cells = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(_shown(value))}</b></div>"
        for name, value in row.items()
        if name not in leave_out and value is not None
    )
    return f'<div class="figures">{cells}</div>' if cells else "<p>Not measured yet.</p>"


def _table(rows: list[Row], columns: list[str]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = []
    for row in rows:
        cells = "".join(_cell(row[column]) for column in columns)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(value: Any) -> str:
    is_figure = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return f'<td class="n">{escape(_shown(value))}</td>' if is_figure else f"<td>{escape(_shown(value))}</td>"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return _when(value)
    if isinstance(value, date | bool):
        return str(value)
    if isinstance(value, float | Decimal):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return str(value)


def _when(value: datetime | None) -> str:
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def _page(title: str, body: str) -> str:
    return _PAGE.substitute(title=escape(title), script=plotly.offline.get_plotlyjs(), body=body)
