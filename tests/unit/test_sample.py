"""The sample generator: its files keep the feeds' rules, and its truth is true."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import phonenumbers
import pyarrow.parquet as pq
import pytest

from customer360.sample import SampleError, SampleManifest, generate, load_manifest
from customer360.sample.bad_rows import BAD_ROWS
from customer360.sample.calendar import make_calendar
from customer360.sample.journey import simulate
from customer360.sample.people import EASY, JUNK_EMAILS, JUNK_PHONES, TILL_EMAILS, make_people
from tests.unit.sample_rules import ID, Row, amount, broken_rules, moment, read_rows

UNTIL = date(2026, 3, 31)
Numbered = list[tuple[int, Row]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> SampleManifest:
    out = tmp_path_factory.mktemp("plain") / "sample"
    return generate(400, 120, UNTIL, 5, out, hard_identity=True, currencies=("USD", "EUR"))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> SampleManifest:
    return generate(400, 200, UNTIL, 6, tmp_path_factory.mktemp("faulty") / "sample", faults=True)


def faults_of(manifest: SampleManifest) -> list[Row]:
    return json.loads((manifest.out / "truth" / "faults.json").read_text()) if manifest.has_faults else []


def good_rows(manifest: SampleManifest, feed: str) -> Iterator[Row]:
    bad = {(f["path"], f["row_number"]) for f in faults_of(manifest) if f["kind"] in ("bad_row", "bad_line")}
    for file in manifest.files:
        if file.feed == feed and file.expected == "loaded":
            for number, row in enumerate(read_rows(manifest.path(file)), start=1):
                if (file.path, number) not in bad:
                    assert row is not None
                    yield row


def latest(rows: Iterator[Row], feed: str) -> dict[str, Row]:
    newest: dict[str, Row] = {}
    for row in rows:
        kept = newest.get(row[ID[feed]])
        if kept is None or moment(row["updated_at"]) > moment(kept["updated_at"]):
            newest[row[ID[feed]]] = row
    return newest


def digests(manifest: SampleManifest) -> dict[str, str]:
    return {
        str(path.relative_to(manifest.out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(manifest.out.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("feed", sorted(ID))
def test_every_record_of_a_plain_sample_keeps_the_rules_of_its_feed(plain: SampleManifest, feed: str) -> None:
    formats = {file.path.split(".", 1)[1] for file in plain.files if file.feed == feed}
    assert formats >= {"jsonl.gz", "jsonl", "csv", "parquet"}
    count = 0
    for row in good_rows(plain, feed):
        assert broken_rules(feed, row, plain.end_at) == set(), row
        count += 1
    assert count == sum(file.rows for file in plain.files if file.feed == feed) > 100


@pytest.mark.parametrize("name", ["plain", "faulty"])
def test_the_totals_are_those_of_the_files(name: str, request: pytest.FixtureRequest) -> None:
    manifest: SampleManifest = request.getfixturevalue(name)
    orders = latest(good_rows(manifest, "orders"), "orders")
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in orders.values():
        money, total = sums[row["currency"]], amount(row["total_amount"])
        refunded = sum((amount(refund["amount"]) for refund in row.get("refunds") or []), Decimal(0))
        cancelled = row["status"] == "cancelled"
        money["total_amount"] += total
        money["cancelled_amount" if cancelled else "gross_amount"] += total
        money["cancelled_refunded_amount" if cancelled else "refunded_amount"] += refunded
        for field in ("discount_amount", "shipping_amount", "tax_amount"):
            money[field] += amount(row.get(field)) or 0
    tickets = latest(good_rows(manifest, "support_tickets"), "support_tickets")
    for row in tickets.values():
        if row.get("compensation_amount") is not None:
            sums[row["currency"]]["compensation_amount"] += amount(row["compensation_amount"])
    sessions = latest(good_rows(manifest, "web_sessions"), "web_sessions")
    told = {code: {k: Decimal(v) for k, v in money.items()} for code, money in manifest.totals["money"].items()}
    assert {code: {k: v for k, v in money.items() if v} for code, money in sums.items()} == {
        code: {k: v for k, v in money.items() if v} for code, money in told.items()
    }
    counted = {"orders": len(orders), "web_sessions": len(sessions), "support_tickets": len(tickets)}
    assert manifest.totals["ids"] == counted
    by_status = Counter(row["status"] for row in orders.values())
    assert {k: v for k, v in manifest.totals["counts"]["orders_by_status"].items() if v} == dict(by_status)
    assert manifest.totals["counts"]["web_sessions"]["page_views"] == sum(
        int(row["page_views"]) for row in sessions.values()
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"customers": 60, "days": 40, "until": UNTIL, "faults": True, "hard_identity": True}
    first = digests(generate(seed=3, out=tmp_path / "first", **arguments))
    again = digests(generate(seed=3, out=tmp_path / "again", **arguments))
    other = digests(generate(seed=4, out=tmp_path / "other", **arguments))
    assert len(first) > 20
    assert first == again
    assert first["truth/people.parquet"] != other["truth/people.parquet"]


def test_history_ends_where_the_fresh_batches_begin(plain: SampleManifest) -> None:
    assert plain.batches == [1, 2, 3, 4, 5]
    assert plain.end_at == datetime(2026, 4, 1, tzinfo=UTC)
    assert plain.fresh_from == plain.end_at - timedelta(days=5)
    for file in plain.files:
        begin = plain.fresh_from + timedelta(days=file.batch - 1)
        for row in read_rows(plain.path(file)):
            assert row is not None
            updated = moment(row["updated_at"])
            assert updated < plain.fresh_from if file.batch == 0 else begin <= updated < begin + timedelta(days=1)


def test_orders_and_tickets_come_in_several_versions_and_sessions_grow_from_anonymous_to_known(
    plain: SampleManifest,
) -> None:
    versions: dict[str, list[Row]] = defaultdict(list)
    for row in good_rows(plain, "orders"):
        versions[row["order_id"]].append(row)
    statuses = {
        tuple(r["status"] for r in sorted(rows, key=lambda r: moment(r["updated_at"]))) for rows in versions.values()
    }
    assert ("placed", "paid", "shipped", "delivered") in statuses
    assert any(path[-1] == "returned" for path in statuses)
    assert any(path[-1] == "cancelled" for path in statuses)
    refunded = [
        (moment(refund["refunded_at"]), moment(row["delivered_at"]))
        for rows in versions.values()
        for row in rows
        if row["status"] != "cancelled" and row.get("delivered_at")
        for refund in row.get("refunds") or []
    ]
    assert len(refunded) > 20
    assert all(paid_back > delivered for paid_back, delivered in refunded)

    grown: dict[str, list[Row]] = defaultdict(list)
    for row in good_rows(plain, "web_sessions"):
        grown[row["session_id"]].append(row)
    became_known = 0
    for rows in grown.values():
        rows.sort(key=lambda r: moment(r["updated_at"]))
        assert [int(r["page_views"]) for r in rows] == sorted(int(r["page_views"]) for r in rows)
        if len(rows) > 1:
            assert rows[0].get("customer_id") is None
            became_known += rows[-1].get("customer_id") is not None
    assert became_known > 50
    orders = latest(good_rows(plain, "orders"), "orders")
    bought = [rows[-1] for rows in grown.values() if rows[-1].get("order_id")]
    assert len(bought) > 200
    for row in bought:
        assert moment(row["started_at"]) < moment(orders[row["order_id"]]["ordered_at"]) < moment(row["ended_at"])

    tickets = list(good_rows(plain, "support_tickets"))
    assert any(int(row.get("reopens") or 0) for row in tickets)
    assert {int(row["satisfaction_scale_max"]) for row in tickets if row.get("satisfaction_scale_max")} >= {1, 5, 7, 10}


def test_history_of_latest_versions_has_one_record_per_id(tmp_path: Path) -> None:
    manifest = generate(
        80, 60, UNTIL, 2, tmp_path / "sample", history_versions="latest", formats=("parquet",), fresh_batches=0
    )
    assert manifest.fresh() == []
    for feed, id_field in ID.items():
        ids = [row[id_field] for file in manifest.history(feed) for row in read_rows(manifest.path(file)) if row]
        assert len(ids) == len(set(ids)) == manifest.totals["ids"][feed] > 0


def test_the_truth_names_the_person_behind_every_record_and_identifier(plain: SampleManifest) -> None:
    truth = pq.read_table(plain.out / "truth" / "records.parquet").to_pylist()
    behind = {(row["feed"], row["record_id"]): row["person_id"] for row in truth}
    assert len(behind) == len(truth) == sum(plain.totals["ids"].values())
    identifiers = pq.read_table(plain.out / "truth" / "identifiers.parquet").to_pylist()
    shown = {(row["identifier_type"], row["identifier"], row["person_id"]) for row in identifiers}
    assert len(shown) == len(identifiers)
    nobodys = {*JUNK_EMAILS, *TILL_EMAILS, *JUNK_PHONES}
    seen = set()
    for feed in ID:
        for row in latest(good_rows(plain, feed), feed).values():
            person = behind[feed, row[ID[feed]]]
            for kind in ("customer_id", "email", "phone", "anonymous_id"):
                value = row.get(kind)
                if value is None or person.startswith("V-"):
                    continue
                value = value.strip().lower() if kind == "email" else value
                if value in nobodys:
                    continue
                if kind == "phone":
                    number = phonenumbers.parse(value, "US")
                    assert phonenumbers.is_valid_number(number)
                    value = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
                seen.add((kind, value, person))
    assert seen == shown


def test_a_hard_sample_has_identifiers_that_show_two_people(plain: SampleManifest) -> None:
    people: dict[tuple[str, str], set[str]] = defaultdict(set)
    codes: dict[str, set[str]] = defaultdict(set)
    for row in pq.read_table(plain.out / "truth" / "identifiers.parquet").to_pylist():
        people[row["identifier_type"], row["identifier"]].add(row["person_id"])
        if row["identifier_type"] == "customer_id":
            codes[row["person_id"]].add(row["identifier"])
    shared = Counter(kind for (kind, _), who in people.items() if len(who) > 1)
    assert shared["phone"] > 0
    assert shared["anonymous_id"] > 0
    assert shared["customer_id"] == 0
    assert any(len(own) > 1 for own in codes.values())


def test_people_leave_more_often_after_a_late_delivery_and_an_unanswered_complaint() -> None:
    calendar = make_calendar(datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    people = make_people(np.random.default_rng(1), 1, 8_000, calendar, 9.5, EASY)
    journey = simulate(np.random.default_rng(2), people, calendar)
    quiet = ~journey.is_late & ~journey.complains
    left = {
        "quiet": journey.left_after[quiet].mean(),
        "late": journey.left_after[journey.is_late & ~journey.is_ignored].mean(),
        "ignored": journey.left_after[journey.is_ignored].mean(),
        "bored": journey.left_after[quiet & (journey.engagement < 0.5)].mean(),
        "keen": journey.left_after[quiet & (journey.engagement >= 1)].mean(),
    }
    assert left["late"] > 1.5 * left["quiet"]
    assert left["ignored"] > 2 * left["quiet"]
    assert left["bored"] > left["keen"]
    last = journey.left_even_day[journey.person[journey.left_after]]
    assert (last == journey.even_day[journey.left_after]).all()


def test_the_truth_says_who_left_and_when(plain: SampleManifest) -> None:
    people = pq.read_table(plain.out / "truth" / "people.parquet").to_pylist()
    assert len(people) == 400
    behind = {
        row["record_id"]: row["person_id"]
        for row in pq.read_table(plain.out / "truth" / "records.parquet").to_pylist()
        if row["feed"] == "orders"
    }
    last_order: dict[str, datetime] = {}
    for row in latest(good_rows(plain, "orders"), "orders").values():
        person, at = behind[row["order_id"]], moment(row["ordered_at"])
        last_order[person] = max(at, last_order.get(person, at))
    left = [person for person in people if person["has_left"]]
    assert 20 < len(left) < 380
    assert all(last_order[person["person_id"]] == person["left_at"] for person in left)
    assert all(person["left_at"] is None for person in people if not person["has_left"])


@pytest.mark.parametrize("feed", sorted(ID))
def test_every_listed_fault_breaks_its_rule_and_no_other_row_breaks_any(faulty: SampleManifest, feed: str) -> None:
    listed: dict[tuple[str, int], Row] = {
        (f["path"], f["row_number"]): f for f in faults_of(faulty) if f["feed"] == feed
    }
    found: set[tuple[str, str]] = set()
    for file in faulty.files:
        if file.feed != feed or file.expected != "loaded":
            continue
        rows = read_rows(faulty.path(file))
        bad = 0
        for number, row in enumerate(rows, start=1):
            fault = listed.get((file.path, number), {"kind": "none"})
            if fault["kind"] == "bad_line":
                assert row is None
                bad += 1
                continue
            assert row is not None
            broken = broken_rules(feed, row, faulty.end_at)
            if fault["kind"] == "bad_row":
                assert (fault["field"], fault["rule"]) in broken, (fault, row)
                found.add((fault["field"], fault["rule"]))
                bad += 1
            else:
                assert broken == set(), (fault, row)
        assert len(rows) == file.rows
        assert bad == file.bad_rows
    assert found == {(bad_row.field, bad_row.rule) for bad_row in BAD_ROWS[feed]}
    assert sum(fault["kind"] == "bad_row" for fault in listed.values()) == len(BAD_ROWS[feed])


def test_the_other_faults_are_what_they_are_called(faulty: SampleManifest) -> None:
    rows = {file.path: read_rows(faulty.path(file)) for file in faulty.fresh() if file.expected == "loaded"}
    kinds: Counter[str] = Counter()
    for fault in faults_of(faulty):
        kinds[fault["kind"]] += 1
        path, number, id_field = fault["path"], fault["row_number"], ID[fault["feed"]]
        row: Any = rows[path][number - 1] if number else None
        if fault["kind"] == "repeated_row":
            assert row in rows[path][: number - 1]
        elif fault["kind"] == "conflict":
            same = [
                other
                for others in rows.values()
                for other in others
                if other
                and other.get(id_field) == row[id_field]
                and moment(other["updated_at"]) == moment(row["updated_at"])
            ]
            assert len(same) > 1
        elif fault["kind"] == "unknown_field":
            assert "shop_floor" in row
        elif fault["kind"] == "late":
            assert moment(row["updated_at"]) < faulty.fresh_from - timedelta(days=90)
        elif fault["kind"] == "copied_row":
            ids = [
                other[id_field]
                for name, others in rows.items()
                if name != path
                for other in others
                if other and id_field in other
            ]
            assert row[id_field] in ids
        elif fault["kind"] == "duplicate_file":
            contents = [(faulty.out / name).read_bytes() for name in rows]
            assert (faulty.out / path).read_bytes() in contents
        elif fault["kind"] == "refused_file" and "column" in fault["rule"]:
            assert all("updated_at" not in (record or {}) for record in read_rows(faulty.out / path))
    assert set(kinds) == {
        "bad_row", "bad_line", "repeated_row", "copied_row", "conflict", "unknown_field", "late", "correction",
        "duplicate_file", "refused_file",
    }  # fmt: skip
    assert kinds["correction"] >= 10
    repeated = Counter(fault["path"] for fault in faults_of(faulty) if fault["kind"] == "repeated_row")
    assert all(file.repeated_rows == repeated[file.path] for file in faulty.fresh())


def test_corrections_restate_orders_of_the_history(faulty: SampleManifest) -> None:
    before = latest((row for file in faulty.history("orders") for row in read_rows(faulty.path(file)) if row), "orders")
    after = latest(good_rows(faulty, "orders"), "orders")
    corrected = [fault for fault in faults_of(faulty) if fault["kind"] == "correction"]
    for fault in corrected:
        old, new = before[fault["record_id"]], after[fault["record_id"]]
        if fault["field"] == "total_amount":
            assert amount(new["total_amount"]) == amount(old["total_amount"]) - 1
        else:
            assert old["refunds"]
            assert not new.get("refunds")
    assert {fault["field"] for fault in corrected} == {"total_amount", "refunds"}


def test_a_year_of_two_thousand_customers_takes_seconds(tmp_path: Path) -> None:
    begun = time.process_time()
    manifest = generate(2_000, 365, UNTIL, 1, tmp_path / "sample")
    assert time.process_time() - begun < 15
    orders = manifest.totals["ids"]["orders"]
    assert 6_000 < orders < 14_000
    assert 1.6 < manifest.totals["ids"]["web_sessions"] / orders < 2.6
    assert load_manifest(manifest.out) == manifest


@pytest.mark.slow
def test_three_times_the_customers_take_hardly_more_memory(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from datetime import date; from pathlib import Path; "
        "from customer360.sample import generate; "
        "generate(int(sys.argv[1]), 365, date(2026, 3, 31), 1, Path(sys.argv[2])); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", program, str(customers), str(tmp_path / str(customers))]))
        for customers in (10_000, 30_000)
    ]
    assert peaks[1] < 1.4 * peaks[0]


def test_a_single_customer_and_a_single_chunk_border_are_samples_too(tmp_path: Path) -> None:
    for seed in range(6):
        manifest = generate(1, 2, UNTIL, seed, tmp_path / str(seed), faults=seed % 2 == 1)
        assert manifest.customers == 1
    manifest = generate(10_001, 2, UNTIL, 1, tmp_path / "border", fresh_batches=1)
    people = pq.read_table(manifest.out / "truth" / "people.parquet").column("person_id").to_pylist()
    assert len(set(people)) == 10_001
    records = pq.read_table(manifest.out / "truth" / "records.parquet")
    assert records.num_rows == sum(manifest.totals["ids"].values())


def test_what_makes_no_sample_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(SampleError, match="already holds something"):
        generate(10, 10, UNTIL, 1, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    for wrong in (
        {"customers": 0},
        {"days": 1},
        {"seed": -1},
        {"until": date(2999, 1, 1)},
        {"until": datetime(2026, 1, 1)},
        {"currencies": ("XXX",)},
        {"formats": ("xlsx",)},
    ):
        ordinary: dict[str, Any] = {"customers": 10, "days": 10, "until": UNTIL, "seed": 1, "out": tmp_path / "new"}
        with pytest.raises(SampleError):
            generate(**ordinary | wrong)
    assert not (tmp_path / "new").exists()
    with pytest.raises(SampleError, match="no sample"):
        load_manifest(tmp_path)
