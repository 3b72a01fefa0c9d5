"""The report as one HTML file: Plotly's script is in it, and nothing is fetched from anywhere."""

from __future__ import annotations

import re
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
:root { color-scheme: light dark; --page: #f3f5f7; --card: #fff; --ink: #1b1f24; --quiet: #57606a; --line: #d8dee4;
 --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --card: #161b22; --ink: #e6edf3; --quiet: #9aa4af;
 --line: #30363d; --link: #6cb6ff; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 0 auto; padding: 1.2rem;
 color: var(--ink); background: var(--page); }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 0 0 .2rem; font-size: 1.15rem; }
h3 { margin: .8rem 0 .1rem; font-size: .95rem; } p { margin: .2rem 0; }
a { color: var(--link); } nav { margin: .6rem 0 1rem; } nav a { margin-right: 1rem; white-space: nowrap; }
.quiet { color: var(--quiet); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin: .8rem 0; }
.tiles div, section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.tiles div { padding: .6rem .9rem; } .tiles span { color: var(--quiet); font-size: .85rem; display: block; }
.tiles b { font-size: 1.3rem; font-variant-numeric: tabular-nums; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(34rem, 100%), 1fr)); gap: .8rem; }
section { padding: 1rem 1.1rem; min-width: 0; } section.wide { grid-column: 1 / -1; }
.answer { color: var(--quiet); }
table { border-collapse: collapse; margin: .5rem 0 0; display: block; overflow-x: auto; font-size: .9rem; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--quiet); font-weight: 600; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
td.n, td.t { white-space: nowrap; }
.figures { columns: 20rem; column-gap: 2rem; } .figures > div { break-inside: avoid; padding-bottom: .4rem; }
dl { margin: 0; } dl div { display: flex; justify-content: space-between; gap: 1rem; font-size: .9rem;
 border-bottom: 1px solid var(--line); } dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
</style><script>$script</script></head><body>
$body
<script>$paint</script></body></html>
""")

# Plotly draws with colours of its own: these follow the reader's scheme, and its change.
_PAINT = """
const dark = matchMedia('(prefers-color-scheme: dark)');
function paint() {
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue('--' + name).trim();
  const scale = dark.matches ? [[0, '#13283a'], [1, '#7cc4f5']] : [[0, '#eef5fb'], [1, '#084a85']];
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {
    const change = {paper_bgcolor: colour('card'), plot_bgcolor: colour('card'), 'font.color': colour('ink')};
    for (const axis of ['xaxis', 'yaxis']) {
      change[axis + '.gridcolor'] = colour('line');
      change[axis + '.zerolinecolor'] = colour('line');
      change[axis + '.linecolor'] = colour('line');
    }
    Plotly.relayout(plot, change);
    const maps = plot.data.map((trace, place) => trace.type === 'heatmap' ? place : -1).filter(place => place >= 0);
    if (maps.length) Plotly.restyle(plot, {colorscale: [scale]}, maps);
    Plotly.Plots.resize(plot);  // it was drawn while the page was still growing
  }
}
dark.addEventListener('change', paint);
paint();
"""

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


def report(pictures: list[Picture], state: Row) -> str:
    """The page of the shop."""
    made = (
        f"Publication {state['publication_id']} of {_when(state['published_at'])}, daily figures of "
        f"{state['as_of_on'] or 'no day yet'}. Money is in the reporting currency."
    )
    tiles = _tiles(
        {
            "customers": number(state["customer_count"]),
            "orders": number(state["order_count"]),
            "net revenue": number(state["net_amount"]),
            "bought twice in 365 days": percent(state["repeat_share"], 1),
            "VIPs at risk": number(state["vip_at_risk_count"]),
            "open warnings": number(state["open_alert_count"]),
        }
    )
    links = "".join(f'<a href="#{picture.name}">{escape(picture.title)}</a> ' for picture in pictures)
    sections = "".join(_section(picture) for picture in pictures)
    return _page(
        "customer360 report",
        f'<h1>customer360</h1><p class="quiet">{escape(made)}</p>{tiles}<nav>{links}</nav><main>{sections}</main>',
    )


def customer(story: CustomerStory) -> str:
    """The page of one customer."""
    key = str(story.customer_key)
    moved = f" Asked for as {story.asked_key}, merged since." if story.asked_key != story.customer_key else ""
    body = f'<h1>Customer {key}</h1><p class="quiet">{escape(_sentence(story))}{moved}</p>{_tiles(_standing(story))}'
    body += "<main>"
    body += _card("What happened", _plot("timeline", story.timeline))
    body += _card("Will this customer order again?", _churn(story.churn))
    if story.alerts:
        columns = ["opened_on", "rule", "severity", "evidence", "due_on", "closed_on", "closed_because"]
        body += _card("Warnings", _table(story.alerts, columns))
    body += _card("Loyalty, concept by concept", _concepts(story.loyalty, story.descriptions))
    if story.postings:
        columns = ["effective_on", "kind", "points", "lot", "source_id", "version", "expires_on", "why", "posted_on"]
        body += _card("Points, posting by posting", _table(story.postings, columns))
    body += _card("Event by event", _table(story.events, ["at", "kind", "id", "amount", "what"]))
    return _page(f"customer {key}", body + "</main>")


def _standing(story: CustomerStory) -> dict[str, str]:
    """What one looks at first."""
    loyalty, churn = story.loyalty, story.churn
    tiles = {
        "orders": number(story.figures["order_count"]),
        "net revenue": number(story.figures["net_amount"], 2),
        "likely to leave": percent(churn.get("churn_probability"), 1),
    }
    if loyalty:
        tiles |= {
            "lifecycle stage": str(loyalty["lifecycle_stage"]),
            "tier": str(loyalty["tier"]),
            "points": number(loyalty["points_balance"]),
            "RFM segment": str(loyalty["rfm_segment"] or "–").replace("_", " "),
            "loyalty score": number(loyalty["loyalty_score"], 2),
        }
    return tiles


def _tiles(tiles: dict[str, str]) -> str:
    cells = "".join(f"<div><span>{escape(name)}</span><b>{escape(value)}</b></div>" for name, value in tiles.items())
    return f'<div class="tiles">{cells}</div>'


def _card(title: str, body: str) -> str:
    return f'<section class="wide"><h2>{escape(title)}</h2>{body}</section>'


def _sentence(story: CustomerStory) -> str:
    figures, loyalty = story.figures, story.loyalty
    said = f"{number(figures['session_count'])} visits, {number(figures['ticket_count'])} tickets."
    if loyalty:
        said += f" Daily figures of {loyalty['as_of_on']}: rung {loyalty['ladder_rung']}, "
        said += f"loyalty {str(loyalty['loyalty_quadrant']).replace('_', ' ')}, stage {loyalty['lifecycle_stage']}"
        said += f" since {loyalty['stage_since_on']}."
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
    body += "".join(_table(rows, list(rows[0])) for rows in picture.tables if rows)
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
        config={"displayModeBar": False, "responsive": True},
    )
    return drawn


def _concepts(loyalty: Row, descriptions: dict[str, str]) -> str:
    """The columns of customer_loyalty that are measured, by concept; hovering a name shows what it is."""
    groups: dict[str, list[str]] = {}
    for name, value in loyalty.items():
        model = re.search(r"\((int_\w+)\)$", descriptions.get(name, ""))
        if model and value is not None:
            term = f'<dt title="{escape(descriptions[name])}">{escape(name)}</dt>'
            line = f"<div>{term}<dd>{escape(_shown(value))}</dd></div>"
            groups.setdefault(model[1], []).append(line)
    cells = "".join(
        f"<div><h3>{escape(_CONCEPTS.get(model, model))}</h3><dl>{''.join(lines)}</dl></div>"
        for model, lines in groups.items()
    )
    return f'<div class="figures">{cells}</div>' if cells else "<p>Not measured yet.</p>"


def _table(rows: list[Row], columns: list[str]) -> str:
    head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in columns)
    lines = []
    for row in rows:
        cells = "".join(_cell(row[column]) for column in columns)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return f'<td class="n">{escape(_shown(value))}</td>'
    return (
        f'<td class="t">{escape(_shown(value))}</td>'
        if isinstance(value, date)
        else f"<td>{escape(_shown(value))}</td>"
    )


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return _when(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, date):
        return str(value)
    if isinstance(value, float | Decimal):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return str(value)


def _when(value: datetime | None) -> str:
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def _page(title: str, body: str) -> str:
    return _PAGE.substitute(title=escape(title), script=plotly.offline.get_plotlyjs(), body=body, paint=_PAINT)
