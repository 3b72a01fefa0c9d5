"""Requests to erase a person: entered by a vendor's webhook or a command, decided on by a person.

A request holds the person's identifiers only until it is closed. :func:`enter` is what a receiver of webhooks calls.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from customer360 import warehouse
from customer360.contract.masking import masked
from customer360.contract.record_keys import record_key
from customer360.erasure import erase as erasing
from customer360.erasure.person import KINDS
from customer360.errors import Customer360Error
from customer360.progress import Progress
from customer360.settings import Settings


class RequestError(Customer360Error):
    """A request cannot be entered or decided on."""


@dataclass(frozen=True)
class Request:
    """One request to erase a person."""

    request_id: int
    requested_from: str
    reference: str
    requested_at: datetime
    state: str
    identifiers: Mapping[str, str]
    """By kind; personal data: show :attr:`shown`. Empty once the request is closed."""
    erasure_id: int | None = None
    closed_by: str | None = None
    closed_because: str | None = None

    @property
    def shown(self) -> dict[str, str]:
        """The identifiers as they may be shown."""
        return {kind: masked(text) for kind, text in self.identifiers.items()}


def enter(settings: Settings, *, requested_from: str, identifiers: Mapping[str, str], reference: str = "") -> int:
    """Enter a request; returns its number. The same request again is the one that is there.

    Args:
        requested_from: the source's name (``shopify_rest``), or what else sent it.
        identifiers: kind (customer_id, email, phone, anonymous_id or customer_key) → text, at least one. A customer_id
            is a record key: behind ``SOURCE/`` where its records have a source.
        reference: what the sender calls the request; by default, a hash of the identifiers.

    Raises:
        RequestError: nothing names a person.
    """
    named = {kind: str(text).strip() for kind, text in identifiers.items() if text is not None and str(text).strip()}
    if not named or not named.keys() <= set(KINDS):
        raise RequestError("A request must name a person.", f"Give one of {', '.join(KINDS)}.")
    whole = json.dumps([requested_from, sorted(named.items())]).encode()
    with warehouse.connect("owner", settings) as connection:
        row = connection.execute(
            """
            insert into state.erasure_requests as r (requested_from, reference, identifiers) values (%s, %s, %s)
            on conflict (requested_from, reference) do update set reference = excluded.reference
            returning request_id
            """,
            [requested_from, reference or hashlib.sha256(whole).hexdigest(), Jsonb(named)],
        ).fetchone()
    assert row is not None  # noqa: S101 - insert … returning gives a row or raises
    return int(row[0])


def of_shopify(payload: Mapping[str, Any], *, namespace: str = "") -> dict[str, str]:
    """The identifiers in the body of Shopify's webhook ``customers/redact``, for :func:`enter`.

    Args:
        namespace: the source of the shop's records, as in their record keys; empty where they have none.
    """
    customer = payload.get("customer") or {}
    key = record_key(namespace or None, str(customer["id"])) if customer.get("id") else None
    found = {"customer_id": key, "email": customer.get("email"), "phone": customer.get("phone")}
    return {kind: str(text) for kind, text in found.items() if text}


def listed(settings: Settings, request_id: int | None = None) -> list[Request]:
    """All requests, or one, oldest first."""
    with warehouse.connect("owner", settings) as connection:
        rows = connection.execute(
            """
            select request_id, requested_from, reference, requested_at, state, coalesce(identifiers, '{}'), erasure_id,
                closed_by, closed_because
            from state.erasure_requests where %s::bigint is null or request_id = %s order by request_id
            """,
            [request_id, request_id],
        ).fetchall()
    return [Request(*row) for row in rows]


def opened(settings: Settings, request_id: int) -> Request:
    """A request that nobody has decided on yet.

    Raises:
        RequestError: there is none of that number.
    """
    found = [one for one in listed(settings, request_id) if one.state == "open"]
    if not found:
        raise RequestError(f"There is no open request {request_id}.", "`c360 erase requests` lists them.")
    return found[0]


def plan(settings: Settings, request_id: int) -> erasing.Certificate:
    """What the erasure that a request asks for would remove. Raises what :func:`opened` does."""
    asked = opened(settings, request_id)
    return erasing.plan(settings, *asked.identifiers.items(), before=asked.requested_at)


def fulfil(
    settings: Settings, request_id: int, *, who: str, why: str, progress: Progress | None = None
) -> erasing.Certificate:
    """Erase the person whom a request names, and close it. Repeated after a cut, it does what is left.

    Raises what :func:`opened` and :func:`customer360.erasure.erase.erase` do.
    """
    asked = opened(settings, request_id)
    certificate = erasing.erase(
        settings, *asked.identifiers.items(), who=who, why=why, before=asked.requested_at, progress=progress
    )
    _close(settings, request_id, "erased", who, why, certificate.erasure_id)
    return certificate


def dismiss(settings: Settings, request_id: int, *, who: str, why: str) -> None:
    """Close a request without an erasure: it was none, or the law wants the records kept.

    Raises:
        RequestError: there is no such open request, or nobody says who and why.
    """
    if not who.strip() or not why.strip():
        raise RequestError("Who dismisses a request, and why, must be on record.", "Give --because (and --by).")
    opened(settings, request_id)
    _close(settings, request_id, "dismissed", who, why, None)


def _close(settings: Settings, request_id: int, state: str, who: str, why: str, erasure_id: int | None) -> None:
    with warehouse.connect("owner", settings) as connection:
        connection.execute(
            """
            update state.erasure_requests set state = %s, identifiers = null, erasure_id = %s,
                closed_at = clock_timestamp(), closed_by = %s, closed_because = %s
            where request_id = %s and state = 'open'
            """,
            [state, erasure_id, who, why, request_id],
        )
