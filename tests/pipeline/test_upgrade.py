"""A warehouse that an earlier version made is taken to this one: nothing is lost, and it proves itself sound.

tests/upgrade/0.1.0 holds the warehouse and what its version said of it; tests/upgrade/make_dump.py made them. The
warehouse is restored as it was, beside the roles of a new installation, and upgraded as a person does it: ``c360 up``,
``c360 run``, ``c360 verify --full``, on the day of its last daily pass, so that nothing but the version differs. Then
a day goes by, on which all that stood open in it is taken up.
"""

from __future__ import annotations

import io
import json
import lzma
import math
import secrets
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from customer360 import warehouse
from customer360.settings import Settings
from customer360.warehouse import embedded_server
from tests.upgrade.dated import c360
from tests.upgrade.record import FILLED_LATER, HERE, HOME, Figures, Record, Row, Table
from tests.upgrade.shop_cases import PADDED, Cases

pytestmark = pytest.mark.builds

MADE = HERE / "0.1.0"

# --- what this version says otherwise than 0.1.0: the only place to change when the contract does ---------------------


@dataclass(frozen=True)
class Otherwise:
    """Rows of a table that may differ from those of 0.1.0 (changed, gone or new), or ``columns`` of them, and why."""

    table: str
    because: str
    where: Callable[[Row], bool] = lambda _: True
    columns: tuple[str, ...] = ()


PUBLISHED_AS = {"PAD1": "PAD1", "PAD1   ": "PAD1"}
"""Landed order id -> the id it is published under. 0.1.0 took blanks for a part of an id: two orders.

Once ids are trimmed, "PAD1   " is published as "PAD1": the money below follows by itself, and OTHERWISE needs the rows
that follow: the order and its day in marts (fct_orders, fct_daily_revenue), its customer (cases["PAD1"] in the record),
figures that compare customers with one another, and raw.orders if the migration trims what was landed before.
"""

_PADDED_CUSTOMER = Record.load(MADE / "record.json").cases["PAD1"]


def _is_padded_customer(row: Row) -> bool:
    return bool(row["customer_key"] == _PADDED_CUSTOMER)


_ONE_ORDER = "PAD1 and PAD1 with blanks are one order: 10.00 less on the day, one order less for its customer"
_COMPARED = f"{_ONE_ORDER}; this figure compares customers with one another"
_SESSION = "a session belongs to the customer of the order placed in it, whoever it shows"
_CHURN = "reasons below 0.1 log-odds are not shown any more"
_NEW_RULE = "who brought much and is leaving, and is no VIP, is warned of by a rule of its own"
_NO_CADENCE = "one purchase day shows no cadence of its own: is_late_vs_expected_gap judges by the median of all"
OTHERWISE: tuple[Otherwise, ...] = (
    Otherwise("marts.fct_orders", _ONE_ORDER, lambda row: row["order_id"] != row["order_id"].strip()),
    Otherwise(
        "marts.deleted_keys", "a key of marts_pii names whom it is about, and no longer the address or the number",
        lambda row: row["table_name"].startswith("marts_pii."),
    ),
    Otherwise("marts.deleted_keys", _ONE_ORDER, lambda row: row["table_name"] == "marts.fct_orders"),
    Otherwise(
        "marts.fct_daily_revenue", _ONE_ORDER,
        columns=("placed_order_count", "order_count", "gross_amount", "net_amount"),
    ),
    Otherwise("marts.customer_360", _ONE_ORDER, _is_padded_customer),
    Otherwise("marts.fct_sessions", _SESSION, columns=("customer_key",)),
    Otherwise(
        "marts.customer_360", _SESSION,
        columns=(
            "session_count", "first_session_at", "last_session_at", "engaged_seconds", "session_seconds",
            "page_view_count", "product_view_count", "search_count", "add_to_cart_count", "checkout_started_count",
            "product_view_session_count", "cart_session_count", "checkout_session_count", "order_session_count",
            "view_to_cart_rate", "cart_to_order_rate",
        ),
    ),
    Otherwise("marts.customer_360_history", _ONE_ORDER, _is_padded_customer),
    Otherwise("marts.customer_loyalty", _ONE_ORDER, _is_padded_customer),
    Otherwise(
        "marts.customer_loyalty", _COMPARED, columns=("cumulative_value_share", "loyalty_score", "value_rank"),
    ),
    Otherwise("marts.relationship_levels", _COMPARED),
    Otherwise("marts.customer_concentration", _COMPARED),
    Otherwise("state.population_statistics", _COMPARED, columns=("value",)),
    Otherwise("marts.customer_churn", _ONE_ORDER, _is_padded_customer),
    Otherwise("marts.customer_churn_history", _ONE_ORDER, _is_padded_customer),
    *(
        Otherwise(table, _NO_CADENCE, lambda row: row["purchase_day_count"] < 2, ("is_late_vs_own_cadence",))
        for table in ("marts.customer_360", "marts.customer_churn")
    ),
    Otherwise("marts.customer_churn_history", _NO_CADENCE, lambda row: row["is_late_vs_own_cadence"] is None),
    *(
        Otherwise(f"marts.{table}", _NEW_RULE, lambda row: row["rule"] == "high_past_value_at_risk")
        for table in ("customer_alerts", "customer_alert_precision")
    ),
    Otherwise("marts.service_recovery_plan", _NEW_RULE, lambda row: row["likely_failure"] == "drifting_away"),
    Otherwise(
        "marts.customer_churn", _CHURN,
        columns=tuple(f"reason_{place}_{what}" for place in (1, 2, 3) for what in ("code", "contribution")),
    ),
)  # fmt: skip
"""Differences that are meant. One that nothing needs any more fails the test."""

# ----------------------------------------------------------------------------------------------------------------------


Rows = dict[tuple[Any, ...], Row]


@dataclass(frozen=True)
class Facts:
    """What can be read of a warehouse at one moment: the rows of each table, and its figures."""

    rows: dict[str, Rows]
    figures: Figures

    @classmethod
    def read(cls, settings: Settings, record: Record) -> Facts:
        """Read what the record names."""
        with warehouse.admin(settings) as connection:
            rows = {table.name: table.rows(connection) for table in record.tables}
            return cls(rows, Figures.read(connection))


@dataclass
class Upgrade:
    """The restored warehouse, its record, and what was read of it before and after the upgrade."""

    settings: Settings
    record: Record
    before: Facts
    after: Facts
    run: dict[str, Any]
    """What `c360 run` printed."""
    verified: dict[str, Any]
    """What `c360 verify --full` printed."""

    @property
    def day(self) -> date:
        """The day of the last daily pass before the upgrade."""
        return date.fromisoformat(self.record.as_of_on)


@pytest.fixture(scope="module")
def upgrade() -> Iterator[Upgrade]:
    record = Record.load(MADE / "record.json")
    day = date.fromisoformat(record.as_of_on)
    with tempfile.TemporaryDirectory(prefix="c360-upgrade-", ignore_cleanup_errors=True) as folder:
        settings = Settings(home=Path(folder).resolve())
        try:
            restore(settings)
            before = Facts.read(settings, record)
            c360(settings.home, day, "up", "--no-airflow")
            # 0.1.0 converted at yearly averages; who wants to keep its figures imports them as rates of its own.
            c360(settings.home, day, "rates", "import", MADE / "fx_rates.csv")
            run = json.loads(c360(settings.home, day, "run", "--json"))
            verified = json.loads(c360(settings.home, day, "verify", "--full", "--json", codes=(0, 1)))
            yield Upgrade(settings, record, before, Facts.read(settings, record), run, verified)
        finally:
            c360(settings.home, day, "down")


def restore(settings: Settings) -> None:
    """Put the dump and its landed files where a person would have them, with the roles of a new installation."""
    embedded_server.ensure_running(settings)
    passwords = {role: secrets.token_urlsafe(24) for role in warehouse.ROLES}
    with warehouse.admin(settings, database="postgres") as connection:
        for role, password in passwords.items():  # as 0.1.0 made them: without a prefix
            connection.execute(warehouse.query(f"create role {role} login password '{password}'"))
        connection.execute("grant pg_read_all_stats to owner")
        there = connection.execute("select 1 from pg_database where datname = %s", [settings.database]).fetchone()
        if there:
            connection.execute(warehouse.query(f"drop database {settings.database} with (force)"))
        connection.execute(warehouse.query(f"create database {settings.database} template template0"))
        connection.execute(
            warehouse.query(f"grant create, connect, temporary on database {settings.database} to owner, transformer")
        )
    own = settings.home / "roles.json"
    own.touch(mode=0o600)
    own.write_text(json.dumps(passwords))
    text = lzma.decompress((MADE / "warehouse.sql.xz").read_bytes()).replace(HOME.encode(), bytes(settings.home))
    target = embedded_server.ensure_running(settings).url(settings.database)
    psql = [
        str(embedded_server.binaries() / "psql"),
        "--no-psqlrc",
        "--quiet",
        "--set",
        "ON_ERROR_STOP=1",
        "--dbname",
        target,
    ]
    restored = subprocess.run(psql, input=text, capture_output=True, check=False)
    assert restored.returncode == 0, restored.stderr.decode()
    with tarfile.open(fileobj=io.BytesIO((MADE / "landing.tar.xz").read_bytes())) as tar:
        tar.extractall(settings.home, filter="data")


def differences(table: Table, before: Rows, after: Rows) -> Iterator[tuple[str | None, Row, str]]:
    """(column or None for a whole row, row, what is wrong) of each difference that no later moment explains."""
    for key, row in before.items():
        now = after.get(key)
        if now is None:
            yield None, row, f"{table.name} {key} is gone"
            continue
        for column in table.columns:
            may_be_filled = column in FILLED_LATER and row[column] is None
            if column not in now:
                yield column, row, f"{table.name}.{column} is gone"
            elif not may_be_filled and not same(row[column], now[column]):
                yield column, row, f"{table.name} {key}: {column} was {row[column]!r}, is {now[column]!r}"
    if not table.grows:
        for key in after.keys() - before.keys():
            yield None, after[key], f"{table.name} {key} is new"


def not_meant(table: Table, before: Rows, after: Rows, used: set[Otherwise]) -> list[str]:
    """What differs in a table and no entry of OTHERWISE explains; entries that explain something go to ``used``."""
    wrong = []
    for column, row, what in differences(table, before, after):
        meant = [
            one
            for one in OTHERWISE
            if one.table == table.name and one.where(row) and (not one.columns or column in one.columns)
        ]
        used.update(meant)
        if not meant:
            wrong.append(what)
    return wrong


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal; of fractions, to nine digits: their sums depend on the order of the rows."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


def test_a_lost_a_changed_and_an_invented_row_are_seen() -> None:
    table = Table("marts.periods", ("period_id",), ("period_id", "amount", "valid_to_on", "closed_at"))
    before: Rows = {
        (1,): {"period_id": 1, "amount": 0.1 + 0.2, "valid_to_on": None, "closed_at": None},
        (2,): {"period_id": 2, "amount": 2.0, "valid_to_on": date(2026, 1, 1), "closed_at": None},
        (3,): {"period_id": 3, "amount": 3.0, "valid_to_on": None, "closed_at": None},
    }
    after: Rows = {
        (1,): {"period_id": 1, "amount": 0.3, "valid_to_on": date(2026, 1, 2)},
        (2,): {"period_id": 2, "amount": 2.01, "valid_to_on": None, "closed_at": None},
        (4,): {"period_id": 4, "amount": 4.0, "valid_to_on": None, "closed_at": None},
    }
    assert [what for _, _, what in differences(table, before, after)] == [
        "marts.periods.closed_at is gone",
        "marts.periods (2,): amount was 2.0, is 2.01",
        "marts.periods (2,): valid_to_on was datetime.date(2026, 1, 1), is None",
        "marts.periods (3,) is gone",
        "marts.periods (4,) is new",
    ]
    assert list(differences(table, before, before)) == []


def test_the_dump_is_what_its_record_says_and_holds_every_case(upgrade: Upgrade) -> None:
    record, before = upgrade.record, upgrade.before
    assert {table.name: table.row_count for table in record.tables} == {
        name: len(rows) for name, rows in before.rows.items()
    }
    assert before.figures == record.figures

    assert record.figures.quarantine.keys() == {"open", "released", "discarded"}
    assert {batch["state"] for batch in record.figures.batches} == {"published", "held", "refused", "duplicate"}
    assert set(PADDED) <= set(record.figures.ids["orders"])
    reasons = {row["reason"] for row in before.rows["state.customer_key_crosswalk"].values()}
    assert {"merged", "split"} <= reasons, reasons
    assert [row["decision"] for row in before.rows["state.churn_model_versions"].values()] == ["promoted"]
    assert [name for name, rows in before.rows.items() if not rows] == []


def test_no_row_is_lost_and_no_published_figure_changes(upgrade: Upgrade) -> None:
    wrong: list[str] = []
    used: set[Otherwise] = set()
    assert sum(table.row_count for table in upgrade.record.tables) > 10_000
    for table in upgrade.record.tables:
        wrong += not_meant(table, upgrade.before.rows[table.name], upgrade.after.rows[table.name], used)
    assert wrong[:20] == []
    assert [one for one in OTHERWISE if one not in used] == []


def test_every_id_and_every_key_is_known(upgrade: Upgrade) -> None:
    for feed, ids in upgrade.record.figures.ids.items():
        assert {PUBLISHED_AS.get(one, one) for one in ids} == {
            PUBLISHED_AS.get(one, one) for one in upgrade.after.figures.ids[feed]
        }
    assert upgrade.after.figures.present_keys == upgrade.record.figures.present_keys


def test_batches_and_the_quarantine_stand_as_they_stood(upgrade: Upgrade) -> None:
    assert upgrade.run["batches"] == [], "landed files were taken for new ones"
    assert upgrade.after.figures.batches == upgrade.record.figures.batches
    assert upgrade.after.figures.quarantine == upgrade.record.figures.quarantine


def test_ids_that_differ_by_blanks_are_published_as_this_version_says(upgrade: Upgrade) -> None:
    published = {key[0] for key in upgrade.after.rows["marts.fct_orders"] if key[0].strip() == PADDED[0]}
    assert published == set(PUBLISHED_AS.values())
    landed = [row["order_id"] for row in upgrade.after.rows["raw.orders"].values()]
    assert len([one for one in landed if one.strip() == PADDED[0]]) == len(PADDED)


def test_money_is_that_of_the_old_version_each_order_once(upgrade: Upgrade) -> None:
    orders = upgrade.before.rows["marts.fct_orders"]
    doubled = sum(orders[one,]["original_total_amount"] for one, id_ in PUBLISHED_AS.items() if one != id_)
    expected = {
        currency: {name: Decimal(amount) for name, amount in amounts.items()}
        for currency, amounts in upgrade.record.figures.money.items()
    }
    expected["USD"]["attributed"] -= doubled
    assert expected == {
        currency: {name: Decimal(amount) for name, amount in amounts.items()}
        for currency, amounts in upgrade.after.figures.money.items()
    }


def test_the_upgraded_warehouse_proves_itself(upgrade: Upgrade) -> None:
    checks = upgrade.verified["checks"]
    assert len(checks) > 10
    assert [check for check in checks if not check["holds"]] == []
    assert "marts = a full build, row by row" in {check["name"] for check in checks}


# --- the day after ---


@pytest.fixture(scope="module")
def day_after(upgrade: Upgrade, tmp_path_factory: pytest.TempPathFactory) -> Upgrade:
    """The warehouse after a day on which what stood open was taken up: read with a connection of one's own."""
    home, day, cases = upgrade.settings.home, upgrade.day + timedelta(days=1), upgrade.record.cases
    because = ("--by", "operator", "--because", "the day after")
    files = tmp_path_factory.mktemp("files")
    c360(home, day, "unhold", cases["held_batch"], *because)
    corrected = files / "corrected.jsonl"
    c360(home, day, "quarantine", "export", corrected, "--row", cases["faulty_open"])
    corrected.write_text(corrected.read_text().replace('"-1"', '"1"'))
    c360(home, day, "quarantine", "release", "--file", corrected, *because)
    c360(home, day, "identity", "undo", cases["join_decision"], *because)
    order_id = cases["frozen_order"]
    newer = Cases(upgrade.day).order(order_id, 400, version=399, total="77.00", customer_id=order_id.rpartition("-")[0])
    late = files / "late.jsonl"
    late.write_text(json.dumps(newer) + "\n")
    c360(home, day, "land", "orders", late)
    told = json.loads(c360(home, day, "run", "--json"))
    assert [(batch["state"], batch["quarantined"]) for batch in told["batches"]] == [("loaded", 0)]
    return upgrade


def test_what_was_held_quarantined_joined_or_frozen_is_still_within_reach(day_after: Upgrade) -> None:
    cases = day_after.record.cases
    with warehouse.connect("bi_reader", day_after.settings) as connection:
        rows = connection.execute("select order_id, original_total_amount, customer_key from marts.fct_orders")
        orders = {order_id: (amount, key) for order_id, amount, key in rows.fetchall()}
    assert orders["held-1"] == (70, cases["held-1"])
    assert orders["join-1"] == (999, cases["join-1"])
    assert orders["join-2"][1] == cases["join-2"], "a join that is undone gives the old key back"
    assert orders["faulty-open"][0] == 1
    assert orders[cases["frozen_order"]][0] == 77


def test_journals_go_on_where_they_stopped(day_after: Upgrade) -> None:
    record, settings = day_after.record, day_after.settings
    tomorrow = day_after.day + timedelta(days=1)
    now = Facts.read(settings, record).rows
    journals = [table for table in record.tables if table.name.startswith("state.")]
    assert len(journals) > 10
    for table in journals:
        assert not_meant(table, day_after.before.rows[table.name], now[table.name], set()) == []
    history = now["state.customer_360_history"].values()
    assert any(row["valid_to_on"] == tomorrow for row in history)
    assert any(row["valid_from_on"] == tomorrow for row in history)
    assert any(row["as_of_on"] == tomorrow for row in now["state.population_statistics"].values())


def test_the_day_after_holds_too(day_after: Upgrade) -> None:
    tomorrow = day_after.day + timedelta(days=1)
    told = json.loads(c360(day_after.settings.home, tomorrow, "verify", "--full", "--json", codes=(0, 1)))
    assert [check for check in told["checks"] if not check["holds"]] == []
