"""docs/privacy.md: what is kept of people, where, why and for how long, from the catalogue of personal data."""

from __future__ import annotations

import textwrap

from customer360.contract.feeds import FEEDS, Feed
from customer360.contract.personal_data import FREE_TEXT, catalogue

# Schema → what it is for, who reads it, when what it holds of a person goes.
_PURPOSES = {
    "raw": (
        "The records as they were landed: later corrections are compared with them, and every table can be built again.",
        "the models",
        "`c360 tidy` after `C360_RAW_RETENTION_DAYS` (0: kept)",
    ),
    "quarantine": (
        "Records that stepped aside, until somebody corrects or discards them.",
        "role `oncall`, masked; in clear on record",
        "with the raw rows of their time",
    ),
    "state": (
        "The key map (so that a customer keeps a key), journals, decisions, records that raw has let go of.",
        "the models",
        "kept: keys and journals are promises; an erasure takes a person out",
    ),
    "staging": ("The latest version of each record.", "the models", "with the record in raw"),
    "identity": ("Which identifiers are one person.", "the models", "with the record in raw"),
    "intermediate": ("Steps between staging and the published tables.", "the models", "with the record in raw"),
    "candidate": ("The published tables before their gate.", "the gates", "with the published row"),
    "marts": (
        "Figures for reports and decisions, by pseudonym.",
        "roles `bi_reader`, `pii_reader`, `oncall`",
        "with the record in raw or its frozen figures; histories are kept",
    ),
    "marts_pii": (
        "E-mail addresses and phone numbers, to reach the customers whom a table of marts names.",
        "role `pii_reader`",
        "with the last record that shows them",
    ),
    "ops": (
        "What the steps did: batches, runs, incidents. Log-in names of who acted; nothing of customers but keys.",
        "roles `oncall`, `bi_reader`, `pii_reader`",
        "kept; findings of gates that were all well go after `C360_LANDED_FILE_DAYS`",
    ),
}
_BESIDE = (
    ("landed files", "the records as they came", "`c360 tidy` after `C360_LANDED_FILE_DAYS`, once published"),
    ("backups", "everything above, sealed", "pruned to the newest `C360_BACKUP_KEEP`"),
    ("exports (`c360 quarantine export`, `c360 person export`)", "records in clear", "whoever made them removes them"),
)
_TAGS = {
    "sensitive": "What a person wrote, or what would hurt if it were seen.",
    "personal": "It names or reaches a person, or may.",
    "pseudonym": "A key or an id that leads to a person in another table. It is never masked: an id that looks like a phone "
    "number may be an EAN.",
    FREE_TEXT: "What people and systems write as they like: personal in `raw`, `staging`, `intermediate` and `state`; in "
    "`candidate`, `marts` and `ops` what is recognised in it is masked, and the tag is none.",
}


def privacy_page() -> str:
    """The page."""
    lines = [
        "# Personal data",
        "",
        "What is kept of people, where, for what and for how long. Each column of each schema has one tag, in "
        "`plugins/customer360/contract/personal_data.yml`; a column without one fails a test. "
        "[Decision 10](decisions/0010-personal-data-is-tagged-once-and-masked-where-it-is-published.md) says why it is so, "
        "[erasure.md](erasure.md) how a person is forgotten, [security.md](security.md) who can reach what.",
        "",
        "## Where, for what, and for how long",
        "",
        "| schema | for what | who reads it | when it goes |",
        "|---|---|---|---|",
        *(f"| `{schema}` | {what} | {who} | {until} |" for schema, (what, who, until) in _PURPOSES.items()),
        "",
        "| beside the warehouse | holds | when it goes |",
        "|---|---|---|",
        *(f"| {what} | {holds} | {until} |" for what, holds, until in _BESIDE),
        "",
        "`c360 erase` takes a person out of all of these at once, but for older backups and exports.",
        "",
        "## What is masked",
        "",
        "On the way to `marts`, e-mail addresses, phone numbers and card numbers (by issuer, length and check digit) in "
        "free text become `[e-mail]`, `[phone number]` and `[card number]`, and addresses of pages lose their query, "
        "fragment and log-in. The landing gate warns about them (`personal_value` in `ops.gate_results`, and the batch's "
        "warning); no record is held back. Names of files and of unknown fields are masked before anything stores them; "
        "a landed file whose name has one is renamed.",
        "",
        "A name of a person has no pattern: who lets staff or customers write names into the fields below publishes them.",
        "",
        "| feed | fields whose text is published, masked |",
        "|---|---|",
        *(f"| `{feed.name}` | {', '.join(f'`{name}`' for name in _free_text(feed))} |" for feed in FEEDS.values()),
        "",
        "What waits in quarantine is masked for role `oncall` (`quarantine.masked_rows`, `c360 quarantine list`, `show`). "
        "In clear it is given out on record, with who and why, in `ops.batch_actions` (action `reveal`): "
        "`c360 quarantine show ROW --reveal --because …`, `c360 quarantine export`, or "
        "`select * from quarantine.reveal(array[ROW], 'why')` in a transaction that may write.",
        "",
        "## The columns",
        "",
    ]
    for section, meaning in _TAGS.items():
        name = "free text" if section == FREE_TEXT else section
        entries = catalogue()[section]
        lines += [f"### {name.capitalize()}", "", meaning, "", "| column | what it holds |", "|---|---|"]
        lines += [f"| `{column}` | {what} |" for column, what in entries.items()]
        lines.append("")
    lines += [
        "### None",
        "",
        "Figures, times, states and words of the program. They say nothing of a person by themselves; in a row with a "
        "key they are that person's, and go with the row.",
        "",
        *textwrap.wrap(
            ", ".join(f"`{column}`" for column in catalogue()["none"]) + ".",
            150,
            break_long_words=False,
            break_on_hyphens=False,
        ),
    ]
    return "\n".join(lines) + "\n"


def _free_text(feed: Feed) -> list[str]:
    return [
        *(one.name for one in feed.fields if one.is_free_text),
        *(f"{one.name}[].{inner.name}" for one in feed.fields for inner in one.elements if inner.is_free_text),
    ]
