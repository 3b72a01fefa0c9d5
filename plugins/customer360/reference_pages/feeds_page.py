"""docs/feeds.md: the front door's contract for producers, from the feeds and the landing expectations."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from customer360.contract.feeds import FEEDS, Feed, Field, Limits

_COMMON = """# The feeds

What a producer may land, field by field. The contract is frozen for additions only. Exports of Shopify, WooCommerce, Zendesk, Freshdesk,
Google Analytics, Snowplow and Segment land as they are: [bring your shop](sources.md). Any other shop converts its export to this
once, by a source of its own (`c360 source new`) or before it lands.

## Rules for every file

- A file is a **batch**: it is never changed. A correction arrives in a later file.
- It lands at `<landing>/<feed>/<name>`, or in `<landing>/<feed>/history/` if it brings in the past (a backfill). Write it elsewhere and
  rename it in, or write `<name>.part` and rename: dot-files and `.part` are never read. `c360 land FEED FILE…` does that.
- Formats: JSON Lines (`.jsonl`), CSV with a header (`.csv`; comma, semicolon or tab; `items` and `refunds` hold JSON text), each also gzipped
  (`.gz`), and Parquet (`.parquet`). Text is UTF-8. The same records mean the same in every format.
- A record is one **version** of one order, session, ticket or event: whenever it changes it is sent again, whole. The greatest `updated_at` wins,
  whatever the order of arrival.
- Times say their offset: ISO 8601 in any of its forms (`2026-11-20T10:00:00Z`, `2026-11-20 10:00 -0500`, `20261120T100000Z`), RFC 2822
  (`Fri, 20 Nov 2026 10:00:00 GMT`). What is finer than a microsecond is cut off. A time without an offset is not read: we do not guess zones.
  A bare number is not read either, since nothing says what it counts. Parquet times without a zone are read in the zone that
  `C360_PARQUET_TIMEZONE` names (INT96 times that Spark wrote are UTC); without it a file with such a required column is refused.
- Money is decimal text or a number with at most four decimals; digits from the tenth after the point on are taken for the noise of binary
  floating point and rounded away. Prices and quantities of items are rounded to six decimals. Nothing is a float inside.
- A boolean is `true`/`false`, `1`/`0` or `yes`/`no`, in any case; in JSON and Parquet also a boolean.
- Ids (of records, customers, devices, articles, refunds; e-mail and phone too) are trimmed of white space and brought to NFC, and missing
  when nothing is left. A number is read as the text of its digits. One that a spreadsheet has rounded (`5.43E+12`) is not read.
- `source` is the namespace of a record's own ids: two shops may both have an order 1001 if at least one of them names its source. An
  `order_id` in a session or ticket means an order of the record's own source, and a `customer_id` counts in its source too; e-mail
  addresses and phone numbers are the same person in every source.
- An identifier that names nobody (`NULL`, `(not set)`, `0.0`, `noreply@…`, `….invalid`) is loaded and joins nobody; which ones these are, and how
  records become customers, is in [who is who](identity.md). A session with an `order_id` belongs to that order's customer.
- `deleted: true` withdraws a record (a test order, a deleted ticket). It is a version like any other: the newest one decides, and a later
  version without it brings the record back.
- What never changes tells two records under one id apart: a version that changes an order's `ordered_at` and its customer, a session's
  `started_at` and its device, an event's `occurred_at` and its device, or a ticket's `created_at` and its requester marks the record with `has_id_conflict`, and on-call is alerted.
- In `contact_preferences`, `stated_at` defaults to the record's `updated_at`.
- Choices are compared without regard to case. `UK` is read as `GB`.
- Unknown fields are kept, counted and reported once. A missing required column refuses the whole file.
- An **optional field** whose value cannot be used costs that field and not the record: the column is null, `extra.unusable` keeps the
  value as it came, and the batch counts it by field and rule (`c360 why BATCH`, `c360 status`). A wrong **required** field, amount, or
  relation between amounts puts the row aside with every reason it has (`c360 quarantine list`), and the good rows go on. So does a
  `source` or `deleted` that cannot be used: without them it would be another shop's record, or one that its source has withdrawn.
- What a table below calls its limit is that of the narrowest column, sum and product behind it, so that no row can stop another one's
  publication.
- A JSON array of records is read like JSON Lines. In CSV a line `sep=;`, up to 20 title lines above the header, and rows without any
  value are left out.

## Order lines and refunds

- A line without `sku` is a tip, a fee or a custom line: it counts, with a null `sku`. A line may have a negative `unit_price` (a voucher,
  a fee waived): it is published with it and keeps 0 in `kept_amount`. A line with quantity 0 is left out and counted.
- One `refund_id` counts once: the same content twice, or of two contents the one with the greater hash, with a warning. A refund without
  `refunded_at` is dated by the `updated_at` of the version in which it was first seen; where a vendor's export states an amount without a
  day, its source dates it by the latest time that the order states
  ([decision 23](decisions/0023-a-refund-without-a-day-is-dated-by-its-order.md)). Refunds may exceed the total by 0.05 or 0.1 %
  (rounding): a warning, and no more is taken back than was charged.
- Gift cards and store credit can make `total_amount` smaller than tax and shipping together: net revenue is 0 then, marked by
  `fct_orders.is_net_floored`, and the batch has a warning with the count.

## Sessions or events

A tracker lands its sessions (web_sessions) or its events (web_events), not both: its visits would count twice, and on-call is alerted. Of
events the product builds the sessions ([decision 32](decisions/0032-events-become-sessions.md)).

- A session is what has one `session_id`. Events without one make sessions by device (`anonymous_id`): `C360_SESSION_SILENCE_MINUTES` without an
  event begin the next session, and so does an event of another campaign than the last one named (`C360_SESSION_CAMPAIGN_CUT`). Such a session is called `event:`
  and the id of its first event.
- The order of arrival does not matter: a late event restates its session, joins two, or cuts one in two.
- Counted are the events named `page_view` (or `screen_view`), `product_view`, `search`, `add_to_cart` and `checkout_started`, in any case. Other names are
  welcome: they lengthen the session.
- A campaign is read from `utm_source`, `utm_medium` and `utm_campaign` of the event, else of `page_url`. Then the addresses lose their query, fragment and
  log-in, since these may be personal.
- A session with an event that is marked `is_bot` or `is_internal`, of a browser that names itself as a program (`user_agent`), of a page or mail domain in
  `C360_INTERNAL_TRAFFIC`, of more than `C360_BOT_SESSION_EVENTS` events or of more than 24 hours is left out of `fct_sessions` and counted in
  `fct_daily_web_traffic`.
"""

# Said by the field table already.
_SAID_BY_THE_TABLE = {
    "readable", "required", "choice", "length", "unknown_field", "not_empty", "minimum", "limit", "plausible_time",
    "mended", "form",
}  # fmt: skip


def feeds_page() -> str:
    """The page: common rules, then for each feed its fields and the rules between them with their reasons."""
    return "\n".join([_COMMON, *(_feed(feed) for feed in FEEDS.values())])


def _feed(feed: Feed) -> str:
    lines = [
        f"## {feed.name}",
        "",
        f"Identified by `{feed.id_field}`.",
        "",
        "| field | type | required | values |",
        "|---|---|---|---|",
    ]
    lines += [_row(field) for field in feed.fields]
    for field in feed.fields:
        if field.elements:
            lines += [
                "",
                f"An element of `{field.name}`:",
                "",
                "| field | type | required | values |",
                "|---|---|---|---|",
            ]
            lines += [_row(element) for element in field.elements]
    lines += ["", "Rules between fields, and why:", ""]
    suite = import_module(f"expectations.landing.{feed.name}").suite()
    for expectation in suite.expectations:
        if expectation.rule not in _SAID_BY_THE_TABLE or hasattr(expectation, "factor"):
            lines.append(f"- {expectation.description}. {expectation.notes}{_cost(expectation)}")
    return "\n".join([*lines, ""])


def _row(field: Field) -> str:
    few = len(field.choices) <= 12
    values = ", ".join(field.choices) if few else f"{len(field.choices)} codes"
    if field.form:
        values = field.form_in_words
    if field.max_length:
        values = f"at most {field.max_length} characters"
    if field.limits is not None:
        values = _limits(field, field.limits)
    if field.default_from:
        values += f"; default: `{field.default_from}`"
    personal = " (personal: masked wherever it is shown)" if field.is_personal else ""
    return f"| `{field.name}` | {field.kind} | {'yes' if field.required else 'no'} | {values}{personal} |"


def _cost(expectation: Any) -> str:
    if expectation.costs:
        return f" Costs {' and '.join(f'`{name}`' for name in expectation.costs)} alone."
    return " A warning." if str(getattr(expectation.severity, "value", expectation.severity)) == "warning" else ""


def _limits(field: Field, limits: Limits) -> str:
    if field.kind == "time":
        return f"1995-01-01 to {limits.days_ahead:,} day{'s' if limits.days_ahead > 1 else ''} after the landing"
    parts = [f"{limits.least:,f} or more"] if limits.least is not None else []
    parts += [f"at most {limits.most:,f}"] if limits.most is not None else []
    parts += [f"less than {limits.below:,f}"] if limits.below is not None else []
    if limits.decimals:
        parts.append(f"{'rounded to' if limits.is_rounded else 'at most'} {limits.decimals} decimals")
    return "; ".join(parts)
