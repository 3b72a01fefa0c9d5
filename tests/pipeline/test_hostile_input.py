"""Hostile input, as one table: what is tried, where it is put, and the test that holds what becomes of it.

What a producer writes is data everywhere: it is never run, never a template, never a path, never part of a statement
or of a page's markup, and it stops nobody else's rows.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from customer360.contract.feeds import FEEDS
from customer360.front_door import load
from customer360.gates.data_docs import build_data_docs
from customer360.publication.build import build
from customer360.settings import Settings
from tests.pipeline.front_door import drop, jsonl
from tests.pipeline.shop import order, rows, session, ticket

ROOT = Path(__file__).resolve().parents[2]
TABLE = [
    # (what is tried, where, the test that holds it)
    ("SQL, Jinja, HTML, shell, format strings", "fields, ids, unknown fields, names of files",
     "pipeline/test_hostile_input.py::test_hostile_text_is_data_from_the_file_to_the_page"),
    ("archives in archives", "files", "pipeline/test_hostile_input.py::test_an_archive_that_is_no_batch_is_refused"),
    ("HTML", "Data Docs", "pipeline/test_data_docs.py::test_a_files_name_is_shown_and_not_obeyed"),
    ("HTML", "the report", "pipeline/test_report.py::test_the_report_shows_every_picture_and_loads_nothing"),
    ("paths, numbers of any size", "addresses of pages",
     "pipeline/test_pages.py::test_whatever_the_path_is_no_page_breaks"),
    ("paths, control characters", "names of files",
     "pipeline/test_front_door_faults.py::test_a_hostile_name_is_not_landed"),
    ("links, pipes, devices", "files",
     "pipeline/test_front_door_faults.py::test_what_is_no_regular_file_is_refused_unopened"),
    ("formula cells", "exports", "pipeline/test_quarantine.py::test_a_spreadsheet_finds_no_formula_in_an_export"),
    ("Jinja, SQL, paths", "dag_run.conf",
     "pipeline/test_airflow_forms.py::test_a_form_takes_what_fits_and_nothing_else"),
    ("bombs of gzip", "files", "pipeline/test_fuzz.py::test_a_gzip_bomb_is_refused_in_bounded_time"),
    ("bombs of many short lines", "files", "pipeline/test_fuzz.py::test_a_bomb_of_lines_is_refused"),
    ("a million columns, huge lines", "files", "pipeline/test_fuzz.py::test_a_bomb_is_refused_with_its_reason"),
    ("mutated and random bytes", "files", "pipeline/test_fuzz.py::test_hostile_files_leave_a_balanced_ledger"),
    ("extreme numbers and times", "fields",
     "pipeline/test_limits.py::test_the_extreme_values_of_every_field_reach_publication_or_quarantine"),
    ("statements, changes of roles", "log-ins of readers",
     "pipeline/test_access.py::test_a_reader_changes_nothing_but_itself"),
    ("forged posts", "the on-call page",
     "e2e/test_on_call_page.py::test_an_action_cannot_be_forged_from_another_site"),
    ("personal data", "fields, names of fields and files",
     "pipeline/test_privacy.py::test_what_is_planted_anywhere_is_published_nowhere"),
]  # fmt: skip

TEXTS = [
    "'; drop table raw.orders; --",
    "{{ 7 * 7 }}{% for x in range(9) %}x{% endfor %}${7*7}#{7*7}",
    "</script><script>document.title='taken over'</script>",
    '"><img src=x onerror=alert(1)>',
    "=HYPERLINK(\"http://evil.example\";\"click\")",
    "$(touch /tmp/taken-over); `id` | cat && ls",
    "%s %(x)s {0} {x!r} \\' \\\\ \\N",
    "../../etc/passwd",
    "[link](javascript:alert(1)) [bold]not markup[/] [/red]",
    "\u202etxt.exe",
]  # fmt: skip


@pytest.mark.parametrize("held_by", [row[2] for row in TABLE])
def test_what_the_table_names_is_there(held_by: str) -> None:
    path, _, name = held_by.partition("::")
    assert f"\ndef {name}(" in (ROOT / "tests" / path).read_text(), held_by


def test_hostile_text_is_data_from_the_file_to_the_page(
    settings: Settings, terminal_of: Callable[..., Callable[..., tuple[int, str, str]]]
) -> None:
    makers: dict[str, Callable[[str], dict[str, Any]]] = {
        "orders": lambda name: order(name, customer_id="c1"),
        "web_sessions": lambda name: session(name),
        "support_tickets": lambda name: ticket(name, customer_id="c1"),
        "web_events": lambda name: {
            "event_id": name, "occurred_at": "2026-03-01T12:00:00Z", "anonymous_id": "d", "name": "page_view"
        },
    }  # fmt: skip
    for feed in FEEDS.values():
        texts = [one for one in feed.fields if one.kind == "text" and not one.choices and not one.form]
        records = [
            makers[feed.name](f"{place}") | {one.name: f"{text}{place}" if one.is_id else text for one in texts}
            for place, text in enumerate(TEXTS)
        ]
        records += [
            makers[feed.name](f"u{place}") | {text: text, "bad": {text: [text]}} for place, text in enumerate(TEXTS)
        ]
        records += [
            makers[feed.name](f"q{place}") | {"updated_at": text, "status": text} for place, text in enumerate(TEXTS)
        ]
        for place, text in enumerate(TEXTS):
            name = "x" + re.sub(r"[/\\\u202e]", "_", text)
            drop(settings, feed.name, f"{name}.jsonl", jsonl(records[place :: len(TEXTS)]))
    summary = load.ingest(settings)
    assert not summary.failed
    assert not summary.refused
    build(settings, "test")
    assert rows(settings, "select count(*) from raw.orders", "owner") == [(2 * len(TEXTS),)]
    landed = {row[0] for row in rows(settings, "select region from marts.fct_orders where region is not null")}
    assert landed == set(TEXTS)
    assert rows(settings, "select count(*) from marts.customer_360")[0][0] > 0
    build_data_docs(settings)
    for page in settings.home.rglob("*.html"):
        text = page.read_text()
        assert "<script>document.title" not in text, page
        assert "<img src=x" not in text, page
    c360 = terminal_of(settings, 200)
    for words in (["status"], ["quarantine", "list", "--rows"], ["why", 1], ["quarantine", "show", 1]):
        code, said, wrong = c360(*words)
        assert code in {0, 1}, wrong
        assert "49" not in re.findall(r"\b49\b", said)
    assert not Path("/tmp/taken-over").exists()  # noqa: S108 - what the hostile text would make
    export = settings.home / "export.csv"
    assert c360("quarantine", "export", export, "--feed", "orders")[0] == 0
    cells = [cell for line in export.read_text().splitlines() for cell in line.split(",")]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def tarred(content: bytes) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        entry = tarfile.TarInfo("../../orders.jsonl")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def zipped(content: bytes) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../orders.jsonl", content)
    return whole.getvalue()


GOOD = json.dumps(order("o1", customer_id="c1")).encode() + b"\n"
QUINE_DEPTH = 6


def nested(content: bytes) -> bytes:
    for _ in range(QUINE_DEPTH):
        content = gzip.compress(content)
    return content


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.gz", nested(GOOD)),
        ("a.jsonl.gz", tarred(GOOD)),
        ("a.jsonl.gz", zipped(GOOD * 1000)),
        ("a.jsonl", zipped(GOOD)),
        ("a.csv.gz", nested(b"order_id\n1\n")),
        ("a.csv", tarred(b"order_id\n1\n")),
        ("a.parquet", zipped(GOOD)),
        ("a.parquet", gzip.compress(GOOD)),
        ("a.zip", zipped(GOOD)),
        ("a.jsonl.gz", zipped(nested(b"\0" * 1_000_000))),
    ],
)
def test_an_archive_that_is_no_batch_is_refused(settings: Settings, name: str, content: bytes) -> None:
    """Nothing is unpacked but one layer of gzip, and nothing is written anywhere."""
    drop(settings, "orders", name, content)
    drop(settings, "orders", "good.jsonl", GOOD)
    before = sorted(Path(settings.landing_url).rglob("*"))
    summary = load.ingest(settings)
    states = {one.file_name: (one.state, one.rows) for one in summary.batches}
    assert states.pop("good.jsonl") == ("loaded", 1)
    ((state, loaded),) = states.values()
    assert state == "refused" or loaded == 0, states
    assert sorted(Path(settings.landing_url).rglob("*")) == before
