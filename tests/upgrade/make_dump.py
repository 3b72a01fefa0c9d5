"""Make the test data of tests/pipeline/test_upgrade.py: a warehouse as the present version makes it.

    git worktree add ../made COMMIT && cd ../made && make setup && .venv/bin/python -m tests.upgrade.make_dump

Run it at the commit that a release was made of, before the next one changes anything; ``0.1.0`` was made at the commit
that added this file. It takes a few minutes, works in a scratch folder and writes ``tests/upgrade/VERSION/``:

* ``warehouse.sql.xz``: the database as plain SQL, without roles or passwords. Not gzip: most rows stand in it several
  times (raw, staging, candidate, marts), further apart than gzip looks back; xz gives less than half the size.
* ``landing.tar.xz``: the landed files, with the times by which the ledger knows them.
* ``record.json``: what the old version says of it all (:mod:`tests.upgrade.record`).

The same commit gives the same shop; its days end on the day on which the script runs.
"""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from customer360 import __version__
from customer360.warehouse import embedded_server
from tests.upgrade import record
from tests.upgrade.dated import c360
from tests.upgrade.shop_cases import PADDED, Cases, Record

DAYS = 560
"""Four snapshots of the churn model, 84 days apart, and half a year before the first."""
RETENTION_DAYS = 460
"""Raw lets go of the first months."""
_BECAUSE = ("--by", "operator", "--because", "a case of the upgrade's test")


class Shop:
    """An installation in a scratch folder, its clock, and what is landed in it."""

    def __init__(self, folder: Path, last_day: date) -> None:
        self.folder = folder
        self.home = folder / "c360"
        self.day = last_day

    def type(self, *words: object, **options: Any) -> Any:
        """Type a command, and read the JSON that it prints if asked for."""
        told = c360(self.home, self.day, *words, **options)
        return json.loads(told) if "--json" in words else told

    def land(self, feed: str, *files: Path, history: bool = False) -> None:
        """Put files into the landing zone, changed at a whole second: a tar keeps no part of one."""
        for landed in self.type("land", feed, *files, *["--history"] * history, "--json"):
            moment = int(os.stat(landed["location"]).st_mtime)
            os.utime(landed["location"], (moment, moment))

    def land_orders(self, name: str, records: Iterable[Record], *, history: bool = False) -> None:
        """Land a file of orders."""
        path = self.folder / name
        path.write_text("".join(json.dumps(one) + "\n" for one in records))
        self.land("orders", path, history=history)

    def run(self) -> None:
        """`c360 run`; exit code 1 where it met a file that it had to refuse, which is as it should be."""
        told = self.type("run", "--json", codes=(0, 1))
        assert all(one["state"] in ("succeeded", "idle") for one in told["runs"]), told
        assert len(told["runs"]) > 0, told

    def connect(self) -> psycopg.Connection[Any]:
        """A connection that reads everything."""
        return psycopg.connect(self.type("url", "--role", "owner", "--json")["url"], autocommit=True)

    def value(self, statement: str) -> Any:
        """The one value that a query gives."""
        with self.connect() as connection:
            row = connection.execute(statement.encode()).fetchone()
        assert row is not None, statement
        return row[0]

    def batch(self, file_name: str) -> int:
        """The number of the batch of a file."""
        return int(self.value(f"select batch_id from ops.batches where file_name = '{file_name}'"))

    def key(self, order_id: str) -> int:
        """Whose an order is."""
        return int(self.value(f"select customer_key from marts.fct_orders where order_id = '{order_id}'"))


def live(shop: Shop) -> dict[str, Any]:
    """Live through the last three days of a shop; returns the numbers of its cases."""
    last_day = shop.day
    cases = Cases(last_day)
    sample = shop.folder / "sample"
    shop.type(
        "sample", "--out", sample, "--customers", 70, "--days", DAYS, "--until", last_day - timedelta(days=1),
        "--seed", 7, "--latest-only", "--faults", "--currency", "USD", "--currency", "EUR",
        "--format", "jsonl", "--format", "csv",
    )  # fmt: skip

    shop.day = last_day - timedelta(days=2)
    for feed in ("orders", "web_sessions", "support_tickets"):
        shop.land(feed, *sorted((sample / "history" / feed).iterdir()), history=True)
    shop.land_orders("regulars.jsonl", cases.regulars(DAYS), history=True)
    shop.land_orders("people.jsonl", cases.people())
    shop.land_orders("held.jsonl", cases.held())
    shop.run()
    known = ("merge-1", "merge-2", "join-1", "join-2", "split-1", "held-1", PADDED[0])
    found: dict[str, Any] = {name: shop.key(name) for name in known}
    shop.type("churn", "fit", "--horizon-days", 84)  # not the default: state.churn_horizons has a row
    _land_fresh(shop, sample, "01", "02")
    shop.run()

    shop.day = last_day - timedelta(days=1)
    _land_fresh(shop, sample, "03", "04")
    shop.land_orders("merging.jsonl", cases.merging())
    shop.land_orders("faulty.jsonl", cases.faulty())
    joined, taken_back = (
        shop.type("identity", "join", f"customer_id:{who}-1", f"customer_id:{who}-2", *_BECAUSE, "--json")
        for who in ("join", "undo")
    )
    found["join_decision"] = joined["decision_id"]
    shop.run()
    shop.type("identity", "split", "customer_id:split", "--identifier", "email:split@shop-a.test", *_BECAUSE)
    shop.type("identity", "undo", taken_back["decision_id"], *_BECAUSE)
    found["released_batch"] = _decide_on_faulty_rows(shop)
    found["held_batch"] = shop.batch("held.jsonl")
    shop.type("hold", found["held_batch"], *_BECAUSE)
    shop.run()

    shop.day = last_day
    _land_fresh(shop, sample, "05")
    shop.type("identity", "block", "email:blocked@shop-a.test", *_BECAUSE)
    shop.run()
    shop.type("tidy", *_BECAUSE, C360_RAW_RETENTION_DAYS=str(RETENTION_DAYS))
    shop.run()
    shop.type("monitor", "--once", codes=(0, 1))  # 1: something is open, which is meant
    shop.type("verify", "--full")
    found["split-3"] = shop.key("split-3")
    found["faulty_open"] = shop.value(
        f"select quarantine_id from quarantine.rows where batch_id = {shop.batch('faulty.jsonl')} and state = 'open'"
    )
    found["frozen_order"] = shop.value("select min(order_id) from state.frozen_orders where order_id like 'regular-%'")
    return found


def _land_fresh(shop: Shop, sample: Path, *batches: str) -> None:
    for batch in batches:
        for path in sorted((sample / "fresh" / batch).iterdir()):
            if path.suffix != ".xlsx":  # `c360 land` does not take it
                shop.land(path.name.rpartition("-202")[0], path)


def _decide_on_faulty_rows(shop: Shop) -> int:
    """Release the first faulty row, corrected, and discard the second; returns the batch of the released row."""
    rows = shop.type("quarantine", "list", "--batch", shop.batch("faulty.jsonl"), "--rows", "--json")["rows"]
    first, second, _ = (row["quarantine_id"] for row in sorted(rows, key=lambda row: row["row_number"]))
    exported = shop.folder / "exported.jsonl"
    shop.type("quarantine", "export", exported, "--row", first)
    exported.write_text(exported.read_text().replace('"lost"', '"paid"'))
    told = shop.type("quarantine", "release", "--file", exported, *_BECAUSE, "--json")
    exported.unlink()
    shop.type("quarantine", "discard", second, *_BECAUSE)
    return int(told["batch_ids"][0])


def write(shop: Shop, cases: dict[str, Any], target: Path) -> None:
    """Put the database, the landed files and the record of them into ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    dump = subprocess.run(
        [
            embedded_server.binaries() / "pg_dump", "--restrict-key", "upgrade",
            "--dbname", shop.type("url", "--role", "owner", "--json")["url"],
        ],
        capture_output=True, check=True,
    )  # fmt: skip
    text = dump.stdout.replace(str(shop.home).encode(), record.HOME.encode())
    assert str(shop.folder).encode() not in text
    (target / "warehouse.sql.xz").write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    with tarfile.open(target / "landing.tar.xz", "w:xz", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted((shop.home / "landing").rglob("*")):
            if path.is_file():
                tar.add(path, path.relative_to(shop.home), filter=_of_nobody)
    with shop.connect() as connection:
        record.Record(
            version=__version__,
            as_of_on=shop.day.isoformat(),
            cases=cases,
            figures=record.Figures.read(connection),
            tables=tuple(record.tables_of(connection)),
        ).save(target / "record.json")


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def main() -> None:
    """Make the warehouse and write it down."""
    with tempfile.TemporaryDirectory(prefix="c360-upgrade-", ignore_cleanup_errors=True) as scratch:
        shop = Shop(Path(scratch), datetime.now(UTC).date())
        try:
            write(shop, live(shop), record.HERE / __version__)
        finally:
            shop.type("down")


if __name__ == "__main__":
    main()
