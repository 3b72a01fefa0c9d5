"""Personal data stays where the catalogue says, whatever a producer writes wherever."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from customer360 import warehouse
from customer360.backup import take
from customer360.contract.feeds import FEEDS, Feed, Field
from customer360.contract.personal_data import FREE_TEXT, catalogue, entry_of, tag_of
from customer360.front_door import load
from customer360.models.runner import journal_tables, model_tables
from customer360.publication.build import build
from customer360.settings import Settings
from tests.pipeline.front_door import drop, jsonl
from tests.pipeline.shop import order, rows, session, ticket
from tests.pipeline.test_backup import with_backups

EMAIL, PHONE, CARD, NAME = "canary.bird@example.org", "+49 30 7654321", "4111 1111 1111 1111", "Canaria Vogel"
ALL = f"{NAME} {EMAIL} {PHONE} {CARD}"
PATTERNS = r"canary[.]bird|7654321|4111.?1111.?1111.?1111"
ANYTHING = re.compile(f"{PATTERNS}|canaria|vogel".encode(), re.IGNORECASE)
COLUMNS = """
    select n.nspname, c.relname, a.attname from pg_attribute as a
    join pg_class as c on c.oid = a.attrelid join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'v', 'm', 'p') and a.attnum > 0 and not a.attisdropped and n.nspname = any(%s)
    order by 1, 2, a.attnum
"""


# ---- the catalogue --------------------------------------------------------------------------------------------------


def every_column(settings: Settings) -> set[tuple[str, str, str]]:
    """Of the tables that are there, and of those that a daily pass makes."""
    with warehouse.admin(settings) as connection:
        found = {(row[0], row[1], row[2]) for row in connection.execute(COLUMNS, [list(warehouse.SCHEMAS)])}
    for table in (*model_tables(settings), *journal_tables(settings)):
        found |= {(schema, table.name, name) for schema in {table.schema, table.publish_to or table.schema}
                  for name in table.columns}  # fmt: skip
    return found


def test_each_column_of_each_schema_has_one_tag(built_shop: Settings) -> None:
    columns = every_column(built_shop)
    assert len(columns) > 2000
    assert {schema for schema, _, _ in columns} == set(warehouse.SCHEMAS)
    assert sorted({column[2] for column in columns if tag_of(*column) is None}) == [], (
        "tag it in plugins/customer360/contract/personal_data.yml, then `make docs`"
    )
    entries = [entry for listed in catalogue().values() for entry in listed]
    assert sorted({entry for entry in entries if entries.count(entry) > 1}) == []
    used = {found[1] for column in columns if (found := entry_of(*column))}
    assert sorted(set(entries) - used) == [], "no column falls under these"


def test_what_readers_see_has_no_personal_column(built_shop: Settings) -> None:
    tags = {column: tag_of(*column) for column in every_column(built_shop)}
    assert sorted(c for c, tag in tags.items() if c[0] in {"marts", "ops"} and tag in {"personal", "sensitive"}) == []
    assert tags["marts_pii", "customer_contacts", "identifier"] == "personal"
    assert tags["raw", "orders", "region"] == "personal"
    assert tags["marts", "fct_orders", "region"] == "none"


def test_a_new_column_needs_a_tag() -> None:
    assert tag_of("marts", "fct_orders", "shoe_size") is None


def test_the_catalogue_agrees_with_the_contract() -> None:
    seen = 0
    for feed in FEEDS.values():
        for of in feed.fields:
            tag = tag_of("raw", feed.name, of.name)
            if of.is_personal:
                seen += 1
                assert tag in {"pseudonym", "personal", "sensitive"}, (feed.name, of.name)
            if of.is_free_text:
                assert of.name in catalogue()[FREE_TEXT], of.name
    assert seen > 15


# ---- the canary -----------------------------------------------------------------------------------------------------


def base(feed: Feed, number: int) -> dict[str, Any]:
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "orders": lambda: order(f"o{number}", customer_id=f"c{number}"),
        "web_sessions": lambda: session(f"s{number}", device=f"d{number}", customer_id=f"c{number}"),
        "support_tickets": lambda: ticket(f"t{number}", customer_id=f"c{number}"),
        "web_events": lambda: {
            "event_id": f"e{number}", "occurred_at": "2026-03-01T12:00:00Z", "anonymous_id": f"de{number}",
            "name": "page_view", "customer_id": f"c{number}",
        },
    }  # fmt: skip
    return made[feed.name]()


def planted(feed: Feed) -> list[dict[str, Any]]:
    """For each field of the feed a record that has the canary in it, then one with it in fields nobody knows."""
    records = []
    for number, of in enumerate(feed.fields, 1):
        values: list[Any] = [ALL]
        if of.elements:
            values = [[complete(of, inner)] for inner in of.elements] + [
                ALL,
                [ALL],
                [{EMAIL: ALL, PHONE: 1}],
            ]
        elif of.name.startswith(("landing", "page", "referrer")):
            values = [
                f"https://{EMAIL}:{NAME}@shop.example/a/{EMAIL}/{PHONE}?mail={EMAIL}#{CARD}",
                f"/reset/canary.bird%40example.org/{CARD}?token=x",
            ]
        records += [base(feed, number * 100 + place) | {of.name: value} for place, value in enumerate(values)]
    unknown = {EMAIL: ALL, f"of {PHONE}": 1, f"card {CARD}": {EMAIL: [ALL]}, "known_as": NAME}
    return [*records, base(feed, 1) | unknown]


def complete(of: Field, inner: Field) -> dict[str, Any]:
    values: dict[str, dict[str, Any]] = {
        "items": {"sku": "a", "quantity": 1, "unit_price": "100.00"},
        "refunds": {"refund_id": "r1", "refunded_at": "2026-03-05T12:00:00Z", "amount": "1.00"},
        "contact_preferences": {"channel": "email", "allowed": True},
    }
    return values[of.name] | {inner.name: ALL}


def land_canaries(settings: Settings) -> None:
    for feed in FEEDS.values():
        records = planted(feed)
        drop(settings, feed.name, f"{EMAIL} {PHONE}.jsonl", jsonl(records))
        drop(settings, feed.name, f"{feed.name}-{CARD}.jsonl.gz", jsonl(records[:2]))
        flat = [base(feed, 9_000), base(feed, 9_001) | {"updated_at": ALL}]
        names = list(flat[1] | {EMAIL: "", f"of {EMAIL}": "", f"call {PHONE}": ""})
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval=ALL)
        writer.writeheader()
        writer.writerows(flat)
        drop(settings, feed.name, f"{EMAIL}.csv", text.getvalue().encode())
        drop(settings, feed.name, f"refused {EMAIL}.csv", f"{EMAIL},{EMAIL},{PHONE}\n1,2,3\n".encode())
        drop(settings, feed.name, f"torn {PHONE}.jsonl", f'{{"{EMAIL}": "{ALL}\n{ALL}\n'.encode())


def violations(settings: Settings) -> list[str]:
    """Columns that hold the canary though their tag says that nothing personal is in them."""
    found = []
    with warehouse.admin(settings) as connection:
        tables = sorted({(schema, table) for schema, table, _ in connection.execute(
            COLUMNS, [list(warehouse.SCHEMAS)]).fetchall()})  # fmt: skip
        assert len(tables) > 150
        for schema, table in tables:
            hits = connection.execute(
                warehouse.query(
                    f"select shown.name, bool_or(shown.text ~* %s), min(shown.text) from {schema}.{table} as t, "
                    "jsonb_each_text(to_jsonb(t)) as shown (name, text) where shown.text ~* %s group by 1"
                ),
                [PATTERNS, f"{PATTERNS}|canaria|vogel"],
            ).fetchall()
            for column, is_recognisable, example in hits:
                section, tag = (entry_of(schema, table, column) or ("none",))[0], tag_of(schema, table, column)
                if tag != "none" and (tag == "pseudonym" or schema not in {"marts", "ops"}):
                    continue
                if section == FREE_TEXT and not is_recognisable:
                    continue  # a name of a person has no pattern
                found.append(f"{schema}.{table}.{column} ({tag}): {example}")
    return found


def files_that_show_it(settings: Settings) -> list[str]:
    """Files in C360_HOME that show it, but for the server's own; and names of files anywhere."""
    found = []
    for path in settings.home.rglob("*"):
        if path.is_file() and settings.home / "postgres" not in path.parents:
            content = path.read_bytes()
            content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
            if shown := ANYTHING.search(content):
                found.append(f"{path}: {content[max(shown.start() - 80, 0) : shown.end() + 80]!r}")
    for folder in (
        settings.home,
        Path(settings.landing_url),
        *([Path(settings.backup_url)] if settings.backup_url else []),
    ):
        found += [str(path) for path in folder.rglob("*") if re.search(PATTERNS, path.name)]
    return found


def test_what_is_planted_anywhere_is_published_nowhere(
    settings: Settings,
    terminal_of: Callable[..., Callable[..., tuple[int, str, str]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    land_canaries(settings)
    c360 = terminal_of(settings)
    summary = load.ingest(settings)
    assert not summary.failed, summary.failed
    said = [str([(one.file_name, one.error) for one in summary.batches])]
    build(settings, "test")
    assert violations(settings) == []
    assert files_that_show_it(settings) == []
    for words in (["status"], ["quarantine", "list"], ["quarantine", "list", "--rows", "--json"], ["why", "1"]):
        code, told, wrong = c360(*words)
        assert code in {0, 1}, wrong
        said += [told, wrong]
    said += [record.getMessage() for record in caplog.records]
    assert ANYTHING.search("\n".join(said).encode()) is None
    # It was seen: the text is in raw, what is published of it is masked, and the batch warns.
    assert rows(settings, f"select count(*) > 0 from raw.orders where region ~ '{PATTERNS}'", "owner") == [(True,)]
    masked = rows(settings, "select region from marts.fct_orders where region is not null")
    assert masked == [(f"{NAME} [e-mail] [phone number] [card number]",)]
    assert rows(settings, "select reason from marts.fct_refunds where reason is not null") == masked
    pages = rows(
        settings, "select distinct landing_page from marts.fct_sessions where landing_page is not null order by 1"
    )
    assert pages == [("/reset/[e-mail]/[card number]",), ("https://shop.example/a/[e-mail]/[phone number]",)]
    warnings = rows(settings, "select count(*) from ops.batches where warning like '%text that is published%'")
    assert warnings[0][0] >= 3
    assert rows(settings, "select file_name from ops.batches where feed = 'orders' order by 1") == [
        ("e-mail phonenumber.jsonl",), ("e-mail.csv",), ("orders-cardnumber.jsonl.gz",), ("refused e-mail.csv",),
        ("torn phonenumber.jsonl",),
    ]  # fmt: skip


@pytest.mark.slow
def test_what_is_planted_anywhere_is_in_no_page_backup_or_history(
    settings: Settings, tmp_path: Path, terminal_of: Callable[..., Callable[..., tuple[int, str, str]]]
) -> None:
    settings = with_backups(settings, tmp_path)
    land_canaries(settings)
    c360 = terminal_of(settings)
    said: list[str] = []
    for words in (
        ["run"],
        ["run", "--json"],
        ["status", "--json"],
        ["verify", "--full"],
        ["report"],
        ["monitor", "--once"],
    ):
        said += c360(*words)[1:]
    for (batch,) in rows(settings, "select batch_id from ops.batches order by 1"):
        said += c360("why", batch)[1:]
    for (number,) in rows(settings, "select quarantine_id from quarantine.rows order by 1", "oncall"):
        said += c360("quarantine", "show", number)[1:]
    land_canaries(settings)  # once more, under the same names
    said += c360("run")[1:]
    with warehouse.connect("owner", settings) as connection:
        assert warehouse.scalar(connection, "select count(*) from ops.incidents") >= 0
    take.take(settings, trigger="test")
    said += c360("backup", "list", "--json")[1:]
    assert violations(settings) == []
    assert files_that_show_it(settings) == []
    shown = [text for text in said if ANYTHING.search(text.encode())]
    assert shown == []
    for path in Path(settings.backup_url).rglob("*"):
        assert not path.is_file() or not ANYTHING.search(path.read_bytes()), path


# ---- the quarantine -------------------------------------------------------------------------------------------------


def test_on_call_sees_rows_masked_and_reveals_them_on_record(
    settings: Settings, tmp_path: Path, terminal_of: Callable[..., Callable[..., tuple[int, str, str]]]
) -> None:
    drop(settings, "orders", "a.jsonl", jsonl([order("o1", status="lost", email=EMAIL, total="12.50")]))
    load.ingest(settings)
    with warehouse.connect("oncall", settings) as connection:
        (shown,) = connection.execute("select masked_record from quarantine.masked_rows").fetchone() or ({},)
        assert shown["email"] == "c••• (23 characters)"
        assert shown["total_amount"] == "12.50"
        for column in ("record", "*"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(warehouse.query(f"select {column} from quarantine.rows"))
            connection.rollback()
        connection.execute("set transaction read write")
        with pytest.raises(psycopg.errors.RaiseException, match="Say why"):
            connection.execute("select * from quarantine.reveal(array[1], ' ')")
        connection.rollback()
        connection.execute("set transaction read write")
        revealed = connection.execute("select * from quarantine.reveal(array[1], 'the shop asks which')").fetchall()
        assert json.loads(revealed[0][1])["email"] == EMAIL
    for role in ("bi_reader", "pii_reader", "transformer"):
        with warehouse.connect(role, settings) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from quarantine.reveal(array[1], 'curious')")
    c360 = terminal_of(settings)
    assert EMAIL not in c360("quarantine", "show", "1")[1]
    code, _, wrong = c360("quarantine", "show", "1", "--reveal")
    assert (code, "Give --because" in wrong) == (1, True)
    assert EMAIL in c360("quarantine", "show", "1", "--reveal", "--because", "the shop asks", "--by", "Dana")[1]
    assert c360("quarantine", "export", tmp_path / "a.csv", "--by", "Dana")[0] == 0
    assert rows(settings, "select acted_by ~ 'oncall', because from ops.batch_actions where action = 'reveal' "
                          "order by action_id") == [
        (True, "the shop asks which"), (False, "the shop asks"), (False, "to be corrected")
    ]  # fmt: skip
