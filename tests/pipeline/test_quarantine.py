"""The quarantine as a workbench: list, show, export, correct, release, discard."""

from __future__ import annotations

import csv
import json
import stat
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from customer360 import warehouse
from customer360.front_door import load, quarantine
from customer360.front_door.quarantine import QuarantineError, Selection
from customer360.settings import Settings
from tests.pipeline.front_door import (
    assert_balanced,
    batches,
    csv_text,
    drop,
    ingest_one,
    jsonl,
    order,
    raw_rows,
    reasons,
)

WHO: dict[str, Any] = {"who": "Dana", "why": "the shop confirmed it"}


def groups(settings: Settings, **chosen: Any) -> list[tuple[str, str, int]]:
    with warehouse.connect("oncall", settings) as connection:
        return [(one.rule, one.field, one.row_count) for one in quarantine.groups(connection, Selection(**chosen))]


def export(settings: Settings, target: Path, **chosen: Any) -> int:
    with warehouse.connect("loader", settings) as connection:
        return quarantine.export(connection, Selection(**chosen), target, **WHO)


def ids(settings: Settings) -> list[int]:
    with warehouse.connect("loader", settings) as connection:
        return [one.quarantine_id for one in quarantine.rows_of(connection, Selection())]


def test_open_rows_are_listed_by_reason_with_counts(settings: Settings) -> None:
    rows = [order(1, status="lost"), order(2, status="lost", total_amount="-1"), order(3), order(4, refunds="x")]
    ingest_one(settings, "orders", "a.jsonl", jsonl(rows))
    assert groups(settings) == [("choice", "status", 2), ("readable", "refunds", 1), ("minimum", "total_amount", 1)]
    assert groups(settings, rule="minimum") == [("choice", "status", 1), ("minimum", "total_amount", 1)]
    assert groups(settings, feed="web_sessions") == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_row_is_shown_with_the_wrong_fields_marked_and_personal_values_masked(settings: Settings, name: str) -> None:
    rows = [order(1, status="lost", email="ann@example.com", phone="+49 30 123", secret="mother's name")]
    ingest_one(settings, "orders", name, jsonl(rows) if name.endswith("jsonl") else csv_text(rows))
    with warehouse.connect("loader", settings) as connection:
        one = quarantine.row(connection, ids(settings)[0])
    shown = {field: (value, wrong) for field, value, wrong in quarantine.shown_cells(one)}
    assert shown["status"] == ("lost", True)
    assert shown["total_amount"] == ("12.50", False)
    assert shown["email"] == ("a••• (15 characters)", False)
    assert shown["phone"] == ("+••• (10 characters)", False)
    assert shown["secret"] == ("m••• (13 characters)", False)
    assert "items" in shown


@pytest.mark.parametrize("source", ["a.jsonl", "a.csv", "a.parquet"])
@pytest.mark.parametrize("target", ["fix.csv", "fix.jsonl"])
def test_an_exported_file_can_be_corrected_and_released(
    settings: Settings, tmp_path: Path, source: str, target: str
) -> None:
    from tests.pipeline.front_door import WRITERS

    bad = [
        order(1, status="lost", phone="+49 30 123", region="=1+1", coupon_code="'quoted"),
        order(2, total_amount="-5.00", loyalty="gold"),
        order(3, items=None, currency="US"),
    ]
    ingest_one(settings, "orders", source, WRITERS[source.split(".")[1]]([*bad, order(9)]))
    path = tmp_path / target
    assert export(settings, path) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text().replace('"status":"lost"', '"status":"paid"').replace(",lost,", ",paid,")
    text = text.replace("'-5.00", "5.00").replace("-5.00", "5.00").replace(",US,", ",USD,").replace('"US"', '"USD"')
    path.write_text(text)
    outcome = quarantine.release(settings, corrected=path, **WHO)
    assert (outcome.released, outcome.still_bad, outcome.not_open) == (3, {}, [])
    assert_balanced(settings)
    columns = "order_id, status, total_amount, phone, region, coupon_code, currency, extra, row_number"
    assert raw_rows(settings, "orders", columns)[:3] == [
        ("o1", "paid", "12.5", "+49 30 123", "=1+1", "'quoted", "USD", None, 1),
        ("o2", "paid", "5", None, None, None, "USD", {"loyalty": "gold"}, 2),
        ("o3", "paid", "12.5", None, None, None, "USD", None, 3),
    ]
    origin, released = batches(settings)
    assert (origin.quarantined_rows, origin.released_rows) == (0, 3)
    assert (released.file_name, released.released_from, released.state) == ("release-1-1", 1, "loaded")
    assert ids(settings) == []


def test_a_spreadsheet_finds_no_formula_in_an_export(settings: Settings, tmp_path: Path) -> None:
    evil = [order(n, status="lost", region=f"{sign}cmd|' /C calc'!A0") for n, sign in enumerate("=+-@\t\r")]
    ingest_one(settings, "orders", "a.jsonl", jsonl(evil))
    path = tmp_path / "fix.csv"
    assert export(settings, path) == 6
    with path.open(newline="") as stream:
        cells = [cell for line in list(csv.reader(stream))[1:] for cell in line]
    assert len(cells) > 100
    assert not [cell for cell in cells if cell[:1] in set("=+-@\t\r")]


def test_a_released_row_goes_through_the_gate_again(settings: Settings, tmp_path: Path) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1, status="lost"), order(2, status="lost")]))
    path = tmp_path / "fix.jsonl"
    export(settings, path)
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    path.write_text(json.dumps(first | {"status": "paid"}) + "\n" + json.dumps(second | {"country": "XK"}) + "\n")
    outcome = quarantine.release(settings, corrected=path, **WHO)
    assert (outcome.released, len(outcome.still_bad)) == (1, 1)
    (still,) = outcome.still_bad.values()
    assert [reason.message for reason in still] == [
        "status is not one of placed, paid, shipped, delivered, cancelled, returned: lost",
        "country is not an ISO 3166-1 alpha-2 country code: XK",
    ]
    assert reasons(settings)[2] == [still[0].message], "the row is as it came, and so are its reasons"
    assert_balanced(settings)


def test_a_record_that_could_not_be_taken_apart_must_be_filled_in(settings: Settings, tmp_path: Path) -> None:
    ingest_one(settings, "orders", "a.csv", csv_text([order(1)]) + b"o2,too,few\n")
    path = tmp_path / "fix.csv"
    export(settings, path)
    outcome = quarantine.release(settings, corrected=path, **WHO)
    assert outcome.released == 0
    (still,) = outcome.still_bad.values()
    assert "write what record_as_it_came says into the fields' own columns" in still[0].message
    with path.open(newline="") as stream:
        (line,) = csv.DictReader(stream)
    line |= {name: str(value) for name, value in order(2).items() if name != "items"}
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, line)
        writer.writeheader()
        writer.writerow(line)
    assert quarantine.release(settings, corrected=path, **WHO).released == 1
    assert sorted(raw_rows(settings, "orders", "order_id")) == [("o1",), ("o2",)]
    assert_balanced(settings)


def test_a_row_leaves_once_however_often_it_is_released(settings: Settings, tmp_path: Path) -> None:
    """Fault 28."""
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1, status="lost")]))
    path = tmp_path / "fix.jsonl"
    export(settings, path)
    path.write_text(path.read_text().replace("lost", "paid"))
    outcomes: list[quarantine.ReleaseOutcome] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(quarantine.release(settings, corrected=path, **WHO)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.released for outcome in outcomes) == [0, 0, 1]
    assert sum(len(outcome.not_open) for outcome in outcomes) == 2
    assert len(raw_rows(settings, "orders", "order_id")) == 1
    assert_balanced(settings)


def test_a_row_can_be_accepted_as_it_is_only_where_its_values_can_be_used(settings: Settings) -> None:
    rows = [order(1, updated_at="2026-02-01T00:00:00Z"), order(2, status="lost"), order(3, order_id=None)]
    ingest_one(settings, "orders", "a.jsonl", jsonl(rows))
    outcome = quarantine.release(settings, selection=Selection(batch_id=1), **WHO)
    assert outcome.released == 1
    assert {found[0].rule for found in outcome.still_bad.values()} == {"choice", "required"}
    assert raw_rows(settings, "orders", "order_id") == [("o1",)]
    assert batches(settings)[1].warning == "order_of_times waived for 1 rows by Dana"
    assert_balanced(settings)


def test_a_discarded_row_stays_on_record_with_who_and_why(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1, status="lost"), order(2, refunds="x")]))
    assert quarantine.discard(settings, Selection(rule="choice"), **WHO) == 1
    assert quarantine.discard(settings, Selection(rule="choice"), **WHO) == 0
    with warehouse.connect("loader", settings) as connection:
        one = quarantine.row(connection, 1)
        action = connection.execute("select action, row_count, acted_by, because from ops.batch_actions").fetchall()
    assert (one.state, one.closed_by, one.closed_because) == ("discarded", "Dana", "the shop confirmed it")
    assert action == [("discard", 1, "Dana", "the shop confirmed it")]
    assert (batches(settings)[0].discarded_rows, batches(settings)[0].quarantined_rows) == (1, 1)
    assert_balanced(settings)
    with pytest.raises(QuarantineError, match="every row there is"):
        quarantine.discard(settings, Selection(), **WHO)
    with pytest.raises(QuarantineError, match="must be on record"):
        quarantine.discard(settings, Selection(batch_id=1), who="", why="")


def test_a_file_that_names_no_row_releases_nothing(settings: Settings, tmp_path: Path) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1, status="lost")]))
    path = tmp_path / "fix.jsonl"
    path.write_bytes(jsonl([order(1)]))
    with pytest.raises(QuarantineError, match="does not name its row"):
        quarantine.release(settings, corrected=path, **WHO)
    path.write_bytes(jsonl([order(1) | {"quarantine_id": 1}] * 2))
    with pytest.raises(QuarantineError, match="names row 1 twice"):
        quarantine.release(settings, corrected=path, **WHO)
    path.write_bytes(jsonl([order(1) | {"quarantine_id": 99}]))
    assert quarantine.release(settings, corrected=path, **WHO).not_open == [99]


def test_only_oncall_and_the_loader_read_the_quarantine(settings: Settings) -> None:
    drop(settings, "orders", "a.jsonl", jsonl([order(1, status="lost")]))
    load.ingest(settings)
    for role in ("bi_reader", "transformer", "publisher", "pii_reader"):
        with warehouse.connect(role, settings) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from quarantine.rows")
