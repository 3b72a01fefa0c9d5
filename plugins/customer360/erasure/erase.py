"""Erase a person: out of raw and everything that is made of it, resumable wherever it is cut off.

One transaction takes the texts out of raw, frozen records and quarantine, enters the digests, and marks what has to be
built again. Then landed files go, a build publishes the tables without the person, and journals and the key map forget
the keys. Each of these can be repeated; :func:`finish_pending` does what a killed process has left.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime

from psycopg import sql
from psycopg.types.json import Jsonb

from customer360 import warehouse
from customer360.backup import registry
from customer360.contract.feeds import FEEDS
from customer360.erasure.person import Person, find_by_all
from customer360.errors import Customer360Error
from customer360.front_door import erased, landing, ledger
from customer360.front_door.erased import Identifier
from customer360.kill_points import reach
from customer360.progress import Progress, Silent
from customer360.publication.build import build
from customer360.publication.daily import JOURNALS
from customer360.settings import Settings
from customer360.warehouse import Connection, dirty, query, scalar

_SHORT = 3
"""A text of so many characters may be in anybody's file."""


class ErasureError(Customer360Error):
    """An erasure cannot be done."""


@dataclass
class Certificate:
    """What an erasure removed, where, and how many; who the person was, it does not say."""

    erasure_id: int | None
    """None: nothing was done, this is what would be."""
    erased_before: datetime
    removed: dict[str, int] = field(default_factory=dict)
    later_records: int = 0
    is_finished: bool = False
    began_at: datetime | None = None
    finished_at: datetime | None = None
    acted_by: str = ""
    because: str = ""

    @property
    def count(self) -> int:
        """All of it."""
        return sum(self.removed.values())


# ---- before ---------------------------------------------------------------------------------------------------------


def plan(settings: Settings, *named: Identifier, before: datetime | None = None) -> Certificate:
    """What an erasure would remove, without changing anything. Takes and raises what :func:`erase` does."""
    now = before or datetime.now(UTC)
    with warehouse.connect("owner", settings) as connection:
        person = find_by_all(connection, settings, named, before=now)
        certificate = Certificate(None, now, later_records=person.later_records)
        for feed in FEEDS.values():
            records = person.records.get(feed.name, [])
            for place, table in (
                (f"raw rows of {feed.name}", f"raw.{feed.name}"),
                (f"frozen {feed.name}", feed.frozen),
            ):
                count = scalar(connection, f"select count(*) from {table} where {feed.key} = any(%s)", [records])
                certificate.removed[place] = int(count)
        known = dict.fromkeys(person.identifiers, now)
        key = b"a dry run"
        digests = {(kind, erased.digest(key, (kind, text))): limit for (kind, text), limit in known.items()}
        quarantined = erased.forget_quarantined(connection, settings, digests, key, texts=person.texts)
        certificate.removed["quarantined rows"] = sum(quarantined.values())
        certificate.removed["identifiers"] = len(person.identifiers)
        connection.rollback()
        for keyed in keyed_tables(connection):
            with warehouse.connect(keyed.owner, settings) as of_owner:
                statement = sql.SQL("select count(*) from {} where customer_key = any(%s)").format(keyed.identifier)
                row = of_owner.execute(statement, [list(person.keys)]).fetchone()
                certificate.removed[str(keyed)] = row[0] if row else 0
    certificate.removed = {place: count for place, count in certificate.removed.items() if count}
    return certificate


# ---- the erasure ----------------------------------------------------------------------------------------------------


def erase(
    settings: Settings,
    *named: Identifier,
    who: str,
    why: str,
    before: datetime | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Erase the person whom identifiers (kind and text) name; one is enough, the others are found from it.

    Args:
        before: records whose own time is later stay (default: now, so that none does).

    Raises:
        PersonError: the identifier names nobody who can be told apart.
        ErasureError: nobody says who asks and why.
        WriterBusyError: a build does not end.
    """
    if not who.strip() or not why.strip():
        raise ErasureError("Who erases, and why, must be on record.", "Give --because (and --by).")
    progress = progress or Silent()
    before = before or datetime.now(UTC)
    progress.stage("take the person out of raw")
    with (
        warehouse.writer_lock(settings, who="erasure"),
        warehouse.connect("owner", settings, application_name="customer360 erasure") as connection,
    ):
        person = find_by_all(connection, settings, named, before=before)
        erasure_id = _strip(connection, settings, person, before, who, why)
    reach("erase.stripped")
    return _finish(settings, erasure_id, progress)


def finish_pending(settings: Settings, progress: Progress | None = None) -> list[Certificate]:
    """Finish the erasures that were cut off."""
    with warehouse.connect("owner", settings) as connection:
        rows = connection.execute(
            "select erasure_id from state.erasures where state <> 'finished' order by 1"
        ).fetchall()
    return [_finish(settings, erasure_id, progress or Silent()) for (erasure_id,) in rows]


def _strip(connection: Connection, settings: Settings, person: Person, before: datetime, who: str, why: str) -> int:
    """The first transaction: from here on the texts are gone, and nothing brings them back. The caller commits."""
    key = erased.digest_key(settings, create=not scalar(connection, "select count(*) from state.erasure_registry"))
    digests = {(kind, erased.digest(key, (kind, text))): before for kind, text in person.identifiers}
    erased.enter(connection, digests)
    removed: dict[str, int] = {}
    for feed in FEEDS.values():
        records = person.records.get(feed.name, [])
        batches = erased.strip(connection, feed, f"raw.{feed.name}", f"{feed.key} = any(%s)", [records])
        frozen = erased.strip(connection, feed, feed.frozen, f"{feed.key} = any(%s)", [records])
        removed |= {
            f"raw rows of {feed.name}": sum(batches.values()),
            f"frozen {feed.name}": sum(frozen.values()),
        }
        for batch_id, count in batches.items():
            ledger.record_action(connection, batch_id, "erase", count, who, why)
        dirty.mark(connection, feed.scope, "select unnest(%s::text[])", [records])
    quarantined = erased.forget_quarantined(connection, settings, digests, key, texts=person.texts)
    removed["quarantined rows"] = sum(quarantined.values())
    refused = dict.fromkeys(_refused_files(connection, settings, person), 0)
    for batch_id, count in (refused | quarantined).items():
        ledger.record_action(connection, batch_id, "erase", count, who, why)
    removed["identifiers"] = len(person.identifiers)
    row = connection.execute(
        "insert into state.erasures (erased_before, acted_by, because, removed, customer_keys) "
        "values (%s, %s, %s, %s, %s) returning erasure_id",
        [before, who, why, Jsonb(removed), list(person.keys)],
    ).fetchone()
    assert row is not None  # noqa: S101 - insert … returning gives a row or raises
    return int(row[0])


def _refused_files(connection: Connection, settings: Settings, person: Person) -> list[int]:
    """Refused batches whose landed file has one of the person's texts in it: nothing of them is in raw."""
    wanted = [text.casefold().encode() for text in person.texts if len(text) > _SHORT]
    there = {file.location for file in landing.files(settings)}
    found = []
    for batch_id, location in connection.execute(
        "select batch_id, location from ops.batches where state = 'refused' and location is not null"
    ).fetchall():
        if location in there:
            try:
                with landing.open_file(settings, location) as stream:
                    content = stream.read()
            except OSError:
                continue  # a link, a pipe, a folder: nothing of it was ever read
            if content.startswith(b"\x1f\x8b"):
                with contextlib.suppress(OSError, EOFError, zlib.error):
                    content = gzip.decompress(content)
            if any(text in content.lower() for text in wanted):
                found.append(batch_id)
    return found


def _finish(settings: Settings, erasure_id: int, progress: Progress) -> Certificate:
    progress.stage("remove landed files")
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        _note(connection, erasure_id, {"landed files": len(erased.remove_files(settings, connection))})
    reach("erase.removed")
    build(settings, f"erasure {erasure_id}", progress)
    reach("erase.built")
    progress.stage("forget the keys")
    with warehouse.writer_lock(settings, who="erasure"):
        with warehouse.connect("owner", settings) as connection:
            keys = set(
                scalar(connection, "select customer_keys from state.erasures where erasure_id = %s", [erasure_id])
            )
            present = connection.execute(
                "select customer_key from identity.customers where customer_key = any(%s)", [list(keys)]
            ).fetchall()
            tables = keyed_tables(connection)
        gone = keys - {row[0] for row in present}  # a person who came back has the key again, for what came later
        removed = {str(table): _forget(settings, table, keys if table.is_journal else gone) for table in tables}
        with warehouse.connect("owner", settings) as connection:
            removed["key map"] = _forget_identifiers(connection, keys)
            _note(connection, erasure_id, removed)
        reach("erase.forgotten")
        _vacuum(settings)
        with warehouse.connect("owner", settings) as connection:
            registry.send(connection, settings)
            connection.execute(
                "update state.erasures set state = 'finished', finished_at = clock_timestamp(), customer_keys = '{}' "
                "where erasure_id = %s and state <> 'finished'",
                [erasure_id],
            )
    return certificates(settings, erasure_id)[0]


def _note(connection: Connection, erasure_id: int, removed: dict[str, int]) -> None:
    """Add what was removed to the certificate; what was removed before stays counted."""
    found = connection.execute(
        "select removed from state.erasures where erasure_id = %s for update", [erasure_id]
    ).fetchone()
    before: dict[str, int] = found[0] if found else {}
    added = {place: before.get(place, 0) + count for place, count in removed.items() if count}
    connection.execute(
        "update state.erasures set removed = removed || %s where erasure_id = %s", [Jsonb(added), erasure_id]
    )


# ---- journals, daily tables, the key map ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Keyed:
    """A table with rows of single customers; ``trigger``: it is append-only for everybody else."""

    schema: str
    name: str
    owner: warehouse.Role
    is_journal: bool
    trigger: bool

    @property
    def identifier(self) -> sql.Identifier:
        """Its name, quoted."""
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def keyed_tables(connection: Connection) -> list[Keyed]:
    """Tables with a customer_key, but those that a build has brought up to date by then, and the crosswalk of keys."""
    rows = connection.execute(
        """
        select n.nspname, c.relname, exists (select from pg_trigger where tgrelid = c.oid and tgname = 'append_only')
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attname = 'customer_key' and not a.attisdropped
        where c.relkind = 'r' and (n.nspname = any(%s) or n.nspname ~ '^asof_')
            and c.relname !~ '^fct_' and c.relname not in ('customer_key_map', 'customer_key_crosswalk')
        order by 1, 2
        """,
        [["state", "intermediate", "candidate", "marts", "marts_pii"]],
    ).fetchall()
    journals = {table.name for table in JOURNALS}
    roles: dict[str, warehouse.Role] = {"state": "owner", "marts": "publisher", "marts_pii": "publisher"}
    return [
        Keyed(schema, name, roles.get(schema, "transformer"), schema == "state" or name in journals, trigger)
        for schema, name, trigger in rows
    ]


def _forget(settings: Settings, table: Keyed, keys: set[int]) -> int:
    with warehouse.connect(table.owner, settings) as connection:
        if table.trigger:
            connection.execute(sql.SQL("alter table {} disable trigger append_only").format(table.identifier))
        statement = sql.SQL("delete from {} where customer_key = any(%s)").format(table.identifier)
        count = connection.execute(statement, [list(keys)]).rowcount
        if table.trigger:
            connection.execute(sql.SQL("alter table {} enable trigger append_only").format(table.identifier))
    return count


def _forget_identifiers(connection: Connection, keys: set[int]) -> int:
    """Delete the person's entries of the key map that no record shows any more; keys are never given again."""
    unused = [
        row[0]
        for row in connection.execute(
            "select customer_key from state.customer_key_map as m where customer_key = any(%s) "
            "and not exists (select from identity.identifiers as i where i.identifier_key = m.customer_key)",
            [list(keys)],
        )
    ]
    connection.execute("delete from state.identity_decision_members where identifier_key = any(%s)", [unused])
    return connection.execute("delete from state.customer_key_map where customer_key = any(%s)", [unused]).rowcount


def _vacuum(settings: Settings) -> None:
    """What was removed goes from the pages too, now and not when the server finds the time."""
    with warehouse.connect("owner", settings, autocommit=True) as connection:
        for table in ("quarantine.rows", "state.customer_key_map"):
            connection.execute(query(f"vacuum {table}"))
        for feed in FEEDS.values():
            connection.execute(query(f"vacuum raw.{feed.name}"))
            connection.execute(query(f"vacuum {feed.frozen}"))


def certificates(settings: Settings, erasure_id: int | None = None) -> list[Certificate]:
    """The certificates of all erasures, or of one, oldest first."""
    with warehouse.connect("owner", settings) as connection:
        rows = connection.execute(
            """
            select erasure_id, erased_before, removed, state = 'finished', began_at, finished_at, acted_by, because
            from state.erasures where %s::bigint is null or erasure_id = %s order by erasure_id
            """,
            [erasure_id, erasure_id],
        ).fetchall()
    return [
        Certificate(row[0], row[1], row[2], 0, is_finished=row[3], began_at=row[4], finished_at=row[5],
                    acted_by=row[6], because=row[7])
        for row in rows
    ]  # fmt: skip
