"""Hostile files: whatever the bytes, no crash, no lost row, and what is accepted can be stored."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from customer360.contract.feeds import FEEDS
from customer360.front_door import load, readers
from customer360.front_door.formats import UnreadableFileError
from customer360.front_door.rows_to_copy import csv_of
from customer360.gates import suites
from customer360.settings import Settings
from tests.pipeline.front_door import MAKERS, WRITERS, assert_balanced, batches, drop

TOKENS = [
    b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\r\n", b"\n\n", b'"', b'""', b"'", b",", b";", b"\t", b"\\",
    b"\\u0000",
    b"\\ud800", b"\\udc00\\ud800", b"1e400", b"-1e400", b"NaN", b"Infinity", b"1,000.00", b"0x1F", b"1e-400", b"null",
    b"true", b"{}", b"[]", b"[" * 600, b"{" * 600, b"[" * 9000, b'{"a":' * 3000, b"9" * 5000, b"A" * 20000,
    b"\xc3\x28", b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8", b"2999-01-01T00:00:00Z", b"0000-00-00T00:00:00Z", b"99999-01-01T00:00:00Z",
    b"-0", b"+", b"PAR1", b"\x1f\x8b", b'"order_id":', b"}{", b"}\n{", b"][", b"],[", b"/*", b"//", b"#", b"=cmd|",
]  # fmt: skip


def seeds(randomness: random.Random) -> Iterator[tuple[str, str, bytes]]:
    """Real files of every feed and format, with some bad rows in them."""
    for feed, make in MAKERS.items():
        for format_, writer in WRITERS.items():
            count = randomness.randint(1, 12)
            rows = [make(n, updated_at="2026-03-05T00:00:00Z" if n % 3 else "never") for n in range(count)]
            yield feed, format_, writer(rows)


def mutated(content: bytes, randomness: random.Random) -> bytes:
    """The bytes with a few things done to them."""
    data = bytearray(content)
    for _ in range(randomness.randint(1, 6)):
        place = randomness.randrange(len(data) + 1)
        length = min(randomness.choice([1, 1, 2, 8, 64]), len(data) - place)
        match randomness.randrange(7):
            case 0 if length:
                for offset in range(length):
                    data[place + offset] = randomness.randrange(256)
            case 1:
                del data[place : place + length]
            case 2 | 3:
                data[place:place] = randomness.choice(TOKENS)
            case 4:
                data[place:place] = data[place : place + length * 4]
            case 5 if len(data) > 40 and randomness.random() < 0.3:
                del data[place:]
            case _ if length:
                data[place : place + length] = randomness.choice(TOKENS)[: length * 2]
    return bytes(data)


def survives(feed: str, format_: str, content: bytes) -> int:
    """Read, judge and write a file as the load does; returns the rows, each of which is accounted for."""
    of = FEEDS[feed]
    try:
        source = readers.open_source(of, f"a.{format_}", io.BytesIO(content), block_bytes=4096)
        gate = suites.LandingGate(of, datetime(2026, 3, 10, tzinfo=UTC))
        rows = 0
        for chunk in source.chunks:
            assert len(chunk) > 0
            assert chunk.row_numbers.tolist() == list(range(rows + 1, rows + len(chunk) + 1))
            rows += len(chunk)
            judged = gate.check(chunk)
            reasons, left = judged.reasons, judged.chunk
            assert all(problem in reasons for problems in left.problems.values() for problem in problems)
            for row, told in reasons.items():
                assert "\x00" not in chunk.record(row)
                chunk.record(row).encode()
                assert all(reason.message.isprintable() for reason in told)
            good = np.array([row for row in range(len(chunk)) if row not in reasons], np.int64)
            if len(good):
                csv_of(left, 1, good).to_pybytes().decode()
            if left.extra is not None:
                assert all(text is None or json.loads(text) for text in left.extra.to_pylist())
    except UnreadableFileError:
        return 0
    assert rows
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_no_mutated_file_is_lost_or_crashes(seed: int) -> None:
    randomness = random.Random(seed)
    rows = 0
    for _ in range(4):
        for feed, format_, content in seeds(randomness):
            rows += survives(feed, format_, mutated(content, randomness))
    assert rows > 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_no_mutated_file_is_lost_or_crashes_at_length(seed: int) -> None:
    randomness = random.Random(seed)
    for _ in range(25):
        for feed, format_, content in seeds(randomness):
            survives(feed, format_, mutated(content, randomness))


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(WRITERS)), st.binary(max_size=300))
def test_no_random_bytes_crash_a_reader(format_: str, content: bytes) -> None:
    survives("orders", format_, content)


def test_hostile_files_leave_a_balanced_ledger(settings: Settings) -> None:
    randomness = random.Random(7)
    for turn in range(3):
        for feed, format_, content in seeds(randomness):
            hostile = mutated(content, randomness)
            packed = format_ != "parquet" and turn == 1
            drop(settings, feed, f"{turn}.{format_}{'.gz' if packed else ''}", hostile)
    summary = load.ingest(settings)
    assert len(summary.batches) == 9 * len(FEEDS)
    assert not summary.failed, [outcome.error for outcome in summary.failed]
    assert summary.loaded
    assert_balanced(settings)
    assert load.ingest(settings).batches == []
    assert {batch.state for batch in batches(settings)} <= {"loaded", "refused", "duplicate"}


def test_a_gzip_bomb_is_refused_in_bounded_time(settings: Settings) -> None:
    """Fault 6: 2 GB of zeros in 2 MB; refused long before they are all inflated."""
    one = gzip.compress(b"\x00" * (64 << 20))
    path = drop(settings, "orders", "bomb.jsonl", one * 32)
    path.rename(path.with_name("bomb.jsonl.gz"))
    (outcome,) = load.ingest(settings).batches
    assert outcome.state == "refused"
    assert "line is longer than 16 MB" in outcome.error or "looks like a bomb" in outcome.error


def test_a_bomb_of_lines_is_refused(settings: Settings) -> None:
    lines = gzip.compress(b'{"order_id":"o"}\n' * (1 << 20))
    path = drop(settings, "orders", "bomb.jsonl", lines * 64)
    path.rename(path.with_name("bomb.jsonl.gz"))
    (outcome,) = load.ingest(settings).batches
    assert outcome.state == "refused"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n1\n", "columns"),
        ("a.jsonl", b'{"order_id":"' + b"x" * (40 << 20) + b'"}\n', "a line is longer than 16 MB"),
        ("a.csv", b"x" * (17 << 20), "its first line is longer than 16 MB"),
    ],
    ids=["a million columns", "a huge line", "a huge header"],
)
def test_a_bomb_is_refused_with_its_reason(settings: Settings, name: str, content: bytes, reason: str) -> None:
    drop(settings, "orders", name, content)
    (outcome,) = load.ingest(settings).batches
    assert outcome.state == "refused"
    assert reason in outcome.error


@pytest.mark.slow
def test_a_record_of_a_million_fields_steps_aside_alone(settings: Settings) -> None:
    wide = b"{" + b",".join(b'"f%d":1' % n for n in range(1_000_000)) + b"}\n"
    drop(settings, "orders", "a.jsonl", WRITERS["jsonl"]([MAKERS["orders"](1)]) + wide)
    (outcome,) = load.ingest(settings).batches
    assert (outcome.state, outcome.rows, outcome.quarantined) == ("loaded", 1, 1)
    assert_balanced(settings)
