"""What must survive an upgrade: tables, columns and figures of a warehouse, as the version that made it had them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from customer360.warehouse import Connection, query

Row = dict[str, Any]

HERE = Path(__file__).parent
HOME = "/home-of-the-installation"
"""Stands in the dump for C360_HOME, under which the ledger names landed files."""

_SCHEMAS = ("raw", "quarantine", "state", "ops", "marts", "marts_pii")

_ASIDE = {
    "ops.alembic_version": "names the version of the schema, which an upgrade moves",
    "ops.live_build": "says which models built the tables",
    "ops.dirty": "empties with each run",
    "ops.control_totals": "c360 verify recounts them",
    "ops.landing_seen": "a file that is seen again is no loss",
    "ops.gate_results": "a log, which c360 tidy shortens",
    "ops.model_runs": "a log",
    "ops.freshness": "what the monitor measures, now and now again",
    "ops.freshness_objectives": "come with the version",
    "ops.incidents": "the monitor opens and closes them as it looks",
    "ops.incident_mutes": "likewise",
    "ops.alerts": "likewise",
    "ops.alert_deliveries": "likewise",
    "ops.page_actions": "likewise",
}

_MOVING = {"ops.batches": ("attempts", "heartbeat_at", "claimed_at", "claimed_by", "publication_id")}
"""Columns that say when or by which run a row was last written, as refreshed_at does of every published one."""

_LOGS = ("ops.runs", "ops.publications", "ops.batch_actions", "ops.restatements")

FILLED_LATER = ("valid_to_on", "closed_on", "closed_at", "closed_because", "closed_by", "release_batch_id")
"""Columns that may get a value once, and keep it: the end of a period, of an alert, of a row's quarantine."""

_KEYS = {
    "raw.orders": ("batch_id", "row_number"),
    "raw.web_sessions": ("batch_id", "row_number"),
    "raw.support_tickets": ("batch_id", "row_number"),
    "ops.restatements": ("publication_id", "table_name", "key", "figure"),
    "marts.deleted_keys": ("publication_id", "table_name", "key"),
}
"""Of tables without a primary key: what tells their rows apart."""

_IDS = {"orders": "order_id", "web_sessions": "session_id", "support_tickets": "ticket_id"}


@dataclass(frozen=True)
class Table:
    """A table, what tells its rows apart, the columns to compare, and how many rows it had."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    row_count: int = 0

    @property
    def grows(self) -> bool:
        """Whether a run may add rows to it although no record came: journals and logs."""
        return self.name.startswith("state.") or self.name in _LOGS

    def rows(self, connection: Connection) -> dict[tuple[Any, ...], Row]:
        """Its rows by their keys, with those of the named columns that are there; none where the table is gone."""
        if connection.execute("select to_regclass(%s) is null", [self.name]).fetchone() == (True,):
            return {}
        cursor = connection.execute(query(f"select * from {self.name}"))
        names = [column.name for column in cursor.description or ()]
        found = [
            {name: value for name, value in zip(names, row, strict=True) if name in self.columns}
            for row in cursor.fetchall()
        ]
        by_key = {tuple(_hashable(row[name]) for name in self.key): row for row in found}
        assert len(by_key) == len(found), f"{self.name}: {self.key} does not tell rows apart"
        return by_key


def _hashable(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


@dataclass(frozen=True)
class Figures:
    """What a version says of a warehouse as a whole."""

    ids: dict[str, list[str]]
    """Feed -> every id that was loaded, in raw or frozen."""
    present_keys: dict[str, int | None]
    """Every customer_key that was ever published -> whose it is now."""
    money: dict[str, dict[str, str]]
    """Currency -> what is published of its orders, in that currency."""
    quarantine: dict[str, int]
    """State -> rows."""
    batches: list[Row]
    """Number, feed, file, state and row counts of each batch."""

    @classmethod
    def read(cls, connection: Connection) -> Figures:
        """Read them all."""
        return cls(
            _ids(connection), _present_keys(connection), _money(connection), _quarantine(connection),
            _batches(connection),
        )  # fmt: skip


@dataclass(frozen=True)
class Record:
    """All that is known of the dumped warehouse."""

    version: str
    as_of_on: str
    """The day of its last daily pass."""
    cases: dict[str, Any]
    """Numbers that the test asks about: keys by the order that showed them, batches, rows, decisions."""
    figures: Figures
    tables: tuple[Table, ...]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(_as_json(asdict(self)) + "\n")

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read it back."""
        found = json.loads(path.read_text())
        tables = tuple(
            Table(one["name"], tuple(one["key"]), tuple(one["columns"]), one["row_count"]) for one in found["tables"]
        )
        return cls(found["version"], found["as_of_on"], found["cases"], Figures(**found["figures"]), tables)


def _as_json(value: Any, depth: int = 0) -> str:
    """JSON with a line for each table, batch and feed: a list of all its ids on one, a key on one would be endless."""
    if depth == 3 or not isinstance(value, dict | list | tuple):
        return json.dumps(value)
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {_as_json(one, depth + 1)}" for name, one in value.items()]
        return f"{{{inner}{f',{inner}'.join(parts)}{outer}}}"
    return f"[{inner}{f',{inner}'.join(json.dumps(one) for one in value)}{outer}]"


def tables_of(connection: Connection) -> Iterator[Table]:
    """Every table that must survive, as it stands."""
    named = connection.execute(
        """
        select format('%%I.%%I', n.nspname, c.relname),
            array(
                select a.attname::text from pg_attribute as a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum),
            array(
                select a.attname::text from pg_index as i, unnest(i.indkey) with ordinality as part (attnum, place)
                inner join pg_attribute as a on a.attnum = part.attnum
                where i.indrelid = c.oid and i.indisprimary and a.attrelid = c.oid order by part.place)
        from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace
        where c.relkind = 'r' and n.nspname = any (%s) order by 1
        """,
        [list(_SCHEMAS)],
    ).fetchall()
    for name, columns, primary_key in named:
        if name in _ASIDE:
            continue
        key = _KEYS.get(name) or tuple(primary_key)
        assert key, f"{name} has no primary key: say in _KEYS what tells its rows apart"
        table = Table(name, key, tuple(c for c in columns if c not in {"refreshed_at", *_MOVING.get(name, ())}))
        yield replace(table, row_count=len(table.rows(connection)))


def _ids(connection: Connection) -> dict[str, list[str]]:
    """Feed -> its ids in raw and among the frozen records."""
    return {
        feed: sorted(
            row[0]
            for row in connection.execute(
                query(f"select {key} from raw.{feed} union select {key} from state.frozen_{feed}")
            ).fetchall()
        )
        for feed, key in _IDS.items()
    }


def _present_keys(connection: Connection) -> dict[str, int | None]:
    """Every key that was ever published -> the customer it stands for at present."""
    rows = connection.execute("select customer_key, present_customer_key from marts.customer_key_crosswalk order by 1")
    return {str(key): present for key, present in rows.fetchall()}


def _money(connection: Connection) -> dict[str, dict[str, str]]:
    """Per currency, in that currency: what orders are published to be worth, less refunds, and what was cancelled."""
    rows = connection.execute(
        """
        select currency,
            coalesce(sum(original_total_amount - original_refunded_amount)
                filter (where not is_cancelled and customer_key is not null), 0),
            coalesce(sum(original_total_amount - original_refunded_amount)
                filter (where not is_cancelled and customer_key is null), 0),
            coalesce(sum(original_total_amount) filter (where is_cancelled), 0)
        from marts.fct_orders group by 1 order by 1
        """
    ).fetchall()
    return {
        currency: {"attributed": str(attributed), "unattributed": str(unattributed), "cancelled": str(cancelled)}
        for currency, attributed, unattributed, cancelled in rows
    }


def _batches(connection: Connection) -> list[Row]:
    """The ledger's account of each batch."""
    names = (
        "batch_id", "feed", "file_name", "state", "landed_rows", "loaded_rows", "quarantined_rows", "released_rows",
        "discarded_rows", "duplicate_rows", "refused_rows", "retired_rows", "duplicate_of", "released_from",
    )  # fmt: skip
    rows = connection.execute(query(f"select {', '.join(names)} from ops.batches order by 1")).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def _quarantine(connection: Connection) -> dict[str, int]:
    """State -> rows of the quarantine."""
    return dict(connection.execute("select state, count(*) from quarantine.rows group by 1 order by 1").fetchall())
