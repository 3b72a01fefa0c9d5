"""What every source relies on: its declaration, the independent count, the accounting, the locked engine."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from customer360.front_door import draft, landing, source_files, trial
from customer360.settings import Settings
from customer360.sources import declaration, input_files
from customer360.sources.conversion import ConversionError, opened
from customer360.sources.declaration import SourceError, catalogue, read, source_named
from customer360.sources.input_files import SourceFileError
from tests.unit.source_trials import EXPORTED_AT, jsonl, run

bounded = bounds(max_examples=25, deadline=None)

HEADER = """/*
source: till
version: 1
feed: orders
title: A till
shapes: [{shapes}]
needs: [id]
{more}
columns:
  id: text
  sold_at: text
  total: text
*/
"""
GOOD = """select record_number, 'record' as outcome, id as order_id, sold_at as updated_at, sold_at as ordered_at,
    'paid' as status,
    'USD' as currency, total as total_amount, 'a@b.example' as email from input"""


def till(tmp_path: Path, select: str = GOOD, shapes: str = "csv, json, parquet", more: str = "") -> declaration.Source:
    path = tmp_path / "till.sql"
    path.write_text(HEADER.format(shapes=shapes, more=more) + select)
    return read(path, is_own=True)


def sale(number: int) -> dict[str, Any]:
    return {"id": str(number), "sold_at": "2026-05-01T10:00:00Z", "total": "1.50"}


# --- declarations ----------------------------------------------------------------------------------------------------


def test_the_eight_sources_ship_and_each_has_a_page() -> None:
    found = catalogue(Settings())
    assert set(found) >= {
        "shopify_csv", "shopify_rest", "woocommerce", "zendesk", "freshdesk", "ga4", "snowplow", "segment",
    }  # fmt: skip
    for source in found.values():
        assert (declaration.PROJECT_ROOT / source.page).is_file(), source.page


@pytest.mark.parametrize("path", sorted(declaration.SHIPPED.glob("*.sql")), ids=lambda path: path.stem)
def test_no_source_divides_or_names_a_binary_number(path: Path) -> None:
    """DuckDB's ``/`` gives a DOUBLE even for decimals; ``divided`` and ``//`` do not."""
    code = re.sub(r"--[^\n]*|/\*.*?\*/|'[^']*'", "", path.read_text(), flags=re.DOTALL)
    assert len(code) > 200
    assert not re.search(r"(?<!/)/(?!/)|\b(double|float|real|avg|sqrt)\b", code, re.IGNORECASE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select 1", "does not begin with a header"),
        ("/* a: [ */ select 1", "its header is not YAML"),
        ("/* source: till */ select 1", "its header lacks version"),
        (HEADER.format(shapes="csv", more="colour: red") + GOOD, "unknown lines: colour"),
        (HEADER.format(shapes="xlsx", more="") + GOOD, "its shapes must be some of csv, json, parquet"),
        (HEADER.format(shapes="csv", more="").replace("total: text", "total: DOUBLE") + GOOD, "loses digits"),
        (HEADER.format(shapes="csv", more="") + GOOD.replace("total as", "total::double as"), "loses digits"),
        (
            HEADER.format(shapes="csv", more="").replace("needs: [id]", "needs: [nothing]") + GOOD,
            "it needs nothing, not among",
        ),
        (HEADER.format(shapes="csv", more="").replace("orders", "cats") + GOOD, "there is no feed 'cats'"),
        (HEADER.format(shapes="csv", more="").replace("source: till", "source: other") + GOOD, "names the source"),
    ],
)
def test_a_wrong_declaration_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "till.sql").write_text(text)
    with pytest.raises(SourceError, match=re.escape(said)):
        read(tmp_path / "till.sql")


def test_a_source_of_the_installation_takes_the_place_of_the_products(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert not source_named(settings, "ga4").is_own
    (tmp_path / "sources").mkdir()
    mine = (declaration.SHIPPED / "ga4.sql").read_text().replace("version: 2", "version: 7")
    (tmp_path / "sources" / "ga4.sql").write_text(mine)
    found = source_named(settings, "ga4")
    assert (found.version, found.is_own) == (7, True)
    assert [path.stem for path in declaration.paths(settings)].count("ga4") == 1


# --- accounting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("select", "said"),
    [
        (GOOD + " where id <> '3'", r"accounts for 4 of 5 records: 1 missing \(record 3\)"),
        (
            GOOD + " inner join (select unnest(range(2)) as x) on true",
            r"5 given more than once \(record 1, 2, 3, 4, 5\)",
        ),
        (GOOD.replace("record_number", "record_number + 1 as record_number", 1), r"1 missing \(record 1\)"),
        (GOOD.replace("'record' as outcome", "null as outcome"), "the outcome None"),
        (GOOD.replace("'record' as outcome", "'skipped' as outcome"), "the outcome 'skipped'"),
    ],
)
def test_a_select_that_loses_or_repeats_a_record_lands_nothing(tmp_path: Path, select: str, said: str) -> None:
    source = till(tmp_path, select)
    with pytest.raises(ConversionError, match=said):
        run(source, "t.jsonl", jsonl(*map(sale, range(1, 6))))


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("select record_number, id from input", "does not give outcome"),
        (GOOD.replace("total as", "try_cast(total as decimal(10, 2)) / 3 as"), "total_amount would be binary"),
        (GOOD.replace("total as", "sum(try_cast(id as bigint)) over () as"), "total_amount would be binary"),
        (GOOD.replace("id as order_id", "no_such_column as order_id"), "cannot run: Binder Error"),
        ("select from where", "cannot run: Parser Error"),
    ],
)
def test_a_select_that_cannot_run_says_why(tmp_path: Path, select: str, said: str) -> None:
    source = till(tmp_path, select)
    with pytest.raises(SourceError, match=said):
        run(source, "t.jsonl", jsonl(sale(1)))


def test_a_file_whose_records_are_all_set_aside_is_no_fault(tmp_path: Path) -> None:
    done = run(till(tmp_path, GOOD.replace("'record' as", "'aside: closed today' as")), "t.jsonl", jsonl(sale(1)))
    assert (done.records, done.asides) == ({}, {"closed today": 1})


def test_the_same_file_source_and_namespace_give_the_same_bytes(tmp_path: Path) -> None:
    content = jsonl(*(sale(number) for number in range(1, 3000)))
    hashes = {run(till(tmp_path), "t.jsonl", content).conversion.output_hash for _ in range(3)}
    assert len(hashes) == 1


# --- the independent count -------------------------------------------------------------------------------------------

CELLS = st.text(st.sampled_from('ab",;\n\r\t é☃'), max_size=6)


@bounded
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=40), st.sampled_from(["\n", "\r\n"]))
def test_csv_is_counted_as_python_and_duckdb_read_it(rows: list[tuple[str, str, str]], newline: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=newline)
    writer.writerow(["id", "sold_at", "total"])
    writer.writerows(rows)
    content = out.getvalue().encode()
    parts: list[bytes] = []
    for size in (1, 7, len(content)):
        blocks = [content[start : start + size] for start in range(0, len(content), size)]
        assert input_files._count_csv(blocks, parts.append) == len(rows) + 1
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        source = till(Path(folder), GOOD.replace("'record'", "'aside: ' || coalesce(id, '')||'.'"))
        done = run(source, "t.csv", content)
    assert done.conversion.input_records == len(rows)


def test_blank_lines_and_a_missing_last_line_end_do_not_count(tmp_path: Path) -> None:
    done = run(till(tmp_path), "t.csv", b"id,sold_at,total\r\n1,x,1\r\n\r\n2,y,2\r\n\r\n3,z,3")
    assert (done.conversion.input_records, list(done.records)) == (3, [1, 2, 3])


@bounded
@given(st.integers(1, 400), st.booleans())
def test_a_record_keeps_its_number_in_the_file(count: int, is_csv: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        source = till(
            Path(folder), GOOD.replace("'record'", "case when id[-1] = '7' then 'aside: seven' else 'record' end")
        )
        rows = [sale(number) for number in range(1, count + 1)]
        text = "id,sold_at,total\n" + "".join(f"{row['id']},{row['sold_at']},{row['total']}\n" for row in rows)
        done = run(source, "t.csv" if is_csv else "t.jsonl", text.encode() if is_csv else jsonl(*rows))
    assert all(record["order_id"] == str(number) for number, record in done.records.items())
    assert len(done.records) + done.conversion.set_aside == count


def test_one_shape_of_records_is_read_from_lines_arrays_documents_and_parquet(tmp_path: Path) -> None:
    rows = [sale(number) for number in range(1, 4)]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    files = {
        "t.jsonl": jsonl(*rows),
        "t.ndjson.gz": gzip.compress(b"\xef\xbb\xbf" + jsonl(*rows)),
        "t.json": json.dumps(rows, indent=2).encode(),
        "t.parquet": out.getvalue(),
        "t.csv": "".join(f"{','.join(row.values())}\n" for row in [{k: k for k in rows[0]}, *rows]).encode(),
    }
    outcomes = [run(till(tmp_path), name, content).records for name, content in files.items()]
    assert len(outcomes[0]) == 3
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.xlsx", b"x", "does not end in one of"),
        ("t.csv", b"", "it is empty"),
        ("t.csv", b"id,sold_at,total\n", "a header and no records"),
        ("t.csv", b'id,sold_at,total\n1,"x,1\n', "a quoted value does not end"),
        ("t.csv", b"id,sold_at,total\n1,x,1,1\n", "more or fewer cells than the header"),
        ("t.csv", b"id,sold_at,total\n1,\xff\xfe,1\n", "is not UTF-8 text"),
        ("t.csv", b"number,sold_at\n1,x\n", "it is no till file: id is missing"),
        ("t.csv", "id,at\n1,x\n".encode("utf-16"), "UTF-16"),
        ("t.json", b"[]", "it holds no records"),
        ("t.json", b'[{"id": 1}', "it is not valid JSON"),
        ("t.jsonl", b'{"id": "1"}\n{"id": \n', "line 2 is not valid JSON"),
        ("t.jsonl", b"\x1f\x8b\x08", "not text"),
        ("t.jsonl.gz", b"plain", "not valid gzip data"),
        ("t.parquet", b"PAR1 no", "not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(SourceFileError, match=said):
        run(till(tmp_path), name, content)


@bounds(max_examples=8, deadline=None)
@pytest.mark.parametrize("name", ["ga4", "shopify_rest", "zendesk", "segment", "woocommerce", "freshdesk", "snowplow"])
@given(st.data())
def test_json_of_any_shape_is_accounted_for(name: str, data: st.DataObject) -> None:
    """Whatever stands in a declared field: no record is lost, and nothing but a clear refusal is raised."""
    source = source_named(Settings(), name)
    names = st.sampled_from(["id", "key", "value"])
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-5, 10**21) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
        max_leaves=4,
    )  # fmt: skip
    needed = dict.fromkeys(source.needs, "1")
    rows = data.draw(st.lists(st.dictionaries(st.sampled_from(sorted(source.columns)), values, max_size=6), max_size=4))
    done = run(source, "t.jsonl", jsonl(needed, *rows))
    assert done.conversion.input_records == len(rows) + 1


# --- the locked engine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_text('/etc/hostname')",
        "select * from read_csv('{outside}')",
        "copy (select 1) to '{outside}'",
        "install httpfs",
        "load httpfs",
        "attach '{outside}.db'",
        "set enable_external_access = true",
        "set memory_limit = '99GB'",
        "select * from 's3://bucket/x.parquet'",
        "select getenv('HOME')",
    ],
)
def test_duckdb_reaches_nothing_but_the_prepared_files(tmp_path: Path, statement: str) -> None:
    outside = tmp_path / "secret.csv"
    outside.write_text("a\n1\n")
    settings = Settings(home=tmp_path / "home")
    source = till(tmp_path)
    with (
        source_files.prepared(settings, "t.jsonl", io.BytesIO(jsonl(sale(1))), [source]) as (file, folder),
        opened(source, file, folder, namespace="till", exported_at=EXPORTED_AT) as connection,
    ):
        assert connection.execute("select count(*) from read_input").fetchone() == (1,)
        with pytest.raises(duckdb.Error):
            connection.execute(statement.format(outside=outside)).fetchall()


def test_the_macros_are_exact(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    source = till(tmp_path)
    with (
        source_files.prepared(settings, "t.jsonl", io.BytesIO(jsonl(sale(1))), [source]) as (file, folder),
        opened(source, file, folder, namespace="till", exported_at=EXPORTED_AT) as connection,
    ):
        for expression, expected in {
            "time_of('2026-05-01 10:00:00 +0200', '%Y-%m-%d %H:%M:%S %z')": "2026-05-01T08:00:00.000000Z",
            "time_of('last Tuesday', '%Y-%m-%d %H:%M:%S %z')": "last Tuesday",
            "utc_time('2026-05-01 10:00:00.123')": "2026-05-01T10:00:00.123Z",
            "utc_time('2026-05-01T10:00:00+02:00')": "2026-05-01T10:00:00+02:00",
            "money(divided(amount('100.00'), amount('3')))": "33.3333",
            "money(divided(amount('9999999999.99'), amount('0.01')))": "999999999999.0000",
            "money(amount('0.1') + amount('0.2'))": "0.3000",
            "query_value('https://x.example/?a=1&utm_source=May%20sale#f', 'utm_source')": "May sale",
            "without_query('https://x.example/a?mail=me')": "https://x.example/a",
            "namespace()": "till",
            "exported_at()": "2026-06-01T12:00:00.000000Z",
        }.items():
            row = connection.execute(f"select {expression}, typeof({expression})").fetchone()
            assert row == (expected, "VARCHAR"), expression


# --- trials and drafts -----------------------------------------------------------------------------------------------


def test_a_trial_recognises_the_source_and_shows_what_would_happen(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    (tmp_path / "events.jsonl").write_bytes(jsonl(
        {"event_timestamp": "1", "event_name": "page_view", "user_pseudo_id": None, "new_column": 1},
        {"event_timestamp": "1777629600000000", "event_name": "page_view", "user_pseudo_id": "1.2",
         "event_params": [{"key": "ga_session_id", "value": {"int_value": "7"}}]},
    ))  # fmt: skip
    tried = trial.try_file(settings, tmp_path / "events.jsonl")
    assert (tried.source.name, tried.quarantined, tried.conversion.unknown_columns) == ("ga4", 0, ["new_column"])
    ((original, record),) = tried.examples
    assert (original["user_pseudo_id"], record["session_id"]) == ("1.2", "1.2.7")
    assert list((tmp_path / "conversions").iterdir()) == []


def test_a_trial_counts_what_would_go_to_quarantine_with_the_values(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    till(tmp_path / "sources", GOOD.replace("'paid'", "'lost at sea'"))
    (tmp_path / "t.jsonl").write_bytes(jsonl(sale(1), sale(2)))
    tried = trial.try_file(Settings(home=tmp_path), tmp_path / "t.jsonl", name="till")
    (reason,) = tried.reasons.values()
    assert (tried.quarantined, reason["count"], reason["first"], reason["values"]) == (2, 2, [1, 2], ["lost at sea"])


def test_a_file_that_no_source_knows_says_how_to_begin_one(tmp_path: Path) -> None:
    (tmp_path / "cats.csv").write_text("cat,age\nTom,3\n")
    with pytest.raises(SourceError, match="No source knows this file") as raised:
        trial.try_file(Settings(home=tmp_path), tmp_path / "cats.csv")
    assert "c360 source new" in raised.value.next_step


def test_a_draft_declares_the_files_columns_maps_those_it_can_and_runs(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    (tmp_path / "magento.json").write_text(json.dumps([
        {"increment_id": "1", "created_at": "2026-05-01 10:00:00", "updated_at": "2026-05-01 10:00:00",
         "grand_total": 12.5, "customer_email": "a@b.example", "items": [{"sku": "A", "qty_ordered": 1}], "extra": {}},
    ]))  # fmt: skip
    path = draft.draft(settings, "magento", tmp_path / "magento.json", source_named(settings, "shopify_csv").feed)
    source = source_named(settings, "magento")
    assert source.columns["items"] == [{"sku": "VARCHAR", "qty_ordered": "VARCHAR"}]
    text = path.read_text()
    assert '"grand_total" as total_amount' in text
    assert '"customer_email" as email' in text
    assert "TODO (required): one of placed, paid" in text
    tried = trial.try_file(settings, tmp_path / "magento.json", name="magento")
    assert (tried.conversion.records, tried.quarantined) == (1, 1)
    with pytest.raises(SourceError, match="already"):
        draft.draft(settings, "magento", tmp_path / "magento.json", source.feed)


def test_the_time_of_an_export_is_in_its_name() -> None:
    moment = datetime(2026, 5, 1, 10, tzinfo=UTC)
    name = landing.with_time("orders_export_1.csv.gz", moment)
    assert name == "orders_export_1@20260501T100000Z.csv.gz"
    assert landing.time_in_name(name) == moment
    assert landing.with_time(name, moment) == name
    assert landing.time_in_name("orders@2026.csv") is None
