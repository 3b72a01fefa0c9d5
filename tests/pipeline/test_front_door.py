"""The front door from end to end: files in, raw rows, quarantine and ledger out."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customer360 import wake, warehouse
from customer360.front_door import landing, ledger, load, read_parquet, readers
from customer360.settings import Settings
from tests.pipeline.front_door import (
    WRITERS,
    Record,
    assert_balanced,
    batches,
    csv_text,
    drop,
    ingest_one,
    jsonl,
    order,
    parquet,
    raw_rows,
    reasons,
    session,
    ticket,
)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz", "a.parquet"])
def test_good_rows_are_loaded_and_bad_rows_step_aside_in_every_format(settings: Settings, name: str) -> None:
    rows = [order(1), order(2, total_amount="-5", status="lost"), order(3)]
    outcome = ingest_one(settings, "orders", name, WRITERS[name.split(".")[1]](rows))
    assert (outcome.state, outcome.rows, outcome.quarantined) == ("loaded", 2, 1)
    assert [row[0] for row in raw_rows(settings, "orders", "order_id")] == ["o1", "o3"]
    assert reasons(settings) == {
        2: [
            "status is not one of placed, paid, shipped, delivered, cancelled, returned: lost",
            "total_amount is less than 0: -5",
        ]
    }


def test_all_three_feeds_are_taken_in_at_once(settings: Settings) -> None:
    drop(settings, "orders", "o.jsonl", jsonl([order(1)]))
    drop(settings, "web_sessions", "s.jsonl", jsonl([session(1)]))
    drop(settings, "support_tickets", "t.jsonl", jsonl([ticket(1)]))
    summary = load.ingest(settings)
    assert {outcome.feed for outcome in summary.loaded} == {"orders", "web_sessions", "support_tickets"}
    assert str(load.ingest(settings)) == "nothing new has landed"


def test_values_arrive_as_they_were_meant(settings: Settings) -> None:
    items = [{"sku": 'a "b" \\ é ☃', "quantity": 1, "unit_price": 0.1, "list_price": "9999999999.9999"}]
    refunds = [{"refund_id": "r", "refunded_at": "2026-03-03T00:00:00+01:00", "amount": "0.5"}]
    whole = order(1, items=items, refunds=refunds, total_amount=1234567890.5678, coupon_code="tab\there\nline")
    ingest_one(settings, "orders", "a.jsonl", jsonl([whole]))
    columns = "ordered_at, total_amount::text, items::text, refunds, coupon_code"
    (row,) = raw_rows(settings, "orders", columns)
    assert row == (
        datetime(2026, 3, 1, 9, tzinfo=UTC),
        "1234567890.5678",
        '[{"sku": "a \\"b\\" \\\\ é ☃", "quantity": 1, "list_price": 9999999999.9999, "unit_price": 0.1000}]',
        [{"refund_id": "r", "refunded_at": "2026-03-02T23:00:00.000000Z", "amount": 0.5}],
        "tab\there\nline",
    )


def test_a_bad_row_is_kept_as_it_came(settings: Settings) -> None:
    lines = [b'{"order_id": "o1" , "status":"lost"}', b"{torn", b'{"order_id":"\xff"}', b'{"a\\u0000":1}']
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1)]) + b"\n".join(lines) + b"\n")
    with warehouse.connect("loader", settings) as connection:
        records = [row[0] for row in connection.execute("select record from quarantine.rows order by row_number")]
    assert records == ['{"order_id": "o1" , "status":"lost"}', "{torn", '{"order_id":"\\xff"}', '{"a\\u0000":1}']
    assert reasons(settings)[3] == [
        "the record is not valid JSON (expecting property name enclosed in double quotes at character 2)"
    ]
    assert reasons(settings)[4] == ["the record is not valid UTF-8 text"]


def test_a_bad_csv_row_is_kept_as_it_came(settings: Settings) -> None:
    content = csv_text([order(1), order(2, status="lost", region='two\nlines, "quoted"'), order(3)])
    ingest_one(settings, "orders", "a.csv", content + b"too,few\r\n")
    with warehouse.connect("loader", settings) as connection:
        records = [row[0] for row in connection.execute("select record from quarantine.rows order by row_number")]
    assert records[0].startswith("o2,2026-03-02T10:00:00Z,")
    assert records[0].endswith('"two\nlines, ""quoted"""')
    assert records[1] == "too,few"
    assert reasons(settings)[4] == ["the record has 2 columns where the header has 10"]


# --- CSV as people write it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_of_any_dialect_is_understood(settings: Settings, delimiter: str, newline: str) -> None:
    rows = [order(1, region="a,b;c\td|e"), order(2, region='quoted "x"\nnext line'), order(3, items=None)]
    content = b"\xef\xbb\xbf" + csv_text(rows, delimiter, newline)
    outcome = ingest_one(settings, "orders", "a.csv", content)
    assert (outcome.rows, outcome.quarantined) == (3, 0)
    assert [row[0] for row in raw_rows(settings, "orders", "region")] == [
        "a,b;c\td|e",
        'quoted "x"\nnext line',
        None,
    ]


def test_a_stray_quote_takes_no_other_row_with_it(settings: Settings) -> None:
    rows = [order(n, items=None) for n in range(1, 6)]
    content = csv_text(rows).replace(b"o1,", b'o1"x,').replace(b"o4,", b'"o4,')
    outcome = ingest_one(settings, "orders", "a.csv", content)
    assert (outcome.rows, outcome.quarantined) == (4, 1)
    assert [row[0] for row in raw_rows(settings, "orders", "order_id")] == ['o1"x', "o2", "o3", "o5"]
    assert reasons(settings) == {4: ["the record opens a quote that is not closed where it should be"]}


def test_blank_lines_are_no_rows(settings: Settings) -> None:
    content = jsonl([order(1)]) + b"\n  \n\r\n" + jsonl([order(2, status="lost")])
    outcome = ingest_one(settings, "orders", "a.jsonl", content)
    assert (outcome.rows, outcome.quarantined) == (1, 1)
    assert list(reasons(settings)) == [2]


# --- whole batches ---------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, bytes, str]] = [
    ("a.jsonl", b"", "it is empty"),
    ("a.jsonl", b"\n\n  \n", "it is empty"),
    ("a.csv", b"", "it is empty"),
    ("a.csv", csv_text([order(1)]).split(b"\n")[0] + b"\n", "it has a header but no rows"),
    ("a.txt", b"hello", "the name does not end in one of .jsonl, .jsonl.gz, .csv, .csv.gz, .parquet"),
    ("a.csv", csv_text([{"order_id": "o1", "status": "paid"}]),
     "the required columns updated_at, ordered_at, currency, total_amount are missing"),
    ("a.jsonl", jsonl([{"order_id": "o1"}]),
     "the required columns updated_at, ordered_at, status, currency, total_amount are missing"),
    ("a.parquet", parquet([{k: v for k, v in order(1).items() if k != "currency"}]),
     "the required column currency is missing"),
    ("a.csv", csv_text([order(1)]).replace(b"total_amount", b"Total Amount"),
     "the required column total_amount is missing; it has Total Amount for total_amount: names must be exactly those "
     "of the contract"),
    ("a.parquet", b"PAR1" + b"x" * 100 + b"PAR1",
     "it is not a readable Parquet file: its footer is damaged or missing"),
    ("a.jsonl", parquet([order(1)]), "its content is not text: is the file named after another format?"),
    ("a.csv", b"order_id\x00,b\n1,2\n", "its header holds a NUL character: is it text at all?"),
    ("a.csv", b"order_id,order_id\n1,2\n", "its header names a column twice: order_id"),
    ("a.jsonl", "{}".encode("utf-16"), "it is UTF-16 text; UTF-8 was expected"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "reason"), REFUSED, ids=[case[2][:50] for case in REFUSED])
def test_a_batch_that_cannot_be_read_is_refused_whole_and_stays(
    settings: Settings, name: str, content: bytes, reason: str
) -> None:
    outcome = ingest_one(settings, "orders", name, content)
    assert (outcome.state, outcome.error, outcome.rows) == ("refused", reason, 0)
    assert (Path(settings.landing_url) / "orders" / name).read_bytes() == content
    assert raw_rows(settings, "orders", "order_id") == []
    assert load.ingest(settings).batches == []


def test_a_gzip_file_that_was_cut_off_is_refused_and_loads_nothing(settings: Settings) -> None:
    import gzip

    whole = gzip.compress(jsonl([order(n) for n in range(5000)]))
    path = drop(settings, "orders", "a.jsonl", whole[: len(whole) // 2])
    path.rename(path.with_name("a.jsonl.gz"))
    (outcome,) = load.ingest(settings).batches
    assert (outcome.state, outcome.error) == ("refused", "the gzip data ends too early: the file was cut off")
    assert raw_rows(settings, "orders", "order_id") == []
    assert_balanced(settings)


def test_a_refused_batch_does_not_stop_the_others(settings: Settings) -> None:
    drop(settings, "orders", "a.csv", b"nonsense\n1\n")
    drop(settings, "orders", "b.jsonl", jsonl([order(1)]))
    summary = load.ingest(settings)
    assert (len(summary.refused), len(summary.loaded)) == (1, 1)


# --- duplicates ------------------------------------------------------------------------------------------------------


def test_the_same_content_again_is_a_duplicate_and_loads_nothing(settings: Settings) -> None:
    content = jsonl([order(1), order(2, status="lost")])
    ingest_one(settings, "orders", "a.jsonl", content)
    again = ingest_one(settings, "orders", "b.jsonl", content)
    assert (again.state, again.rows) == ("duplicate", 0)
    assert len(raw_rows(settings, "orders", "order_id")) == 1
    assert batches(settings)[1].duplicate_of == batches(settings)[0].batch_id


def test_the_same_content_as_history_is_another_batch(settings: Settings) -> None:
    content = jsonl([order(1)])
    ingest_one(settings, "orders", "a.jsonl", content)
    assert ingest_one(settings, "orders", "history/a.jsonl", content).state == "loaded"
    assert [batch.is_history for batch in batches(settings)] == [False, True]


def test_identical_rows_of_a_batch_count_once(settings: Settings) -> None:
    rows = [order(1), order(1), order(2), order(1, total_amount=12.5), order(1, total_amount=13)]
    outcome = ingest_one(settings, "orders", "a.jsonl", jsonl(rows))
    assert (outcome.rows, outcome.duplicates) == (3, 2)  # 12.5 is "12.50"
    assert sorted(raw_rows(settings, "orders", "order_id, total_amount, row_number")) == [
        ("o1", "12.5", 1),
        ("o1", "13", 5),
        ("o2", "12.5", 3),
    ]


def test_rows_of_another_file_are_loaded_again(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1)]))
    outcome = ingest_one(settings, "orders", "b.jsonl", jsonl([order(1), order(2)]))
    assert (outcome.rows, outcome.duplicates) == (2, 0)


def test_a_file_that_changes_after_it_was_read_is_a_new_batch_with_a_warning(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1)]))
    outcome = ingest_one(settings, "orders", "a.jsonl", jsonl([order(2)]))
    assert outcome.state == "loaded"
    warning = batches(settings)[1].warning
    assert warning is not None
    assert "has the name of batch 1 and other content" in warning
    assert len(raw_rows(settings, "orders", "order_id")) == 2


def test_a_file_that_is_only_touched_is_nothing_new(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1)]))
    os.utime(Path(settings.landing_url) / "orders" / "a.jsonl")
    assert wake.waiting_files(settings, "orders")
    assert load.ingest(settings).batches == []
    assert wake.waiting_files(settings, "orders") == []


def test_of_two_loaders_one_wins(settings: Settings) -> None:
    for number in range(6):
        drop(settings, "orders", f"{number}.jsonl", jsonl([order(n) for n in range(number * 100, number * 100 + 50)]))
    summaries: list[load.IngestSummary] = []
    threads = [threading.Thread(target=lambda: summaries.append(load.ingest(settings))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(summaries) == 3
    assert sum(summary.row_count for summary in summaries) == 300
    assert len(raw_rows(settings, "orders", "order_id")) == 300
    assert {batch.state for batch in batches(settings)} == {"loaded"}
    assert_balanced(settings)


# --- drift -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", WRITERS)
def test_an_unknown_field_is_kept_counted_and_reported_once(settings: Settings, format_: str) -> None:
    rows: list[Record] = [order(1, loyalty="gold"), order(2, loyalty="tin"), order(3)]
    ingest_one(settings, "orders", f"a.{format_}", WRITERS[format_](rows))
    ingest_one(settings, "orders", f"b.{format_}", WRITERS[format_]([order(4, loyalty="gold")]))
    extras = [row[0] for row in raw_rows(settings, "orders", "extra")]
    assert extras == [{"loyalty": "gold"}, {"loyalty": "tin"}, None, {"loyalty": "gold"}]
    with warehouse.connect("oncall", settings) as connection:
        found = connection.execute("select feed, field, first_batch_id, row_count from ops.unknown_fields").fetchall()
    assert found == [("orders", "loyalty", 1, 3)]


@pytest.mark.parametrize("format_", WRITERS)
def test_an_unknown_field_of_an_item_is_kept_too(settings: Settings, format_: str) -> None:
    items = [{"sku": "a", "quantity": 1, "unit_price": "1", "colour": "red"}]
    ingest_one(settings, "orders", f"a.{format_}", WRITERS[format_]([order(1, items=items), order(2)]))
    assert raw_rows(settings, "orders", "extra") == [({"items": [{"colour": "red"}]},), (None,)]


def test_unknown_values_stay_exactly_as_they_were_written(settings: Settings) -> None:
    line = (
        json.dumps(order(1))[:-1] + ', "big": 123456789012345678901234567890, "scale": 1.10, "x": [1.0, {"y": null}]}'
    )
    ingest_one(settings, "orders", "a.jsonl", line.encode())
    ((extra,),) = raw_rows(settings, "orders", "extra::text")
    assert extra == '{"x": [1.0, {"y": null}], "big": 123456789012345678901234567890, "scale": 1.10}'


def test_a_changed_type_is_named_once_for_the_batch(settings: Settings) -> None:
    rows = [order(n, total_amount="free") for n in range(50)] + [order(n) for n in range(50, 60)]
    outcome = ingest_one(settings, "orders", "a.jsonl", jsonl(rows))
    assert (outcome.rows, outcome.quarantined) == (10, 50)
    assert batches(settings)[0].warning == ("total_amount: 50 of 60 records do not fit (total_amount is not a number)")


def test_a_missing_optional_column_is_null(settings: Settings) -> None:
    outcome = ingest_one(settings, "orders", "a.csv", csv_text([order(1, items=None, email=None)]))
    assert (outcome.rows, outcome.quarantined) == (1, 0)


def test_an_unknown_value_that_the_warehouse_cannot_hold_fails_no_row(settings: Settings) -> None:
    strange = ['"a\\u0000b"', '"\\ud800"', "1e999999", "[" * 600 + "]" * 600, '"\\\\u0000 is no NUL"']
    lines = [json.dumps(order(n))[:-1] + f', "x": {value}}}' for n, value in enumerate(strange)]
    outcome = ingest_one(settings, "orders", "a.jsonl", "\n".join(lines).encode())
    assert (outcome.rows, outcome.quarantined) == (5, 0)
    extras = [row[0] for row in raw_rows(settings, "orders", "extra")]
    assert extras[0] == {"(as text)": '{"x":"a\\u0000b"}'}
    assert all(extras)


# --- large and small -------------------------------------------------------------------------------------------------


def test_a_file_of_many_blocks_is_loaded_whole(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers.open_source, "__kwdefaults__", {"block_bytes": 10_000, "parquet_timezone": ""})
    monkeypatch.setattr(read_parquet, "PARQUET_ROWS", 37)
    monkeypatch.setattr(load, "_SMALL_FILE", 0)
    rows = [
        order(n, status="lost" if n % 97 == 0 else "paid", region="a\nb" if n % 5 == 0 else None) for n in range(1000)
    ]
    rows.append(order(3))
    for format_, writer in WRITERS.items():
        feed_rows = [row | {"order_id": f"{format_}-{row['order_id']}"} for row in rows]
        outcome = ingest_one(settings, "orders", f"a.{format_}", writer(feed_rows))
        assert (outcome.rows, outcome.quarantined, outcome.duplicates) == (989, 11, 1), format_
    assert {row[0] for row in raw_rows(settings, "orders", "count(*)", "1")} == {989 * 3}


def test_gate_results_are_recorded_per_expectation(settings: Settings) -> None:
    ingest_one(settings, "orders", "a.jsonl", jsonl([order(1), order(2, status="lost")]))
    with warehouse.connect("oncall", settings) as connection:
        rows = connection.execute(
            """
            select gate, expectation, column_name, outcome, checked_count, unexpected_count, detail
            from ops.gate_results where batch_id = 1 and (outcome <> 'passed' or gate = 'raw')
            """
        ).fetchall()
        total = warehouse.scalar(connection, "select count(*) from ops.gate_results where gate = 'landing'")
    assert total > 50
    assert [row[0] for row in rows].count("raw") == 3
    assert rows[0][1:] == (
        "expect_one_of",
        "status",
        "failed",
        2,
        1,
        "status is one of placed, paid, shipped, delivered, cancelled, returned: 1 do not (rows 2)",
    )


def test_the_times_of_each_stage_are_kept(settings: Settings) -> None:
    path = drop(settings, "orders", "a.jsonl", jsonl([order(1)]))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    load.ingest(settings)
    with warehouse.connect("oncall", settings) as connection:
        row = connection.execute(
            "select file_modified_at, landed_at <= gated_at, gated_at <= loaded_at from ops.batches"
        ).fetchone()
    assert row == (datetime.fromtimestamp(1_700_000_000, UTC), True, True)


def test_a_row_is_judged_by_the_day_its_batch_landed(settings: Settings) -> None:
    """So that a replay years later judges alike."""
    drop(settings, "orders", "a.jsonl", jsonl([order(1, ordered_at="2026-01-03T00:00:00Z")]))
    with warehouse.connect("loader", settings, autocommit=True) as connection:
        for file in landing.files(settings):
            ledger.register(connection, settings, file)
        connection.execute("update ops.batches set landed_at = '2026-01-01T00:00:00Z'")
    load.ingest(settings)
    assert reasons(settings)[1] == [
        "updated_at is more than 1 day after the batch landed: 2026-03-02",
        "ordered_at is more than 1 day after the batch landed: 2026-01-03",
    ]
