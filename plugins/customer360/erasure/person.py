"""Who is meant: a person's identifiers, devices, keys and records, found from any one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from customer360.contract.feeds import FEEDS
from customer360.errors import Customer360Error
from customer360.front_door.erased import DEVICE, Identifier, shown_by
from customer360.identity.identifiers import STRONG_TYPES, Normaliser
from customer360.settings import Settings
from customer360.warehouse import Connection, query

CUSTOMER_KEY = "customer_key"
KINDS = (*STRONG_TYPES, DEVICE, CUSTOMER_KEY)
"""What a person can be named by."""


class PersonError(Customer360Error):
    """A text names nobody, or more than one person."""


@dataclass
class Person:
    """Everything by which a person is known here. Personal data: it is printed nowhere."""

    identifiers: set[Identifier] = field(default_factory=set)
    """Type and normal form, devices of this person alone among them."""
    keys: set[int] = field(default_factory=set)
    """Keys of the map that stand, or stood, for this person."""
    records: dict[str, list[str]] = field(default_factory=dict)
    """Feed -> record keys."""
    texts: set[str] = field(default_factory=set)
    """The identifiers as they were written, in any version of the records."""
    later_records: int = 0
    """Records that began after the day of the erasure; they stay."""

    def join(self, other: Person) -> None:
        """Take in what another identifier of the same person has led to."""
        self.identifiers |= other.identifiers
        self.keys |= other.keys
        for feed, records in other.records.items():
            self.records[feed] = sorted({*self.records.get(feed, []), *records})
        self.texts |= other.texts
        self.later_records = max(self.later_records, other.later_records)


def find_by_all(connection: Connection, settings: Settings, named: Sequence[Identifier], *, before: datetime) -> Person:
    """The person whom several identifiers name together. One that is unusable or shared is passed over.

    Raises:
        PersonError: all of them are.
    """
    person, refused = Person(), []
    for kind, text in named:
        try:
            person.join(find(connection, settings, kind, text, before=before))
        except PersonError as error:
            refused.append(error)
    if refused and len(refused) == len(named):
        raise refused[0]
    return person


def find(connection: Connection, settings: Settings, kind: str, text: str, *, before: datetime | None = None) -> Person:
    """The person whom an identifier names.

    Args:
        connection: of role owner.
        before: leave out records whose own time is later.

    Raises:
        PersonError: the text is no identifier of that kind, or the device is several people's.
    """
    person = Person()
    for key in _named(connection, settings, kind, text, person):
        person.keys.add(key)
    customers = _customers(connection, person, kind)
    if customers and _has_identity(connection):
        person.keys |= customers
        person.identifiers |= {
            (row[0], row[1])
            for row in connection.execute(
                "select identifier_type, identifier from identity.identifiers where customer_key = any(%s)",
                [list(customers)],
            )
        }
    person.keys |= {
        row[0]
        for row in connection.execute(
            """
            select customer_key from state.customer_key_map as m
            join unnest(%s::text[], %s::text[]) as w (kind, text)
                on m.identifier_type = w.kind and m.identifier = w.text
            union select customer_key from state.customer_key_crosswalk where present_customer_key = any(%s)
            """,
            [[one for one, _ in person.identifiers], [one for _, one in person.identifiers], list(customers)],
        )
    }
    if _has_identity(connection):
        _records(connection, person, customers, before)
    _texts(connection, settings, person)
    return person


def _named(connection: Connection, settings: Settings, kind: str, text: str, person: Person) -> list[int]:
    """The keys of the map that the text itself names; its normal form becomes the person's first identifier."""
    if kind == CUSTOMER_KEY:
        if not text.isdigit():
            raise PersonError("A customer_key is a whole number.", "Take it from marts.customer_360.")
        rows = connection.execute(
            "select %s::bigint union select present_customer_key from state.customer_key_crosswalk "
            "where customer_key = %s and present_customer_key is not null",
            [int(text), int(text)],
        ).fetchall()
        return [row[0] for row in rows]
    normal = text.strip() if kind == DEVICE else Normaliser.of(settings).normalise(kind, text)
    if not normal:
        raise PersonError(
            f"That text is no usable {kind}: it identifies nobody.", "Check it, or name another identifier."
        )
    person.identifiers.add((kind, normal))
    if kind == DEVICE:
        return []
    rows = connection.execute(
        "select customer_key from state.customer_key_map where identifier_type = %s and identifier = %s", [kind, normal]
    ).fetchall()
    return [row[0] for row in rows]


def _has_identity(connection: Connection) -> bool:
    row = connection.execute("select to_regclass('identity.records') is not null").fetchone()
    return bool(row and row[0])


def _customers(connection: Connection, person: Person, kind: str) -> set[int]:
    """The customers whom the named keys, or the named device, belong to."""
    if not _has_identity(connection):
        return set()
    if kind == DEVICE:
        rows = connection.execute(
            "select distinct customer_key from identity.records "
            "where anonymous_id = any(%s) and customer_key is not null",
            [[text for one, text in person.identifiers if one == DEVICE]],
        ).fetchall()
        if len(rows) > 1:
            raise PersonError(
                f"{len(rows)} people were seen on that device.", "Name the person by e-mail, phone or customer id."
            )
    else:
        rows = connection.execute(
            """
            select customer_key from identity.identifiers where identifier_key = any(%s) and customer_key is not null
            union select customer_key from identity.customers where customer_key = any(%s)
            """,
            [list(person.keys), list(person.keys)],
        ).fetchall()
    return {row[0] for row in rows}


def _records(connection: Connection, person: Person, customers: set[int], before: datetime | None) -> None:
    keys = list(person.keys)
    rows = connection.execute(
        """
        select record_type, record_id, anonymous_id, %(before)s::timestamptz is not null and seen_at > %(before)s
        from identity.records
        where customer_key = any(%(customers)s) or customer_id_key = any(%(keys)s) or email_key = any(%(keys)s)
            or phone_key = any(%(keys)s) or (customer_key is null and anonymous_id = any(%(devices)s))
        """,
        {"customers": list(customers), "keys": keys, "before": before,
         "devices": [text for kind, text in person.identifiers if kind == DEVICE]},
    ).fetchall()  # fmt: skip
    devices = {row[2] for row in rows if row[2]}
    others = connection.execute(
        "select distinct anonymous_id from identity.records where anonymous_id = any(%s) and customer_key is not null "
        "and not customer_key = any(%s)",
        [list(devices), [*customers, *keys]],
    ).fetchall()
    person.identifiers |= {(DEVICE, device) for device in devices - {row[0] for row in others}}
    person.later_records = sum(row[3] for row in rows)
    for feed in FEEDS.values():
        person.records[feed.name] = sorted(row[1] for row in rows if row[0] == feed.scope and not row[3])


def _texts(connection: Connection, settings: Settings, person: Person) -> None:
    """How the records write the identifiers, in every version; with identifiers that no present version shows."""
    normaliser = Normaliser.of(settings)
    older: set[Identifier] = set()
    for feed in FEEDS.values():
        for kind in STRONG_TYPES:
            if kind not in feed.by_name:
                continue
            rows = connection.execute(
                query(
                    f"select distinct {kind}, source from raw.{feed.name} "
                    f"where {feed.key} = any(%s) and {kind} is not null"
                ),
                [person.records.get(feed.name, [])],
            ).fetchall()
            for text, source in rows:
                older.update(shown_by({kind: text, "source": source}, normaliser))
                if kind != "customer_id":  # an id may be a short number, which is in anybody's record
                    person.texts.add(text)
    person.texts |= {text for kind, text in person.identifiers if kind in {"email", "phone"}}
    kinds, texts = [kind for kind, _ in older], [text for _, text in older]
    if older and _has_identity(connection):
        rows = connection.execute(
            """
            select m.identifier_type, m.identifier, m.customer_key from unnest(%s::text[], %s::text[]) as w (kind, text)
            join state.customer_key_map as m on m.identifier_type = w.kind and m.identifier = w.text
            where not exists (select from identity.identifiers as i where i.identifier_key = m.customer_key)
            """,
            [kinds, texts],
        ).fetchall()
        person.identifiers |= {(row[0], row[1]) for row in rows}
        person.keys |= {row[2] for row in rows}
