"""What operators do about who is who: look, join, split, block, allow, and take a decision back.

A subject is named as an operator knows it: a customer_key (any that was ever published), ``email:…``, ``phone:…``,
``customer_id:…``, or a record (``order:…``, ``session:…``, ``ticket:…``). Decisions hold the writer lock, so that no
build is half-way when they are made; the next run obeys them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.identity import decisions, key_map
from customer360.identity.identifiers import STRONG_TYPES, Normaliser
from customer360.identity.staged import RECORD_TYPES
from customer360.settings import Settings
from customer360.warehouse import Connection, scalar

_MOST_MEMBERS = 40
"""Identifiers of one customer that a join holds together: the strongest. More would only repeat them."""


class UnknownSubjectError(Customer360Error):
    """Nobody is known by that name."""


def customer_of(connection: Connection, subject: str, normaliser: Normaliser) -> int:
    """The present customer that a subject stands for.

    Raises:
        UnknownSubjectError: it stands for none.
    """
    if not scalar(connection, "select to_regclass('identity.resolution') is not null"):
        raise UnknownSubjectError("Nobody is known yet: no run has been made.", "c360 run")
    kind, _, name = subject.partition(":")
    if subject.isdigit():
        key = _present(connection, int(subject))
    elif kind in RECORD_TYPES:
        key = scalar(
            connection,
            "select customer_key from identity.records where record_type = %s and record_id = %s",
            [kind, name],
        )
    else:
        key = scalar(
            connection,
            "select customer_key from identity.identifiers where identifier_key = %s",
            [identifier_of(connection, subject, normaliser)],
        )
    if key is None:
        raise UnknownSubjectError(
            f"No customer is known by that {kind if kind in (*STRONG_TYPES, *RECORD_TYPES) else 'key'}.",
            "See `c360 identity show --help` for how to name one; a blocked identifier is nobody's.",
        )
    return int(key)


def _present(connection: Connection, key: int) -> int | None:
    """The customer that a key stands for, by the tables, else by the journal."""
    present = scalar(connection, "select customer_key from identity.identifiers where identifier_key = %s", [key])
    if present is None:
        present = scalar(
            connection,
            """
            select present_customer_key from state.customer_key_crosswalk where customer_key = %s
            order by entry_id desc limit 1
            """,
            [key],
        )
    return None if present is None else int(present)


def identifier_of(connection: Connection, subject: str, normaliser: Normaliser, *, extend: bool = False) -> int:
    """The key of the identifier ``type:text``; with ``extend`` one that was never seen gets a key now.

    Raises:
        UnknownSubjectError: it was never seen, is no such identifier, or is junk.
    """
    kind, _, text = subject.partition(":")
    if kind not in STRONG_TYPES or not text:
        raise UnknownSubjectError(
            "An identifier is named by its type and itself.", "Write email:ann@shop.example, phone:… or customer_id:…"
        )
    normal = normaliser.normalise(kind, text)
    if normal is None:
        raise UnknownSubjectError(
            f"That is no usable {kind}: it cannot be normalised, or it is a placeholder and joins nobody anyway.",
            "Check how it is written. If it is somebody's, `keep` it in a list of your own: docs/identity.md.",
        )
    found = key_map.keys_of(connection, [(kind, normal)], extend=extend)
    if not found:
        raise UnknownSubjectError(f"No record ever showed that {kind}.", "Check how it is written.")
    return found[kind, normal]


def join(settings: Settings, one: str, other: str, *, decided_by: str, because: str) -> int:
    """Decide that two customers are one person; returns the decision's number.

    Raises:
        UnknownSubjectError: one of them is not known.
        Customer360Error: they are one already, or a decision that holds set them apart.
    """
    with warehouse.writer_lock(settings, who="identity join"), warehouse.connect("transformer", settings) as connection:
        normaliser = Normaliser.of(settings)
        keys = [customer_of(connection, subject, normaliser) for subject in (one, other)]
        if keys[0] == keys[1]:
            raise Customer360Error(f"Both are customer {keys[0]} already.", f"c360 identity show {keys[0]}")
        members = [_identifiers_of(connection, key) for key in keys]
        for decision in decisions.in_force(connection, about=members[0]):
            if decision.kind == "split" and any(
                not side.isdisjoint(members[0]) and not far.isdisjoint(members[1])
                for side, far in (decision.sides, decision.sides[::-1])
            ):
                raise Customer360Error(
                    f"Decision {decision.decision_id} keeps them apart (by {decision.decided_by}: {decision.because}).",
                    f"c360 identity undo {decision.decision_id} --because …",
                )
        chosen = [key for side in members for key in side[:_MOST_MEMBERS]]
        return decisions.record(connection, "join", (chosen, ()), decided_by=decided_by, because=because)


def split(settings: Settings, customer: str, apart: Sequence[str], *, decided_by: str, because: str) -> int:
    """Decide that some identifiers of a customer are another person's; returns the decision's number.

    Raises:
        UnknownSubjectError: the customer or an identifier is not known.
        Customer360Error: an identifier is not this customer's, or none would be left.
    """
    with (
        warehouse.writer_lock(settings, who="identity split"),
        warehouse.connect("transformer", settings) as connection,
    ):
        normaliser = Normaliser.of(settings)
        key = customer_of(connection, customer, normaliser)
        whole = set(_identifiers_of(connection, key))
        taken = {identifier_of(connection, subject, normaliser) for subject in apart}
        if not taken <= whole:
            raise Customer360Error(
                f"{len(taken - whole)} of these identifiers are not customer {key}'s.", f"c360 identity show {key}"
            )
        if taken == whole or not taken:
            raise Customer360Error(
                "A split leaves something on either side.", f"Name some of the identifiers: c360 identity show {key}"
            )
        return decisions.record(connection, "split", (taken, whole - taken), decided_by=decided_by, because=because)


def block(settings: Settings, identifier: str, *, allow: bool = False, decided_by: str, because: str) -> int:
    """Decide that an identifier joins nobody, or (``allow``) that it does although it looks shared.

    Raises:
        UnknownSubjectError: it is no identifier, or (``allow``) was never seen.
    """
    with (
        warehouse.writer_lock(settings, who="identity block"),
        warehouse.connect("transformer", settings) as connection,
    ):
        key = identifier_of(connection, identifier, Normaliser.of(settings), extend=not allow)
        kind = "allow" if allow else "block"
        return decisions.record(connection, kind, ((key,), ()), decided_by=decided_by, because=because)


def undo(settings: Settings, decision_id: int, *, decided_by: str, because: str) -> int:
    """Take a decision back; returns the number of the decision that does.

    Raises:
        UnknownSubjectError: no such decision holds.
    """
    with warehouse.writer_lock(settings, who="identity undo"), warehouse.connect("transformer", settings) as connection:
        if decision_id not in {decision.decision_id for decision in decisions.in_force(connection)}:
            raise UnknownSubjectError(f"No decision {decision_id} is in force.", "c360 identity decisions")
        return decisions.record(
            connection, "undo", ((), ()), decided_by=decided_by, because=because, undoes=decision_id
        )


def _identifiers_of(connection: Connection, customer_key: int) -> list[int]:
    """A customer's identifiers, strongest and oldest first."""
    rows = connection.execute(
        """
        select identifier_key from identity.identifiers where customer_key = %s
        order by array_position(array['customer_id', 'email', 'phone'], identifier_type), identifier_key
        """,
        [customer_key],
    ).fetchall()
    return [int(row[0]) for row in rows]


def explain(connection: Connection, subject: str, settings: Settings, *, reveal: bool = False) -> dict[str, Any]:
    """All that identity knows of a customer and why, as plain values. Identifiers are masked unless ``reveal``.

    Raises:
        UnknownSubjectError: nobody is known by that name.
    """
    key = customer_of(connection, subject, Normaliser.of(settings))
    identifiers = _rows(
        connection,
        """
        select i.identifier_key, i.identifier_type, i.identifier, c.records, c.first_seen_at, c.example
        from identity.identifiers as i
        cross join lateral (
            select count(*) as records, min(r.seen_at) as first_seen_at,
                (array_agg(r.record_type || ':' || r.record_id order by r.seen_at, r.record_id))[1] as example
            from identity.records as r where i.identifier_key in (r.customer_id_key, r.email_key, r.phone_key)
        ) as c
        where i.customer_key = %s
        order by array_position(array['customer_id', 'email', 'phone'], i.identifier_type), i.identifier_key
        """,
        [key],
    )
    keys = [row["identifier_key"] for row in identifiers]
    blocked = _rows(
        connection,
        """
        select * from identity.blocked_identifiers
        where identifier_key in (
            select b.identifier_key from identity.records as r
            inner join identity.identifiers as b
                on b.identifier_key in (r.customer_id_key, r.email_key, r.phone_key) and b.blocked_by is not null
            where r.customer_id_key = any (%(keys)s) or r.email_key = any (%(keys)s) or r.phone_key = any (%(keys)s)
        )
        order by identifier_key
        """,
        {"keys": keys},
    )
    if not reveal:
        for row in [*identifiers, *blocked]:
            row["identifier"] = masked(row["identifier_type"], row["identifier"])
    customer = _rows(connection, "select * from identity.customers where customer_key = %s", [key])[0]
    return {
        **customer,
        "identity_confidence": float(customer["identity_confidence"]),
        "identifiers": identifiers,
        "blocked_identifiers": blocked,
        "records_by_rule": {
            row["rule"]: row["records"]
            for row in _rows(connection, _RECORDS_BY_RULE, {"keys": keys, "customer_key": key})
        },
        "keys": _rows(connection, _KEYS, [key]),
        "decisions": [
            {"decision_id": d.decision_id, "kind": d.kind, "by": d.decided_by, "because": d.because, "at": d.decided_at}
            for d in decisions.in_force(connection, about=[*keys, *(row["identifier_key"] for row in blocked)])
        ],
    }


def blocked(connection: Connection, *, reveal: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Every identifier and device that joins nobody, with what its records show; those with most customers first.

    Identifiers are masked unless ``reveal``.

    Raises:
        UnknownSubjectError: no run has been made yet.
    """
    if not scalar(connection, "select to_regclass('identity.crowded_devices') is not null"):
        raise UnknownSubjectError("Nobody is known yet: no run has been made.", "c360 run")
    identifiers = _rows(
        connection,
        "select * from identity.blocked_identifiers order by customers desc, records desc, identifier_key",
        [],
    )
    if not reveal:
        for row in identifiers:
            row["identifier"] = masked(row["identifier_type"], row["identifier"])
    devices = _rows(connection, "select * from identity.crowded_devices order by people desc, anonymous_id", [])
    return {"identifiers": identifiers, "devices": devices}


# A customer's records are found through its identifiers, its orders and its devices: records has no index on
# customer_key, so that a merge need not touch one.
_RECORDS_BY_RULE = """
with own as (
    select record_type, record_id, anonymous_id from identity.records
    where (customer_id_key = any (%(keys)s) or email_key = any (%(keys)s) or phone_key = any (%(keys)s))
        and customer_key = %(customer_key)s
),
linked as (
    select r.record_type, r.record_id, r.anonymous_id from identity.records as r
    inner join own on own.record_type = 'order' and r.linked_order_id = own.record_id
    where r.customer_key = %(customer_key)s
),
on_device as (
    select record_type, record_id from identity.records
    where customer_key = %(customer_key)s and anonymous_id in (
        select anonymous_id from own union select anonymous_id from linked)
)
select r.rule, count(*) as records
from (
    select record_type, record_id from own union select record_type, record_id from linked union table on_device
) as found
inner join identity.records as r using (record_type, record_id)
group by r.rule order by r.rule
"""

_KEYS = """
select c.customer_key, c.reason, c.evidence, c.changed_at, c.run_id
from (
    select distinct on (customer_key) * from state.customer_key_crosswalk
    where customer_key in (select customer_key from state.customer_key_crosswalk where present_customer_key = %s)
    order by customer_key, entry_id desc
) as c
where c.present_customer_key is not null order by c.customer_key
"""


def masked(identifier_type: str, identifier: str) -> str:
    """Enough of an identifier to recognise it, not enough to use it."""
    if identifier_type == "customer_id":
        return identifier
    if identifier_type == "email":
        local, _, domain = identifier.rpartition("@")
        return f"{local[:1]}…@{domain}"
    return f"{identifier[:3]}…{identifier[-2:]}"


def _rows(connection: Connection, statement: str, parameters: Any) -> list[dict[str, Any]]:
    cursor = connection.execute(warehouse.query(statement), parameters)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
