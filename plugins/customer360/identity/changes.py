"""Which records changed since identity last looked: dirty records, as staging has them and as identity has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from customer360.identity import key_map
from customer360.identity.identifiers import STRONG_TYPES, Normaliser
from customer360.identity.staged import RECORD_TYPES, select_staged
from customer360.identity.tables import temporary
from customer360.warehouse import Connection, query

KEY_COLUMNS = ("customer_id_key", "email_key", "phone_key")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RecordKey(NamedTuple):
    """Which record."""

    record_type: str
    record_id: str


class Shown(NamedTuple):
    """What a record shows, in the order of the columns of identity.records."""

    seen_at: datetime
    customer_id_key: int | None
    email_key: int | None
    phone_key: int | None
    anonymous_id: str | None
    linked_order_id: str | None

    def identifier_keys(self) -> set[int]:
        """The strong identifiers."""
        return {key for key in (self.customer_id_key, self.email_key, self.phone_key) if key is not None}


@dataclass(frozen=True)
class Changes:
    """The dirty records that are not as identity knows them: what they showed, and what they show now."""

    before: dict[RecordKey, Shown] = field(default_factory=dict)
    after: dict[RecordKey, Shown] = field(default_factory=dict)

    def identifier_keys(self) -> set[int]:
        """Every strong identifier shown before or after."""
        return {key for shown in (*self.before.values(), *self.after.values()) for key in shown.identifier_keys()}


class _Staged(NamedTuple):
    """A staged record in normal form: per strong type the identifier or None."""

    key: RecordKey
    seen_us: int
    strong: tuple[str | None, ...]
    anonymous_id: str | None
    linked_order_id: str | None


def find_changes(connection: Connection, *, staging_schema: str, schema: str, normaliser: Normaliser) -> Changes:
    """Compare what ops.dirty names in staging and in identity. New identifiers get their keys."""
    temporary(connection, "identity_dirty", "record_type text, record_id text, primary key (record_type, record_id)")
    connection.execute(
        "insert into pg_temp.identity_dirty select scope, key from ops.dirty where scope = any (%s)",
        [list(RECORD_TYPES)],
    )
    connection.execute("analyze pg_temp.identity_dirty")
    where = "{record_id} in (select record_id from pg_temp.identity_dirty where record_type = '{record_type}')"
    rows = connection.execute(query(select_staged(staging_schema, where))).fetchall()
    after = _with_keys(connection, [_normalised(row, normaliser) for row in rows])
    rows = connection.execute(
        query(
            f"""
            select record_type, record_id, seen_at, {", ".join(KEY_COLUMNS)}, anonymous_id, linked_order_id
            from {schema}.records inner join pg_temp.identity_dirty using (record_type, record_id)
            """
        )
    ).fetchall()
    before = {RecordKey(*row[:2]): Shown(*row[2:]) for row in rows}
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return Changes(
        {key: shown for key, shown in before.items() if key in changed},
        {key: shown for key, shown in after.items() if key in changed},
    )


def _normalised(row: tuple[Any, ...], normaliser: Normaliser) -> _Staged:
    number, record_id, seen_us, _, customer_id, email, phone, anonymous_id, linked_order_id = row
    texts = zip(STRONG_TYPES, (customer_id, email, phone), strict=True)
    return _Staged(
        RecordKey(RECORD_TYPES[number], record_id),
        seen_us,
        tuple(normaliser.normalise(kind, raw) for kind, raw in texts),
        normaliser.normalise("anonymous_id", anonymous_id),
        linked_order_id,
    )


def _with_keys(connection: Connection, records: list[_Staged]) -> dict[RecordKey, Shown]:
    """The records with their identifiers' keys; new identifiers are numbered by first sight, type, text."""
    sights = sorted(
        (record.seen_us, number, text)
        for record in records
        for number, text in enumerate(record.strong)
        if text is not None
    )
    in_order = list(dict.fromkeys((str(STRONG_TYPES[number]), text) for _, number, text in sights))
    keys = key_map.keys_of(connection, in_order, extend=True)

    def key_of(number: int, text: str | None) -> int | None:
        return None if text is None else keys[STRONG_TYPES[number], text]

    return {
        record.key: Shown(
            _EPOCH + timedelta(microseconds=record.seen_us),
            key_of(0, record.strong[0]),
            key_of(1, record.strong[1]),
            key_of(2, record.strong[2]),
            record.anonymous_id,
            record.linked_order_id,
        )
        for record in records
    }


def apply(connection: Connection, schema: str, changes: Changes) -> None:
    """Write what the changed records show into identity.records; whose they are is worked out afterwards.

    ``pg_temp.identity_work`` then has a row per changed record, with the customer it had.
    """
    temporary(
        connection,
        "identity_work",
        """
        record_type text, record_id text, old_key bigint, was_there boolean not null,
        primary key (record_type, record_id)
        """,
    )
    temporary(
        connection,
        "identity_shown",
        """
        record_type text, record_id text, is_there boolean, seen_at timestamptz, customer_id_key bigint,
        email_key bigint, phone_key bigint, anonymous_id text, linked_order_id text,
        primary key (record_type, record_id)
        """,
    )
    with connection.cursor() as cursor, cursor.copy("copy pg_temp.identity_shown from stdin") as copy:
        for key in changes.before.keys() | changes.after.keys():
            after = changes.after.get(key)
            copy.write_row((*key, after is not None, *(after or [None] * len(Shown._fields))))
    connection.execute("analyze pg_temp.identity_shown")
    connection.execute(
        query(
            f"""
            insert into pg_temp.identity_work (record_type, record_id, old_key, was_there)
            select s.record_type, s.record_id, r.customer_key, r.record_id is not null
            from pg_temp.identity_shown as s left join {schema}.records as r using (record_type, record_id)
            """
        )
    )
    connection.execute(
        query(
            f"""
            delete from {schema}.records as r using pg_temp.identity_shown as s
            where not s.is_there and r.record_type = s.record_type and r.record_id = s.record_id
            """
        )
    )
    shown = f"seen_at, {', '.join(KEY_COLUMNS)}, anonymous_id, linked_order_id"
    assignments = ", ".join(f"{column} = excluded.{column}" for column in Shown._fields)
    connection.execute(
        query(
            f"""
            insert into {schema}.records (record_type, record_id, {shown}, rule)
            select record_type, record_id, {shown}, 'unattributed' from pg_temp.identity_shown where is_there
            on conflict (record_type, record_id) do update set {assignments}
            """
        )
    )
