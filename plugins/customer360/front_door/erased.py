"""People who were erased: known again by keyed digests of their identifiers, and left out of whatever is loaded.

A record of an erased person loses every text that could name the person and keeps its id, times, amounts and items, so
that totals stay (docs/decisions/0034). The key of the digests is in C360_HOME/erasure.key, in no table.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from customer360.contract.feeds import FEEDS, Feed
from customer360.contract.record_keys import key_of
from customer360.errors import ConfigurationError
from customer360.front_door import landing, ledger
from customer360.identity.identifiers import STRONG_TYPES, Normaliser
from customer360.settings import Settings
from customer360.warehouse import Connection, query, scalar

DEVICE = "anonymous_id"
TYPES = (*STRONG_TYPES, DEVICE)
"""The types of identifiers that a person is known again by."""
Identifier = tuple[str, str]
"""Type and normal form."""
Registry = dict[Identifier, datetime]
"""Type and digest -> records up to that time are affected."""


# ---- digests --------------------------------------------------------------------------------------------------------


def digest_key(settings: Settings, *, create: bool = False) -> bytes:
    """The key of the digests, from C360_HOME/erasure.key (mode 0600).

    Raises:
        ConfigurationError: there is none, though people were erased: nobody could be known again.
    """
    path = settings.home / "erasure.key"
    if not path.exists():
        if not create:
            raise ConfigurationError(
                f"{path} is missing, and without it people who were erased cannot be recognised in new files.",
                "Bring the file back from another copy of this C360_HOME, or from the backups: `c360 restore`.",
            )
        keep_digest_key(settings, secrets.token_bytes(32))
    return bytes.fromhex(path.read_text().strip())


def keep_digest_key(settings: Settings, key: bytes) -> None:
    """Write the key to C360_HOME."""
    descriptor = os.open(settings.home / "erasure.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(key.hex())


def digest(key: bytes, identifier: Identifier) -> str:
    """The keyed digest of an identifier."""
    return hmac.new(key, "\0".join(identifier).encode(), hashlib.sha256).hexdigest()


def registry(connection: Connection) -> Registry:
    """Everybody who was erased."""
    rows = connection.execute("select identifier_type, digest, erased_before from state.erasure_registry").fetchall()
    return {(row[0], row[1]): row[2] for row in rows}


def enter(connection: Connection, entries: Registry) -> None:
    """Add people to the registry; role owner. A later time counts."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into state.erasure_registry (identifier_type, digest, erased_before) values (%s, %s, %s)
            on conflict (identifier_type, digest) do update
            set erased_before = greatest(erasure_registry.erased_before, excluded.erased_before)
            """,
            [(*one, limit) for one, limit in entries.items()],
        )


def shown_by(record: dict[str, Any], normaliser: Normaliser) -> list[Identifier]:
    """The identifiers that a record shows, by type and normal form."""
    found: list[Identifier] = []
    for kind in TYPES:
        text = record.get(kind)
        if text is None or isinstance(text, (dict, list)):
            continue
        text = str(text)
        if kind == "customer_id":
            text = key_of(record.get("source") or None, text)
        normal = text.strip() if kind == DEVICE else normaliser.normalise(kind, text)
        if normal:
            found.append((kind, normal))
    return found


# ---- what a record loses --------------------------------------------------------------------------------------------


def emptied(feed: Feed) -> dict[str, str]:
    """Column -> what it holds of an erased person, as SQL over the feed's raw table or frozen records."""
    columns = {"extra": "null", "contact_preferences": "null"}
    for one in feed.fields:
        if one.kind != "text" or one.choices or one.form or one.name in {feed.id_field, "order_id"}:
            continue
        # A device that the contract requires: one of its own for each record, which says nothing.
        columns[one.name] = f"'erased-' || md5({feed.key})" if one.required else "null"
    if "refunds" in feed.by_name:
        columns["refunds"] = (
            "case when jsonb_typeof(refunds) = 'array' then "
            "(select jsonb_agg(element - 'reason') from jsonb_array_elements(refunds) as element) else refunds end"
        )
    return columns


def strip(connection: Connection, feed: Feed, table: str, condition: str, values: list[Any]) -> dict[int, int]:
    """Take the person out of rows of raw or of the frozen records; returns how many, by batch."""
    present = {
        row[0]
        for row in connection.execute(
            "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            [table],
        )
    }
    columns = emptied(feed) | {f"{kind}_key": "null" for kind in STRONG_TYPES}
    assignments = ", ".join(f"{name} = {value}" for name, value in columns.items() if name in present)
    rows = connection.execute(
        query(f"update {table} set {assignments} where {condition} returning batch_id"), values
    ).fetchall()
    counts: dict[int, int] = {}
    for (batch_id,) in rows:
        counts[batch_id] = counts.get(batch_id, 0) + 1
    return counts


def strip_batch(connection: Connection, settings: Settings, feed: Feed, batch_id: int) -> int:
    """Take erased people out of a batch that is being loaded, in its transaction; returns how many rows lost one."""
    known = registry(connection)
    if not known:
        return 0
    key, normaliser = digest_key(settings), Normaliser.of(settings)
    shown = [kind for kind in TYPES if kind in feed.by_name]
    rows = connection.execute(
        query(
            f"select {', '.join(shown)}, source, max({feed.seen_at}), min({feed.seen_at}), array_agg(row_number) "
            f"from raw.{feed.name} where batch_id = %s group by {', '.join(shown)}, source"
        ),
        [batch_id],
    ).fetchall()
    candidates: list[int] = []
    before: dict[int, datetime] = {}
    for *texts, source, _, first, numbers in rows:
        identifiers = shown_by(dict(zip(shown, texts, strict=True)) | {"source": source}, normaliser)
        limits = [known[one] for kind, text in identifiers if (one := (kind, digest(key, (kind, text)))) in known]
        if limits and first <= max(limits):
            candidates += numbers
            before |= dict.fromkeys(numbers, max(limits))
    count = 0
    for limit in set(before.values()):
        of_limit = [number for number in candidates if before[number] == limit]
        condition = f"batch_id = %s and row_number = any(%s) and {feed.seen_at} <= %s"
        count += sum(strip(connection, feed, f"raw.{feed.name}", condition, [batch_id, of_limit, limit]).values())
    count += sum(forget_quarantined(connection, settings, known, key, batch_id=batch_id).values())
    if count:
        ledger.record_action(connection, batch_id, "erase", count, "erasure registry", "a person who was erased before")
    return count


# ---- the quarantine -------------------------------------------------------------------------------------------------


def forget_quarantined(
    connection: Connection,
    settings: Settings,
    known: Registry,
    key: bytes,
    *,
    texts: Iterable[str] = (),
    batch_id: int | None = None,
) -> dict[int, int]:
    """Empty the quarantined rows that show an erased person, or hold one of ``texts``; returns how many, by batch.

    A record in quarantine may be broken: the time that would say that the person came back counts only if it is read.
    """
    normaliser = Normaliser.of(settings)
    wanted = [text.casefold() for text in texts if len(text) > 3]  # shorter ones are in anybody's record
    rows = connection.execute(
        "select quarantine_id, feed, record, batch_id from quarantine.rows "
        "where record is not null and (%s::bigint is null or batch_id = %s)",
        [batch_id, batch_id],
    ).fetchall()
    ids: list[int] = []
    counts: dict[int, int] = {}
    for quarantine_id, feed, text, of_batch in rows:
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        shown = shown_by(record, normaliser) if isinstance(record, dict) else []
        limits = [known[one] for kind, normal in shown if (one := (kind, digest(key, (kind, normal)))) in known]
        folded = text.casefold()
        if any(one in folded for one in wanted) or (limits and not _is_later(record, FEEDS[feed], max(limits))):
            ids.append(quarantine_id)
            counts[of_batch] = counts.get(of_batch, 0) + 1
    if ids:
        connection.execute(
            """
            with gone as (
                update quarantine.rows as q set record = null,
                    state = case when q.state = 'open' then 'erased' else q.state end,
                    closed_at = coalesce(q.closed_at, clock_timestamp()),
                    closed_by = coalesce(q.closed_by, 'erasure'), closed_because = coalesce(q.closed_because, 'erased')
                from quarantine.rows as before
                where q.quarantine_id = any(%s) and before.quarantine_id = q.quarantine_id
                returning q.batch_id, before.state
            )
            update ops.batches as b
            set quarantined_rows = quarantined_rows - c.count, erased_rows = erased_rows + c.count
            from (select batch_id, count(*) from gone where state = 'open' group by batch_id) as c
            where b.batch_id = c.batch_id
            """,
            [ids],
        )
    return counts


def _is_later(record: Any, feed: Feed, limit: datetime) -> bool:
    try:
        moment = datetime.fromisoformat(str(record.get(feed.seen_at)))
    except ValueError:
        return False
    return moment.tzinfo is not None and moment > limit


# ---- landed files ---------------------------------------------------------------------------------------------------


def remove_files(settings: Settings, connection: Connection) -> list[str]:
    """Remove the landed files of batches that an erased person was in, and their copies; returns where they lay.

    A file is one immutable batch: it goes whole. What else it brought stays in raw and cannot be replayed.
    """
    if not scalar(connection, "select exists (select from state.erasure_registry)"):
        return []
    rows = connection.execute(
        """
        select b.batch_id, b.location from ops.batches as b
        where b.location is not null and b.state not in ('landed', 'failed') and exists (
            select from ops.batch_actions as a
            where a.action = 'erase' and a.batch_id in (b.batch_id, b.duplicate_of))
        order by b.batch_id
        """
    ).fetchall()
    there = {file.location for file in landing.files(settings)} if rows else set()
    removed = []
    for batch_id, location in rows:
        if location in there:
            landing.remove(settings, location)
            ledger.record_action(connection, batch_id, "tidy", 0, "erasure", "a person in it was erased")
            removed.append(location)
    return removed
