"""docs/feeds.md: the front door's contract for producers, from the feeds and the landing expectations."""

from __future__ import annotations

from importlib import import_module

from customer360.contract.feeds import FEEDS, Feed, Field

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
- A record is one **version** of one order, session or ticket: whenever it changes it is sent again, whole. The greatest `updated_at` wins,
  whatever the order of arrival.
- Times are ISO 8601 with an offset. A time without one is quarantined: we do not guess zones.
- Money is decimal text or a number with at most four decimals. It is never a float inside.
- A refund has a day. Where a vendor states an amount without one, its source dates it by the latest time that the order states, and counts it
  ([decision 23](decisions/0023-a-refund-without-a-day-is-dated-by-its-order.md)).
- A boolean is `true`/`false`, `1`/`0` or `yes`/`no`, in any case; in JSON and Parquet also a boolean.
- Ids count without white space around them and in Unicode's NFC; an id of nothing but white space is missing.
- `source` is the namespace of a record's own ids: two shops may both have an order 1001 if at least one of them names its source. An
  `order_id` in a session or ticket means an order of the record's own source, and a `customer_id` counts in its source too; e-mail
  addresses and phone numbers are the same person in every source.
- `deleted: true` withdraws a record (a test order, a deleted ticket). It is a version like any other: the newest one decides, and a later
  version without it brings the record back.
- What never changes tells two records under one id apart: a version that changes an order's `ordered_at` and its customer, a session's
  `started_at` and its device, or a ticket's `created_at` and its requester marks the record with `has_id_conflict`, and on-call is alerted.
- In `contact_preferences`, `stated_at` defaults to the record's `updated_at`.
- Unknown fields are kept, counted and reported once. A missing required column refuses the whole file; a bad row steps aside with every
  reason it has (`c360 quarantine list`), and the good rows go on.
"""

# Said by the field table already.
_SAID_BY_THE_TABLE = {"readable", "required", "choice", "length", "unknown_field", "not_empty", "form"}


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
        if getattr(expectation, "rule", "") not in _SAID_BY_THE_TABLE:
            lines.append(f"- {expectation.description}. {expectation.notes}")
    return "\n".join([*lines, ""])


def _row(field: Field) -> str:
    few = len(field.choices) <= 12
    values = ", ".join(field.choices) if few else f"{len(field.choices)} codes"
    if field.form:
        values = field.form_in_words
    if field.max_length:
        values = f"at most {field.max_length} characters"
    personal = " (personal: masked wherever it is shown)" if field.is_personal else ""
    return f"| `{field.name}` | {field.kind} | {'yes' if field.required else 'no'} | {values}{personal} |"
