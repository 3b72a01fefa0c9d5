"""How each vendor shows that a request is its own: checked over the raw body, in constant time.

Sources, as read in November 2026:

- Shopify: shopify.dev/docs/apps/build/webhooks/verify-deliveries (base64 of HMAC-SHA256 of the body with the app's
  client secret in ``X-Shopify-Hmac-SHA256``; ``X-Shopify-Webhook-Id`` is the same in every retry).
- WooCommerce: ``WC_Webhook::generate_signature`` and ``deliver_ping`` of woocommerce/woocommerce (base64 of HMAC-SHA256
  in ``X-WC-Webhook-Signature``; the delivery id is a hash of webhook and second, so two orders of one second share it;
  the ping of a webhook that was just saved is a form without a signature and must be answered with 200).
- Zendesk: developer.zendesk.com/documentation/webhooks/verifying (base64 of HMAC-SHA256 of timestamp and body) and
  …/anatomy-of-a-webhook-request (the invocation id). It is the only one of the four that signs a time.
- Segment: ``actions-webhook`` of segmentio/action-destinations (hex of HMAC-SHA1 in ``X-Signature``, of the first event
  of a batch alone; in ``X-Segment-Signature`` of the whole body). A batch under the first kind is refused, as it must
  be.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

Headers = Mapping[str, str]


class Refused(Exception):
    """A request that is not taken. Its text may be sent to the other side: it holds no secret and no value."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@dataclass(frozen=True)
class Scheme:
    """How a request is proved to be genuine, and what it is known by if it comes again."""

    title: str
    """In a few words, for `c360 receive`."""
    signature_headers: tuple[str, ...] = ()
    """The first of them that is there counts; none: a bearer token."""
    digest: str = "sha256"
    written: Callable[[bytes], str] = _base64
    timestamp_header: str = ""
    """Where the vendor signs a time: the header that states it."""
    delivery_header: str = "idempotency-key"
    delivery_field: str = ""
    """Where the event itself carries its delivery id."""
    topic_header: str = ""
    topic_prefix: str = ""
    """Other topics are refused: their bodies are other records."""
    ping: re.Pattern[bytes] | None = None
    """A request without a signature that only asks whether somebody is there."""
    unwrapped: str = ""
    """The field of an event that holds the record."""

    def check(
        self, headers: Headers, body: bytes, secrets: Iterable[bytes], *, now: datetime, window_seconds: int
    ) -> None:
        """Return if the request was signed with one of the secrets.

        Raises:
            Refused: it was not (401).
        """
        if not self.signature_headers:
            _check_bearer(headers, secrets)
            return
        given = next((headers[name] for name in self.signature_headers if name in headers), None)
        if given is None:
            raise Refused(401, f"the header {self.signature_headers[0]} is missing")
        timestamp = headers.get(self.timestamp_header, "") if self.timestamp_header else ""
        signed = timestamp.encode() + body
        # Every secret is tried, so that the time taken does not say which one fitted.
        fits = [
            hmac.compare_digest(
                self.written(hmac.new(secret, signed, getattr(hashlib, self.digest)).digest()).encode(),
                given.strip().encode("utf-8", "replace"),
            )
            for secret in secrets
        ]
        if not any(fits):
            raise Refused(401, "the signature does not fit the body")
        if self.timestamp_header:
            _check_window(timestamp, now, window_seconds)

    def delivery_id(self, headers: Headers) -> str:
        """What the sender calls this delivery; empty if it says nothing."""
        return headers.get(self.delivery_header, "") if self.delivery_header else ""

    def check_topic(self, headers: Headers) -> None:
        """Return if the request is about records of the source.

        Raises:
            Refused: it is about others (400).
        """
        topic = headers.get(self.topic_header, "") if self.topic_header else ""
        if topic and not topic.startswith(self.topic_prefix):
            raise Refused(400, f"only topics that begin with {self.topic_prefix} are read here")


def _check_bearer(headers: Headers, secrets: Iterable[bytes]) -> None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    given = token.strip().encode("utf-8", "replace")
    fits = [hmac.compare_digest(secret, given) for secret in secrets]
    if kind.lower() != "bearer" or not any(fits):
        raise Refused(401, "the bearer token is missing or wrong")


def _check_window(timestamp: str, now: datetime, window_seconds: int) -> None:
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        raise Refused(401, "the time of the signature is unreadable") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if abs((now - moment).total_seconds()) > window_seconds:
        raise Refused(401, f"the signature is of more than {window_seconds} seconds before or after now")


BEARER = Scheme("Authorization: Bearer TOKEN")
SCHEMES = {
    "shopify_rest": Scheme(
        "the client secret of the app, or the secret that Settings, Notifications, Webhooks shows",
        ("x-shopify-hmac-sha256",),
        delivery_header="x-shopify-webhook-id",
        topic_header="x-shopify-topic",
        topic_prefix="orders/",
    ),
    "woocommerce": Scheme(
        "the Secret field of the webhook",
        ("x-wc-webhook-signature",),
        delivery_header="x-wc-webhook-delivery-id",
        topic_header="x-wc-webhook-topic",
        topic_prefix="order.",
        ping=re.compile(rb"webhook_id=\d{1,20}"),
    ),
    "zendesk": Scheme(
        "the signing secret of the webhook",
        ("x-zendesk-webhook-signature",),
        timestamp_header="x-zendesk-webhook-signature-timestamp",
        delivery_header="x-zendesk-webhook-invocation-id",
        unwrapped="detail",
    ),
    "segment": Scheme(
        "the Shared Secret of the Webhooks (Actions) destination",
        ("x-segment-signature", "x-signature"),
        digest="sha1",
        written=bytes.hex,
        delivery_header="",
        delivery_field="messageId",
    ),
}
"""Sources whose vendor signs. Everything else is sent with a bearer token."""


def scheme_of(source: str) -> Scheme:
    """How requests for a source or feed are proved to be genuine."""
    return SCHEMES.get(source, BEARER)
