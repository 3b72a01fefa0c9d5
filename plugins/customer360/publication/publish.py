"""Publication: candidate tables become what BI reads, as one version, in one transaction.

Within the dirty keys of each table (everything, for daily tables and after a rebuild) the rows of candidate and
marts are compared, and only those that differ are written (docs/decisions/0002). Deletes and inserts never wait for
a reader, nor a reader for them. Only a change of a table's columns needs the table for itself: it waits
:data:`LAYOUT_LOCK_SECONDS` for open queries to end, and otherwise leaves the old version in place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Literal

import psycopg
from psycopg import sql

from customer360 import warehouse
from customer360.contract.feeds import FEEDS
from customer360.errors import Customer360Error
from customer360.front_door import ledger
from customer360.kill_points import reach
from customer360.progress import Progress, Silent
from customer360.publication import control_totals, data_status, published_layout, restatements, table_contracts
from customer360.settings import Settings
from customer360.warehouse import Connection, dirty, query
from customer360.warehouse.run_log import RunFencedError

# While a change of columns waits for one reader, all new readers queue behind it: so wait briefly.
LAYOUT_LOCK_SECONDS = 3
# Row changes conflict with nothing that a reader does; only with somebody's hand-made LOCK or ALTER.
ROW_LOCK_SECONDS = 30

# The date of the day in a row of daily figures. It moves every day, and is no content: a row in which nothing else
# moved keeps its refreshed_at (docs/decisions/0012).
_DATE_OF_THE_DAY = "as_of_on"
_REFRESHED_AT = "When the content of this row last changed in marts (UTC); a new as_of_on alone is no change."

Kind = Literal["live", "rebuild", "daily"]


class PublicationWaitsError(Customer360Error):
    """A table could not be had for its new columns in time. The old version stays and serves."""


class LayoutError(Customer360Error):
    """A candidate table cannot take the place of the published one."""


@dataclass(frozen=True)
class PublishedTable:
    """A table of marts: where it is built, its key, and whose dirty keys tell which rows may have changed.

    A daily table has no scope: the daily pass compares it whole. ``customer_360`` is both: it has live rows that carry
    daily columns.
    """

    name: str
    primary_key: tuple[str, ...]
    scope: str | None = None
    scope_key: str | None = None
    is_live: bool = True
    is_daily: bool = False
    schema: str = "marts"
    source_schema: str = "candidate"
    feeds: tuple[str, ...] = tuple(FEEDS)
    """The feeds whose records it is made from; by default all."""
    open_rows: str | None = None
    """Of a journal, numbered by its key: which of its rows may still change. None: the table is no journal."""

    @property
    def target(self) -> sql.Identifier:
        """The published table."""
        return sql.Identifier(self.schema, self.name)

    @property
    def source(self) -> sql.Identifier:
        """The table that dbt builds."""
        return sql.Identifier(self.source_schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass
class Change:
    """How many rows of a table a publication added, changed and removed, and in how many nothing but the date moved."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    redated: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        return f"+{self.added} ~{self.changed} -{self.removed}"


@dataclass(frozen=True)
class Publication:
    """One version of marts. ``tables`` holds the tables that differ from the version before."""

    publication_id: int
    tables: dict[str, Change] = field(default_factory=dict)
    batch_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The columns of a table, name to type in order, and what is said about it and them ("" names the table)."""

    columns: dict[str, str] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()


def publish(
    settings: Settings,
    tables: Sequence[PublishedTable],
    *,
    run_id: int,
    kind: Kind,
    as_of_on: date | None = None,
    fingerprint: str | None = None,
    rates: str = "",
    progress: Progress | None = None,
    rehearse: bool = False,
) -> Publication:
    """Make the candidate tables the published version. Call it under the writer lock, after the candidate gate.

    ``live`` compares the dirty keys of the live tables; ``rebuild`` compares the live tables whole; both take the
    daily rows of customers who are no more away, publish the claimed batches and empty ops.dirty. ``daily`` compares
    the daily tables whole. ``fingerprint`` says of which models a rebuild is the result, ``rates`` with which
    exchange rates amounts were converted (:mod:`customer360.publication.build`). ``rehearse`` does all of it and takes
    it back: it shows whether the publication would succeed.

    Raises:
        PublicationWaitsError: a table whose columns change was in use for too long; nothing changed.
        LayoutError: a candidate table lacks a key or changed it; nothing changed.
        RunFencedError: the run was taken over by another; nothing changed.
    """
    progress = progress or Silent()
    progress.stage("publish", len(tables))
    name = f"customer360 publication of run {run_id}"
    with warehouse.connect("publisher", settings, application_name=name) as connection:
        connection.execute(query(f"set local lock_timeout = '{ROW_LOCK_SECONDS}s'"))
        if kind == "live":
            connection.execute(query(f"set local {warehouse.NO_MERGE_JOIN}"))
        _fence(connection, run_id)
        _create_deleted_keys(connection)
        publication_id: int = warehouse.scalar(
            connection,
            "insert into ops.publications (run_id, kind, as_of_on) values (%s, %s, %s) returning publication_id",
            [run_id, kind, as_of_on],
        )
        transaction = _Transaction(connection, publication_id, kind, _layouts(connection, tables))
        for table in tables:
            if table.is_daily if kind == "daily" else table.is_live:
                transaction.compare(table)
            elif kind != "daily" and "customer_key" in transaction.published(table).columns:
                transaction.compare_vanished(table)
            progress.step(f"{table.name} compared", 0)
        reach("publish.compared")
        for table in transaction.changes:
            transaction.account(table, settings.today())
        for table in sorted(tables, key=transaction.changes_layout):  # what readers must wait for comes last
            transaction.write(table)
            progress.step(table.name)
            reach("publish.writing")
        published_layout.record(connection, transaction.rebuilt())
        if kind != "live":
            table_contracts.declare(connection, transaction.rebuilt())
        data_status.record(connection, transaction.standings(), publication_id=publication_id, as_of_on=as_of_on)
        batch_ids = () if kind == "daily" else _end_of_the_work(connection, publication_id, run_id, fingerprint, rates)
        changed = {str(table): change for table, change in transaction.changes.items() if change}
        connection.execute(
            "update ops.publications set tables = %s, published_at = clock_timestamp() where publication_id = %s",
            [json.dumps({name: asdict(change) for name, change in changed.items()}), publication_id],
        )
        connection.execute(
            "update ops.runs set publication_id = %s, published_at = clock_timestamp() where run_id = %s",
            [publication_id, run_id],
        )
        if rehearse:
            connection.rollback()
            return Publication(publication_id, changed, batch_ids)
        reach("publish.written")
        progress.step("commit", 0)
    reach("publish.committed")
    if kind != "live":
        _analyse(settings, {table: change.added + change.removed for table, change in transaction.changes.items()})
    total = Change(*(sum(column) for column in zip(*(asdict(c).values() for c in changed.values()), strict=True)))
    progress.note(f"publication {publication_id}: {total} rows in {len(changed)} tables")
    return Publication(publication_id, changed, batch_ids)


def _fence(connection: Connection, run_id: int) -> None:
    """Hold the run's row and its lease for the whole transaction: whoever takes over afterwards waits for our end."""
    row = connection.execute(
        "select state, lease_token from ops.runs where run_id = %s for update", [run_id]
    ).fetchone()
    state, token = row or ("unknown", None)
    if state != "running" or token is None or not warehouse.hold_token(connection, token):
        raise RunFencedError(
            f"Run {run_id} was taken over by another before it could publish (it is {state}).",
            "Nothing to do: its work stays pending and the next run does it.",
        )


def _create_deleted_keys(connection: Connection) -> None:
    if warehouse.scalar(connection, "select to_regclass('marts.deleted_keys')"):
        return
    connection.execute(
        """
        create table marts.deleted_keys (
            publication_id bigint not null,
            table_name text not null,
            key jsonb not null,
            deleted_at timestamptz not null default now()
        );
        create index on marts.deleted_keys (publication_id);
        comment on table marts.deleted_keys is
            'One row per row that a publication took away from a table: for whoever copies marts elsewhere.';
        comment on column marts.deleted_keys.publication_id is 'The publication that removed it (ops.publications).';
        comment on column marts.deleted_keys.table_name is 'The table that lost the row, with its schema.';
        comment on column marts.deleted_keys.key is 'Columns and values of the row''s primary key.';
        comment on column marts.deleted_keys.deleted_at is 'When it was removed (UTC).';
        """
    )


def _end_of_the_work(
    connection: Connection, publication_id: int, run_id: int, fingerprint: str | None, rates: str
) -> tuple[int, ...]:
    """The claimed batches are published, their keys no longer dirty; a rebuild is on record as complete."""
    rows = connection.execute(
        "select batch_id from ops.unpublished_batches where is_claimed order by batch_id"
    ).fetchall()
    batch_ids = tuple(row[0] for row in rows)
    ledger.mark_published(connection, batch_ids, publication_id)
    connection.execute("delete from ops.dirty")
    if fingerprint is None:
        connection.execute("update ops.live_build set rates = %s where rates <> %s", [rates, rates])
    else:
        connection.execute("delete from ops.live_build")
        connection.execute(
            "insert into ops.live_build (fingerprint, rates, run_id, publication_id) values (%s, %s, %s, %s)",
            [fingerprint, rates, run_id, publication_id],
        )
    return batch_ids


class _Transaction:
    """The comparison and the writing of every table, within one database transaction."""

    def __init__(
        self, connection: Connection, publication_id: int, kind: Kind, layouts: dict[tuple[str, str], Layout]
    ) -> None:
        self.changes: dict[PublishedTable, Change] = {}
        self._connection = connection
        self._publication_id = publication_id
        self._kind = kind
        self._layouts = layouts
        self._only_vanished: set[PublishedTable] = set()
        self._created: set[PublishedTable] = set()

    def changes_layout(self, table: PublishedTable) -> bool:
        """Whether a table that exists in marts gets other columns now."""
        present = _content(self.published(table))
        return (
            bool(present)
            and table in self.changes
            and table not in self._only_vanished
            and (present != self.built(table).columns)
        )

    def rebuilt(self) -> list[tuple[str, str]]:
        """Schema and name of the tables that have candidate's columns now."""
        return [(table.schema, table.name) for table in self.changes if table not in self._only_vanished]

    def standings(self) -> list[data_status.Standing]:
        """What this transaction knows of each table that it compared."""
        return [
            data_status.Standing(
                schema=table.schema,
                name=table.name,
                feeds=table.feeds,
                is_daily=table.is_daily,
                was_compared=table not in self._only_vanished,
                is_whole=self._kind != "live" and table not in self._only_vanished,
                added=change.added,
                removed=change.removed,
                has_changed=bool(change),
            )
            for table, change in self.changes.items()
        ]

    def published(self, table: PublishedTable) -> Layout:
        """The present layout of the table in marts; without columns if it does not exist yet."""
        return self._layouts.get((table.schema, table.name), Layout())

    def built(self, table: PublishedTable) -> Layout:
        """The layout of the candidate table.

        Raises:
            LayoutError: it does not exist, or its key is not known.
        """
        layout = self._layouts.get((table.source_schema, table.name))
        if layout is None or not table.primary_key:
            lacks = "was not built" if layout is None else "has no primary_key in its meta"
            raise LayoutError(
                f"{table.source_schema}.{table.name} {lacks}, so {table} cannot be published.",
                "Correct the model in dbt_project/models/marts, then run `c360 run`.",
            )
        return layout

    def compare(self, table: PublishedTable) -> None:
        """Put the rows that differ into a temporary table: candidate's values, and whether they are new or gone.

        Where the published table lacks a column, or has it with another type, its rows count as having NULL there. A
        table that is published for the first time is not compared: all its rows are new, and :meth:`write` copies them.
        """
        built, published = self.built(table), self.published(table)
        if not published.columns:
            self._create(table, built)
            return
        if published.primary_key != table.primary_key:
            raise LayoutError(
                f"The key of {table} is ({', '.join(published.primary_key)}); its model now says "
                f"({', '.join(table.primary_key)}).",
                f"Announce it to the table's readers, then as role publisher: drop table {table} cascade; "
                "and `c360 run`.",
            )
        key = _names(table.primary_key)
        others = [column for column in built.columns if column not in table.primary_key]
        old = [
            sql.SQL("m.{}").format(sql.Identifier(column))
            if published.columns.get(column) == built.columns[column]
            else _sql(f"null::{built.columns[column]}")
            for column in others
        ]
        values = dict(zip(others, old, strict=True))
        source_scope, target_scope = self._scopes(table, whole=built.columns != _content(published))
        self._connection.execute(
            sql.SQL(
                """
                create temporary table {changes} on commit drop as
                select {columns}, m.is_there is null as is_added, c.is_there is null as is_removed,
                    {is_dated} and m.is_there is not null and c.is_there is not null and not ({content_differs})
                        as is_redated
                from (select true as is_there, * from {source} {source_scope}) as c
                full join (select true as is_there, * from {target} {target_scope}) as m using ({key})
                where c.is_there is null or m.is_there is null or {differs}
                """
            ).format(
                changes=_changes(table),
                columns=sql.SQL(", ").join([key, *([_names(others, "c")] if others else [])]),
                source=table.source,
                target=table.target,
                source_scope=source_scope,
                target_scope=target_scope,
                key=key,
                differs=_differs(values),
                is_dated=sql.Literal(_DATE_OF_THE_DAY in values),
                content_differs=_differs({name: value for name, value in values.items() if name != _DATE_OF_THE_DAY}),
            )
        )
        # Whoever joins these few rows to the published ones must know that they are few.
        self._connection.execute(sql.SQL("analyze {} ({})").format(_changes(table), key))
        self._count(table)

    def compare_vanished(self, table: PublishedTable) -> None:
        """Daily rows of customers who are no more (merged, erased) must not outlive them until the next daily pass."""
        self._only_vanished.add(table)
        among = "true" if self._kind == "rebuild" else f"m.customer_key in {dirty.keys('customer')}"
        self._connection.execute(
            sql.SQL(
                """
                create temporary table {changes} on commit drop as
                select {key}, false as is_added, true as is_removed, false as is_redated from {target} as m
                where {among} and not exists (
                    select from candidate.customer_360 as c where c.customer_key = m.customer_key)
                """
            ).format(changes=_changes(table), key=_names(table.primary_key), target=table.target, among=_sql(among))
        )
        self._count(table)

    def account(self, table: PublishedTable, today: date) -> None:
        """Move the control totals by what differs, and record the figures of past days that this restates."""
        if table in self._only_vanished:
            return
        names: dict[str, Any] = {
            "target": table.target,
            "changes": _changes(table),
            "publication_id": self._publication_id,
        }
        present = set(self.published(table).columns)
        if self._kind == "rebuild" or table in self._created:
            built = self.built(table)
            control_totals.reset(
                self._connection,
                table.name,
                built=table.source,
                columns=built.columns,
                publication_id=self._publication_id,
            )
        elif self.changes[table]:
            control_totals.move(self._connection, table.name, key=table.primary_key, columns=present, **names)
        if self.changes[table]:
            restatements.record(self._connection, table.name, today=today, columns=present, **names)

    def write(self, table: PublishedTable) -> None:
        """Bring the table's columns to candidate's, then replace the rows that differ."""
        if table not in self.changes:
            return
        built = self._layouts.get((table.source_schema, table.name), Layout())
        is_rebuilt = table not in self._only_vanished
        if is_rebuilt:
            self._change_layout(table, built)
        if table in self._created:
            self._fill(table, built)
        change = self.changes[table]
        names = {"changes": _changes(table), "target": table.target, "key": _names(table.primary_key)}
        matches = sql.SQL(" and ").join(
            sql.SQL("m.{0} = c.{0}").format(sql.Identifier(column)) for column in table.primary_key
        )
        if change.changed or change.removed:
            self._connection.execute(
                sql.SQL(
                    "delete from {target} as m using {changes} as c "
                    "where not c.is_added and not c.is_redated and {matches}"
                ).format(**names, matches=matches)
            )
        if change.redated:
            self._connection.execute(
                sql.SQL(
                    "update {target} as m set {date} = c.{date} from {changes} as c where c.is_redated and {matches}"
                ).format(**names, date=sql.Identifier(_DATE_OF_THE_DAY), matches=matches)
            )
        if (change.added or change.changed) and table not in self._created:
            self._connection.execute(
                sql.SQL(
                    "insert into {target} ({columns}, refreshed_at) select {columns}, now() from {changes} "
                    "where not is_removed and not is_redated"
                ).format(**names, columns=_names(built.columns))
            )
        if change.removed:
            self._connection.execute(
                sql.SQL(
                    """
                    insert into marts.deleted_keys (publication_id, table_name, key)
                    select %s, %s, to_jsonb(gone)
                    from (select distinct {shown} from {changes} where is_removed) as gone
                    """
                ).format(**names, shown=_names(_shown_key(table))),
                [self._publication_id, str(table)],
            )
        if is_rebuilt:
            self._index(table, built)
            self._describe(table, built)

    def _scopes(self, table: PublishedTable, *, whole: bool) -> tuple[sql.Composable, sql.Composable]:
        """Which rows of the built and of the published table are compared."""
        if table.open_rows is not None and not whole:
            # A journal grows by numbered rows under the writer lock, and only its open rows may change.
            open_rows = sql.SQL("where {}").format(_sql(table.open_rows))
            names = {"key": sql.Identifier(table.primary_key[0]), "target": table.target, "open": open_rows}
            unseen = sql.SQL(
                "where {key} > coalesce((select max({key}) from {target}), 0)"
                " or {key} in (select {key} from {target} {open})"
            )
            return unseen.format(**names), open_rows
        if whole or self._kind != "live" or table.scope is None or table.scope_key is None:
            return sql.SQL(""), sql.SQL("")
        among = sql.SQL("where {} in {}").format(sql.Identifier(table.scope_key), _sql(dirty.keys(table.scope)))
        return among, among

    def _count(self, table: PublishedTable) -> None:
        row = self._connection.execute(
            sql.SQL(
                """
                select count(*) filter (where is_added),
                    count(*) filter (where not is_added and not is_removed and not is_redated),
                    count(*) filter (where is_removed), count(*) filter (where is_redated)
                from {}
                """
            ).format(_changes(table))
        ).fetchone()
        self.changes[table] = Change(*(row or ()))

    def _create(self, table: PublishedTable, built: Layout) -> None:
        """Create the table, empty, without its key, and an empty comparison for those that read one."""
        columns = [sql.SQL("{} {}").format(sql.Identifier(name), _sql(kind)) for name, kind in built.columns.items()]
        self._connection.execute(
            sql.SQL("create table {} ({}, refreshed_at timestamptz not null)").format(
                table.target, sql.SQL(", ").join(columns)
            )
        )
        self._connection.execute(
            sql.SQL(
                "create temporary table {} on commit drop as"
                " select *, true as is_added, false as is_removed, false as is_redated from {} with no data"
            ).format(_changes(table), table.source)
        )
        self._created.add(table)
        count = warehouse.scalar(self._connection, f"select count(*) from {table.source_schema}.{table.name}")
        self.changes[table] = Change(added=count)

    def _fill(self, table: PublishedTable, built: Layout) -> None:
        """Copy all rows into the created table; its key is built once, afterwards."""
        self._connection.execute(
            sql.SQL("insert into {target} ({columns}, refreshed_at) select {columns}, now() from {source}").format(
                target=table.target, columns=_names(built.columns), source=table.source
            )
        )
        self._connection.execute(
            sql.SQL("alter table {} add primary key ({})").format(table.target, _names(table.primary_key))
        )

    def _change_layout(self, table: PublishedTable, built: Layout) -> None:
        """Add new columns, drop those the model no longer has, renew those of another type. All in one short lock."""
        present = _content(self.published(table))
        dropped = [name for name, kind in present.items() if built.columns.get(name) != kind]
        added = [name for name, kind in built.columns.items() if present.get(name) != kind]
        actions = [sql.SQL("drop column {}").format(sql.Identifier(name)) for name in dropped]
        actions += [
            sql.SQL("add column {} {}").format(sql.Identifier(name), _sql(built.columns[name])) for name in added
        ]
        if not present or not actions:
            return
        self._connection.execute(query(f"set local lock_timeout = '{LAYOUT_LOCK_SECONDS}s'"))
        try:
            self._connection.execute(sql.SQL("alter table {} {}").format(table.target, sql.SQL(", ").join(actions)))
        except psycopg.errors.LockNotAvailable as error:
            raise PublicationWaitsError(
                f"{table} gets new columns ({', '.join(added) or 'fewer'}), and somebody reads it: it was not free "
                f"within {LAYOUT_LOCK_SECONDS} s. The version published before stays.",
                "Nothing to do: the next run tries again. To see who reads: `c360 status`.",
            ) from error
        except psycopg.errors.DependentObjectsStillExist as error:
            raise LayoutError(
                f"{table} loses a column ({', '.join(dropped)}) that a view of yours shows: "
                f"{error.diag.message_detail}.",
                "Change or drop that view, then run `c360 run`; the version published before stays until then.",
            ) from error
        self._connection.execute(query(f"set local lock_timeout = '{ROW_LOCK_SECONDS}s'"))

    def _index(self, table: PublishedTable, built: Layout) -> None:
        """What BI filters and joins by: the customer and the table's first date. Built after the first rows are in."""
        if built.columns == _content(self.published(table)):
            return
        dates = [name for name in built.columns if name.endswith("_on")]
        for column in ["customer_key" if "customer_key" in built.columns else "", *dates[:1]]:
            if column and column != table.primary_key[0]:
                self._connection.execute(
                    sql.SQL("create index if not exists {} on {} ({})").format(
                        sql.Identifier(f"{table.name}_by_{column}"), table.target, sql.Identifier(column)
                    )
                )
        if "has_id_conflict" in built.columns:  # the monitor looks for these few rows all the time
            self._connection.execute(
                sql.SQL("create index if not exists {} on {} (batch_id) where has_id_conflict").format(
                    sql.Identifier(f"{table.name}_by_id_conflict"), table.target
                )
            )

        if "is_built" in built.columns:  # it asks for the newest landed session of each source that has built ones
            self._connection.execute(
                sql.SQL("create index if not exists {} on {} (source, batch_id) where not is_built").format(
                    sql.Identifier(f"{table.name}_by_landed_source"), table.target
                )
            )

    def _describe(self, table: PublishedTable, built: Layout) -> None:
        """Carry the descriptions of the models to marts, where BI tools show them."""
        present = self.published(table).comments
        wanted = built.comments | {"refreshed_at": _REFRESHED_AT}
        for name, text in wanted.items():
            if present.get(name) != text:
                thing = (
                    sql.SQL("column {}").format(sql.Identifier(table.schema, table.name, name))
                    if name
                    else sql.SQL("table {}").format(table.target)
                )
                self._connection.execute(sql.SQL("comment on {} is {}").format(thing, sql.Literal(text)))


def _layouts(connection: Connection, tables: Sequence[PublishedTable]) -> dict[tuple[str, str], Layout]:
    """The layouts of the candidate and the published tables, by (schema, name), in one look at the catalog."""
    rows = connection.execute(
        """
        select n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
            col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class'),
            array_position(i.indkey::int[], a.attnum::int)
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        left join pg_index as i on i.indrelid = c.oid and i.indisprimary
        where c.relkind in ('r', 'v', 'm') and c.relname = any(%s) and n.nspname = any(%s)
        order by c.oid, a.attnum
        """,
        [
            [table.name for table in tables],
            list({schema for table in tables for schema in (table.schema, table.source_schema)}),
        ],
    ).fetchall()
    layouts: dict[tuple[str, str], Layout] = {}
    places: dict[tuple[str, str], dict[int, str]] = {}
    for schema, name, column, kind, column_comment, table_comment, place in rows:
        layout = layouts.setdefault((schema, name), Layout())
        layout.columns[column] = kind
        layout.comments.update({"": table_comment} if table_comment else {})
        layout.comments.update({column: column_comment} if column_comment else {})
        if place is not None:
            places.setdefault((schema, name), {})[place] = column
    return {
        table: Layout(
            layout.columns, layout.comments, tuple(column for _, column in sorted(places.get(table, {}).items()))
        )
        for table, layout in layouts.items()
    }


def _content(layout: Layout) -> dict[str, str]:
    """The columns that come from candidate."""
    return {name: kind for name, kind in layout.columns.items() if name != "refreshed_at"}


def _analyse(settings: Settings, moved: Mapping[PublishedTable, int]) -> None:
    """Tell the planner of the tables that grew or shrank by a tenth: the next run plans before autovacuum does."""
    with warehouse.connect("publisher", settings, autocommit=True) as connection:
        for table, rows in moved.items():
            known = warehouse.scalar(
                connection, "select reltuples from pg_class where oid = %s::regclass", [str(table)]
            )
            if rows * 10 > max(known, 0):
                connection.execute(sql.SQL("analyze {}").format(table.target))


def _differs(old: Mapping[str, sql.Composable]) -> sql.Composable:
    """Whether candidate's row ``c`` has other values than these."""
    if not old:
        return sql.SQL("false")
    return sql.SQL("row({}) is distinct from row({})").format(_names(old, "c"), sql.SQL(", ").join(old.values()))


def _changes(table: PublishedTable) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"changes_{table.name}")


def _shown_key(table: PublishedTable) -> tuple[str, ...]:
    """What readers of marts may see of a removed row: of a table of personal data only whose row it was."""
    return table.primary_key if table.schema == "marts" else table.primary_key[:1]


def _names(columns: Iterable[str], alias: str = "") -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(*([alias] if alias else []), column) for column in columns)


def _sql(text: str) -> sql.SQL:
    """SQL that this project composed (types from the catalog, names from its own models), never from input."""
    return sql.SQL(query(text))
