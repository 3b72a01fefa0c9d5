"""A vendor's export at the front door: folders, the ledger, quarantine, replay, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customer360 import wake, warehouse
from customer360.front_door import landing, load, quarantine, replay
from customer360.oncall import conditions
from customer360.settings import Settings
from customer360.sources import declaration
from tests.pipeline.front_door import assert_balanced, batches, raw_rows, reasons
from tests.pipeline.vendor_exports import jsonl, shop_orders, shopify_csv

TILL = """/*
source: {name}
version: {version}
feed: orders
title: A till
shapes: [json]
needs: [id]
columns: {{id: text, sold_at: text, total: text, status: text}}
*/
select
    record_number,
    {outcome} as outcome,
    id as order_id,
    sold_at as updated_at,
    sold_at as ordered_at,
    {status} as status,
    'USD' as currency,
    total as total_amount,
    'a@b.example' as email
from input
"""


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Settings]]:
    """Writes a source of this installation; it is removed with the test."""
    folder = declaration.own_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str = "till", version: int = 1, outcome: str = "'record'", status: str = "'paid'") -> Settings:
        (folder / f"{name}.sql").write_text(TILL.format(name=name, version=version, outcome=outcome, status=status))
        return settings

    yield write
    for path in folder.glob("*.sql"):
        path.unlink()


def sales(*numbers: int, **changes: Any) -> bytes:
    return jsonl([{"id": f"t{n}", "sold_at": "2026-05-01T10:00:00Z", "total": "1.50", "status": "paid"} | changes
                  for n in numbers])  # fmt: skip


def put(settings: Settings, source: str, path: Path, content: bytes, **options: Any) -> landing.LandedFile:
    path.write_bytes(content)
    return landing.put_export(settings, source, path, **options)


def conversions(settings: Settings) -> list[tuple[Any, ...]]:
    with warehouse.connect("oncall", settings) as connection:
        return connection.execute(
            "select batch_id, source, source_version, namespace, input_rows, record_rows, continuation_rows, "
            "aside_rows, asides, defaults, unknown_columns, output_hash from ops.conversions order by batch_id"
        ).fetchall()


def test_an_export_is_one_batch_whose_every_record_is_accounted_for(settings: Settings, tmp_path: Path) -> None:
    lines = shop_orders()
    file = put(settings, "shopify_csv", tmp_path / "orders.csv", shopify_csv(lines))
    assert (file.feed, file.source) == ("orders", "shopify_csv")
    (outcome,) = load.ingest(settings).batches
    orders = [line for line in lines if line.get("Total")]
    tests = [line for line in orders if "Bogus" in line["Payment Method"]]
    assert (outcome.state, outcome.rows, outcome.quarantined) == ("loaded", len(orders) - len(tests), 0)
    assert_balanced(settings)
    (told,) = conversions(settings)
    assert told[1:8] == (
        "shopify_csv", 1, "shopify", len(lines), len(orders) - len(tests), len(lines) - len(orders), len(tests),
    )  # fmt: skip
    assert told[8]["a test order"]["count"] == len(tests)
    first = next(number for number, line in enumerate(lines, 1) if "Bogus" in line.get("Payment Method", ""))
    assert told[8]["a test order"]["first"][0] == first
    ids = {line["Id"] for line in orders} - {line["Id"] for line in tests}
    assert {row[0] for row in raw_rows(settings, "orders", "order_id")} == ids
    assert str(load.ingest(settings)) == "nothing new has landed"


def test_a_row_is_numbered_and_quarantined_by_its_record_in_the_vendors_file(
    settings: Settings, tmp_path: Path
) -> None:
    lines = [line for line in shop_orders() if "Bogus" not in line.get("Payment Method", "")]
    heads = [number for number, line in enumerate(lines, 1) if line.get("Total")]
    bad = heads[len(heads) // 2]
    lines[bad - 1]["Financial Status"] = "frozen"
    lines[bad - 1]["Cancelled at"] = ""
    put(settings, "shopify_csv", tmp_path / "orders.csv", shopify_csv(lines))
    (outcome,) = load.ingest(settings).batches
    assert (outcome.state, outcome.quarantined) == ("loaded", 1)
    assert list(reasons(settings)) == [bad]
    with warehouse.connect("owner", settings) as connection:
        loaded = {row[0] for row in connection.execute("select row_number from raw.orders").fetchall()}
    assert loaded <= set(heads) - {bad}
    assert_balanced(settings)
    # The row is corrected in the contract's own words and let in; a replay does not reopen the decision.
    corrected = tmp_path / "corrected.jsonl"
    with warehouse.connect("loader", settings) as connection:
        assert quarantine.export(connection, quarantine.Selection(), corrected, who="Dana", why="to be corrected") == 1
    corrected.write_text(corrected.read_text().replace("frozen", "paid"))
    assert quarantine.release(settings, who="me", why="a new word of the vendor", corrected=corrected).released == 1
    assert_balanced(settings)
    again = replay.replay(settings, who="me", why="once more", batch_id=outcome.batch_id)
    assert [batch.state for batch in again.batches] == ["loaded"]
    assert_balanced(settings)


def test_a_replay_converts_the_kept_original_by_the_source_as_it_is_now(
    own: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = own(status="'placed'")
    put(settings, "till", tmp_path / "a.jsonl", sales(1, 2))
    (outcome,) = load.ingest(settings).batches
    before = conversions(settings)[0]
    assert replay.replay(settings, who="me", why="same", batch_id=outcome.batch_id).batches[0].state == "loaded"
    assert conversions(settings)[0] == before  # the same source gives the same bytes
    own(version=2, status="'paid'", outcome="case when id = 't2' then 'aside: a return' else 'record' end")
    assert replay.replay(settings, who="me", why="mended", batch_id=outcome.batch_id).batches[0].state == "loaded"
    after = conversions(settings)[0]
    assert (after[2], after[5:8], after[11] != before[11]) == (2, (1, 0, 1), True)
    assert raw_rows(settings, "orders", "order_id, status") == [("t1", "paid")]
    assert_balanced(settings)


def test_a_where_that_drops_a_record_lands_nothing_until_the_source_is_mended(
    own: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = own()
    path = declaration.own_folder(settings) / "till.sql"
    whole = path.read_text()
    path.write_text(whole.replace("from input", "from input where id <> 't2'"))
    put(settings, "till", tmp_path / "a.jsonl", sales(1, 2, 3))
    (outcome,) = load.ingest(settings).batches
    assert outcome.state == "failed"
    assert "till.sql accounts for 2 of 3 records: 1 missing (record 2)" in outcome.error
    assert raw_rows(settings, "orders", "order_id") == []
    path.write_text(whole)
    (mended,) = load.ingest(settings).batches
    assert (mended.state, mended.rows) == ("loaded", 3)
    assert_balanced(settings)


def test_a_wrong_file_is_refused_with_the_way_out_and_the_others_flow(settings: Settings, tmp_path: Path) -> None:
    put(settings, "shopify_csv", tmp_path / "cats.csv", b"cat,age\nTom,3\n")
    put(settings, "zendesk", tmp_path / "t.json", json.dumps({"tickets": []}).encode())
    put(settings, "shopify_csv", tmp_path / "orders.csv", shopify_csv(shop_orders()))
    summary = load.ingest(settings)
    assert sorted(batch.state for batch in summary.batches) == ["loaded", "refused", "refused"]
    told = {batch.file_name.rsplit("/", 1)[1][:4]: batch.error for batch in summary.refused}
    assert "it is no shopify_csv file: Name, " in told["cats"]
    assert "c360 source try" in told["cats"]
    assert told["t.js"].startswith("it holds no records")
    assert_balanced(settings)


def test_the_wrong_format_and_an_unknown_source_are_refused_before_anything_is_copied(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("x\n")
    with pytest.raises(landing.LandingError, match="zendesk reads json"):
        landing.put_export(settings, "zendesk", tmp_path / "a.csv")
    with pytest.raises(declaration.SourceError, match="There is no source 'shopfy'"):
        landing.put_export(settings, "shopfy", tmp_path / "a.csv")
    with pytest.raises(declaration.SourceError, match="namespace"):
        landing.put_export(settings, "shopify_csv", tmp_path / "a.csv", namespace="../up")
    assert landing.files(settings) == []


def test_two_shops_of_one_vendor_have_ids_of_their_own_and_one_content_is_two_batches(
    own: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = own()
    put(settings, "till", tmp_path / "a.jsonl", sales(1))
    put(settings, "till", tmp_path / "a.jsonl", sales(1), namespace="shop-uk")
    put(settings, "till", tmp_path / "b.jsonl", sales(1))
    states = sorted((batch.state, batch.file_name) for batch in load.ingest(settings).batches)
    assert states == [
        ("duplicate", "sources/till/b.jsonl"), ("loaded", "sources/till/a.jsonl"),
        ("loaded", "sources/till@shop-uk/a.jsonl"),
    ]  # fmt: skip
    assert [told[3] for told in conversions(settings)] == ["till", "shop-uk"]
    assert_balanced(settings)


def test_a_backfill_and_a_file_that_a_producer_drops_into_the_folder_are_taken(
    settings: Settings, tmp_path: Path
) -> None:
    landing.prepare(settings)
    folder = Path(settings.landing_url) / "sources" / "shopify_csv"
    assert (folder / "history").is_dir()
    content = shopify_csv(shop_orders())
    (folder / "orders@20260501T100000Z.csv").write_bytes(content)
    put(
        settings, "shopify_csv", tmp_path / "o.csv", content, history=True, exported_at=datetime(2026, 4, 1, tzinfo=UTC)
    )
    assert len(wake.waiting_files(settings, "orders")) == 2
    assert wake.waiting_files(settings, "web_sessions") == []
    assert [batch.state for batch in load.ingest(settings).batches] == ["loaded", "loaded"]
    found = {batch.file_name: batch for batch in batches(settings)}
    assert found["sources/shopify_csv/history/o@20260401T000000Z.csv"].is_history
    assert not found["sources/shopify_csv/orders@20260501T100000Z.csv"].is_history
    with warehouse.connect("owner", settings) as connection:
        versions = connection.execute(
            "select array_agg(updated_at order by updated_at) from raw.orders group by order_id"
        ).fetchall()
    # The time of the export, or of the order's last event where that is later (a clock that is wrong).
    assert all(len(times) == 2 and times[1] == datetime(2026, 5, 1, 10, tzinfo=UTC) for (times,) in versions)
    assert min(times[0] for (times,) in versions) == datetime(2026, 4, 1, tzinfo=UTC)


def test_a_newer_export_wins_though_no_time_of_the_order_has_moved(settings: Settings, tmp_path: Path) -> None:
    line = next(
        line
        for line in shop_orders()
        if line.get("Financial Status") == "paid" and "Bogus" not in line["Payment Method"]
    )
    refunded = line | {"Financial Status": "partially_refunded", "Refunded Amount": "1.00"}
    for day, content in ((2, refunded), (1, line)):  # the older file arrives later
        put(settings, "shopify_csv", tmp_path / f"o{day}.csv", shopify_csv([content]),
            exported_at=datetime(2026, 6, day, tzinfo=UTC))  # fmt: skip
        load.ingest(settings)
    with warehouse.connect("owner", settings) as connection:
        rows = connection.execute("select refunds is not null from raw.orders order by updated_at desc").fetchall()
    assert rows == [(True,), (False,)]


def test_the_commands_list_try_land_and_tell_why(
    settings: Settings, tmp_path: Path, terminal_of: Callable[..., Any]
) -> None:
    typed = terminal_of(settings, columns=160)
    export = tmp_path / "orders_export_1.csv"
    export.write_bytes(shopify_csv(shop_orders()))
    code, said, _ = typed("source", "list", "--json")
    assert (code, {row["source"] for row in json.loads(said)} >= {"shopify_csv", "zendesk", "ga4"}) == (0, True)
    code, said, _ = typed("source", "try", export)
    assert code == 0
    assert "of the file" in said
    assert "order_id: 543000000100" in said
    assert "set aside, a test order" in said
    assert f"Next: c360 land --source shopify_csv {export}"[:40] in said
    code, said, _ = typed("source", "try", export, "--json")
    assert json.loads(said)["source"] == "shopify_csv"
    assert landing.files(settings) == []
    code, said, wrong = typed(
        "land", "--source", "shopify_csv", export, "--exported-at", "2026-05-01T10:00:00", "--json"
    )
    assert (code, json.loads(said)[0]["source"]) == (0, "shopify_csv"), wrong
    (outcome,) = load.ingest(settings).batches
    code, said, _ = typed("why", f"batch {outcome.batch_id}")
    assert "converted by shopify_csv version 1" in " ".join(said.split())
    for words in (
        ("land", "orders"),
        ("land", "orders", export, "--namespace", "x"),
        ("land", "--source", "no", export),
    ):
        assert typed(*words)[0] == 2, words


def test_files_that_no_source_reads_and_a_source_that_cannot_be_read_are_incidents(
    own: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = own()

    def found() -> dict[str, tuple[str, str]]:
        with warehouse.connect("oncall", settings, autocommit=True) as connection:
            view = conditions.View(connection, settings)
            return {one.key: (one.severity, one.summary) for one in conditions.CONDITIONS["source_broken"](view)}

    landing.prepare(settings)
    astray = Path(settings.landing_url) / "sources" / "shopify_api"
    astray.mkdir()
    assert found() == {}  # an empty folder is nobody's loss
    (astray / "history").mkdir()
    for path in (astray / "a.jsonl", astray / "history" / "b.jsonl", astray / ".c.jsonl.part"):
        path.write_text("{}")
    assert found() == {
        "source_broken:shopify_api": (
            "critical", "2 files in landing/sources/shopify_api/ are not read: There is no source 'shopify_api'.",
        )
    }  # fmt: skip
    file = declaration.own_folder(settings) / "till.sql"
    file.write_text(file.read_text().replace("shapes: [json]", "shapes: [xml]"))
    severity, summary = found()["source_broken:till"]
    assert severity == "warning"
    assert "its shapes must be some of csv, json, parquet" in summary
    (Path(settings.landing_url) / "sources" / "till" / "a.jsonl").write_text("{}")
    severity, summary = found()["source_broken:till"]
    assert (severity, summary[:31]) == ("critical", "1 files in landing/sources/till")
