"""The commands as a person types them: what they print, and with which code they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.settings import Settings
from customer360.stack import processes
from tests.pipeline.shop import order

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def c360(shop: Settings, terminal_of: Callable[..., Command]) -> Iterator[Command]:
    yield terminal_of(shop)
    processes.stop_monitor(shop)


def change(shop: Settings, statement: str) -> None:
    with warehouse.admin(shop) as connection:
        connection.execute(warehouse.query(statement))


def land(c360: Command, folder: Path, name: str, *records: dict[str, Any]) -> None:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    code, _, errors = c360("land", "orders", path)
    assert code == 0, errors


def test_status_counts_the_batches_of_each_feed_and_fits_a_narrow_terminal(c360: Command) -> None:
    code, output, _ = c360("status", "--json")
    assert code == 0
    feeds = {row["feed"]: row for row in json.loads(output)["feeds"]}
    assert (feeds["orders"]["published"], feeds["orders"]["quarantined_rows"]) == (2, 0)
    code, output, _ = c360("status")
    assert code == 0
    assert "quarantined" in output, "no heading is cut"
    assert max(map(len, output.splitlines())) <= 80


def test_status_says_how_far_each_feed_is_behind(c360: Command, shop: Settings) -> None:
    change(
        shop,
        "insert into ops.batches (feed, file_name, state, landed_at, loaded_at, landed_rows, loaded_rows)"
        " values ('orders', 'late.csv', 'loaded', now() - interval '90 seconds', now(), 1, 1)",
    )
    _, output, _ = c360("status", "--json")
    behind = {row["feed"]: row["backlog_seconds"] for row in json.loads(output)["feeds"]}
    assert behind["orders"] >= 90
    assert behind["web_sessions"] is None
    _, output, _ = c360("status")
    assert "Behind" in output


@pytest.mark.builds
def test_a_refused_file_ends_a_run_with_1_and_why_tells_what_to_do(c360: Command, tmp_path: Path) -> None:
    land(c360, tmp_path, "cut.jsonl", {"order_id": "o9"})
    land(c360, tmp_path, "whole.jsonl", order("o9", customer_id="c9"))
    code, output, _ = c360("run", "--json")
    assert code == 1
    refused = [batch for batch in json.loads(output)["batches"] if batch["state"] == "refused"]
    assert [batch["file_name"] for batch in refused] == ["cut.jsonl"]
    code, output, _ = c360("why", refused[0]["batch_id"])
    assert code == 0
    assert "required column" in " ".join(output.split())
    assert "Next:" in output
    code, output, _ = c360("status")
    assert "c360 why" in output
    code, output, _ = c360("run", "--json")
    assert (code, json.loads(output)["batches"]) == (0, []), "it is not tried again by itself"
    assert c360("verify")[0] == 0, "what was refused is counted, and the other file is in"


def test_verify_ends_with_1_and_names_what_is_missing(c360: Command, shop: Settings) -> None:
    code, output, _ = c360("verify", "--json")
    assert (code, json.loads(output)["holds"]) == (0, True)
    change(shop, "delete from marts.fct_orders where order_id = 'o1'")
    code, output, _ = c360("verify")
    assert code == 1
    assert "o1" in output


def test_why_of_what_is_not_there_says_how_to_ask(c360: Command) -> None:
    code, _, errors = c360("why", "batch", "999999")
    assert code == 1
    assert "999999" in errors
    assert "Next:" in errors
    assert "Traceback" not in errors


def test_a_warehouse_older_than_the_program_is_told_so_without_a_traceback(c360: Command, shop: Settings) -> None:
    change(shop, "alter table ops.batches drop column duplicate_rows cascade")
    code, _, errors = c360("status")
    assert code == 1
    assert "run `c360 up`" in " ".join(errors.split())
    assert "Traceback" not in errors
