"""The feeds as data: what a producer may land, field by field, and all that the product knows of a feed.

This is the machine's copy of the public contract (docs/feeds.md). Readers, gates, raw tables and exports derive from
its fields; dirty keys, staging, identity, retention, verification, freshness and incidents from the rest of a
:class:`Feed`. docs/add-a-feed.md takes a new one from here to a published table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from customer360.errors import Customer360Error


class UnknownFeedError(Customer360Error):
    """There is no feed of that name."""

    exit_code = 2


Kind = Literal["text", "time", "money", "number", "integer", "boolean", "array"]

# A B-tree page holds an index entry of at most 2,704 bytes; 512 characters of four bytes stay below it. Every text
# that raw or identity indexes is held to this, so that one absurd identifier cannot fail a whole batch.
INDEXED_TEXT_LIMIT = 512

SOURCE_FORM = "[a-z0-9_-]{1,40}"
"""Regular expression of a source: it stands before a slash in record keys, so it holds none."""


@dataclass(frozen=True)
class Limits:
    """What a number or a time may be: what the narrowest column, sum, product and rounding behind the door can hold.

    tests/pipeline/test_limits.py takes the extreme values of every field, and their neighbours, to publication.
    """

    least: Decimal | None = None
    """The smallest value that is allowed."""
    most: Decimal | None = None
    """The greatest value that is allowed."""
    below: Decimal | None = None
    """The smallest value that is too large."""
    decimals: int | None = None
    """Digits after the point that are kept."""
    is_rounded: bool = False
    """Further decimals are rounded away; else a value that has them is refused."""
    days_ahead: int = 1
    """How many days after the landing of its batch a time may lie."""


# Published amounts have 24 digits before the point: ten thousand million in a currency, times a rate of at most a
# million, times a hundred million records, still fits.
_SIZE = Decimal(10) ** 10
MONEY = Limits(least=Decimal(0), below=_SIZE, decimals=4)
# The price of one piece of something sold by the gram has more decimals than money; a fee given back is negative.
UNIT_PRICE = Limits(least=-_SIZE + Decimal("0.000001"), below=_SIZE, decimals=6, is_rounded=True)
PIECE_PRICE = Limits(least=Decimal(0), below=_SIZE, decimals=6, is_rounded=True)
REFUND_TOLERANCE = Decimal("0.05")
"""By so much, in the currency of the order, refunds may exceed the total: the sum of rounded parts …"""
REFUND_TOLERANCE_SHARE = Decimal("0.001")
"""… or by this share of it, where a currency counts in thousands."""
LINE_AMOUNT = _SIZE
"""A quantity times any price of its line is smaller than this."""
# A smaller quantity is 0 in tables with six decimals, and a discount divided by it has no bounds.
QUANTITY = Limits(least=Decimal("0.000001"), most=Decimal(10) ** 6, decimals=6, is_rounded=True)
RETURNED = Limits(least=Decimal(0), most=Decimal(10) ** 6, decimals=6, is_rounded=True)
COUNT = Limits(least=Decimal(0), most=Decimal(10) ** 9)
SCORE = Limits(least=Decimal(0))
# Trackers measure engagement in milliseconds; what is finer is noise.
SECONDS = Limits(least=Decimal(0), most=Decimal(86_400), decimals=3, is_rounded=True)
PAST = Limits(days_ahead=1)
PROMISE = Limits(days_ahead=3660)


@dataclass(frozen=True)
class Field:
    """One field of a feed, or of an element of an array."""

    name: str
    kind: Kind
    required: bool = False
    choices: tuple[str, ...] = ()
    """Compared without regard to case."""
    aliases: tuple[tuple[str, str], ...] = ()
    """What is read as one of the choices: (as written, in upper case; as meant)."""
    max_length: int | None = None
    is_id: bool = False
    """Trimmed of white space, brought to NFC, and missing when nothing is left."""
    is_personal: bool = False
    """Its values are masked wherever they are shown."""
    is_free_text: bool = False
    """It is published, and people or systems write into it what they like: e-mail addresses, phone and card numbers in
    it are masked on the way to marts, and found at the door as a warning."""
    is_address: bool = False
    """It is a page's address: its query, fragment and log-in are not published."""
    form: str = ""
    """A regular expression that the whole text must match; empty: any text."""
    form_in_words: str = ""
    is_decisive: bool = False
    """Without it the record would mean something else (another shop's order, a record not deleted): a value that
    cannot be used quarantines the record, although the field is optional."""
    limits: Limits | None = None
    default_from: str = ""
    """The field whose value it has where it says nothing itself."""
    elements: tuple[Field, ...] = ()
    """Fields of one element, when kind is ``array``."""
    counted: str = ""
    """Elements that have 0 of this are no elements: they are left out."""
    once_by: str = ""
    """Elements that have the same of this are one element."""

    @property
    def costs_record(self) -> bool:
        """Whether a value that cannot be used costs the whole record, and not this field alone.

        A required field does, and so does money: an order without its tax or its refunds would be counted wrongly.
        A decisive field does too.
        """
        return self.required or self.is_decisive or self.kind == "money" or self.name == "refunds"

    @property
    def elements_cost_record(self) -> bool:
        """Whether an element that cannot be used costs the whole record, and not this array alone: money does."""
        return self.costs_record or any(element.kind in {"money", "number"} for element in self.elements)

    @cached_property
    def element_names(self) -> frozenset[str]:
        """Names of the fields that an element of this array may have."""
        return frozenset(element.name for element in self.elements)


@dataclass(frozen=True)
class Feed:
    """One feed: its fields in the order of its raw table, and what every other part of the product asks about it."""

    name: str
    id_field: str
    fields: tuple[Field, ...]
    someone: tuple[str, ...]
    """At least one of these must be there; otherwise the record belongs to no customer."""
    scope: str
    """What one record is called: the scope of its key in ``ops.dirty``, and its record type in schema identity."""
    fact: str
    """The published table with one row per record."""
    seen_at: str
    """When the record began (ordered, started, created). It never changes, and dates the identifiers it shows."""
    known_from: str
    """When a record of a backfill became known."""
    own_times: tuple[str, ...]
    """All times that a record speaks of; an element of an array as ``refunds[].refunded_at``. A backfilled record is
    known whole after the last of them."""
    owner: tuple[str, ...]
    """Fields that say whose record it is. A version that changes these and ``seen_at`` is another record under the
    same id."""
    event_time: str
    """The column of the published table by which the freshness of its events is measured."""
    objective_minutes: Mapping[str, int]
    """Freshness objectives: ``landing`` of the feed, ``publication`` and ``event`` of its published table."""
    tier: int
    """1 wakes people: money. 2 waits for the morning."""
    more_tables: tuple[str, ...] = ()
    """Other published tables that a feed fills beside its fact table and customer_360."""
    has_dated_status: bool = True
    """Whether the status of a backfilled record is that of ``updated_at``; False: it has no status."""
    built_into: str = ""
    """The feed whose records are built from this one's, as sessions are from events: identity and the facts know
    those alone. Empty: each record of the feed stands for itself, and has a row in ``fact``."""

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """Fields by name."""
        return {field.name: field for field in self.fields}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Columns without which a whole batch is refused."""
        return tuple(field.name for field in self.fields if field.required)

    @cached_property
    def raw_columns(self) -> tuple[str, ...]:
        """Columns of ``raw.<feed>`` that a load writes, in order; the record key is the warehouse's own."""
        return ("batch_id", "row_number", *(field.name for field in self.fields), "extra")

    @property
    def key(self) -> str:
        """The column of the record key: (source, id) as one text (:mod:`customer360.contract.record_keys`)."""
        return f"{self.scope}_key"

    @property
    def staged(self) -> str:
        """The staging model: one row per record, its latest version."""
        return f"stg_{self.name}"

    @property
    def frozen(self) -> str:
        """The table of the records that raw has archived."""
        return f"state.frozen_{self.name}"

    @property
    def published(self) -> tuple[str, ...]:
        """Published tables that are wrong or late when this feed is."""
        return tuple(f"marts.{name}" for name in (self.fact, *self.more_tables, "customer_360"))

    @cached_property
    def for_models(self) -> dict[str, Any]:
        """What the models' macros know of the feed (dbt variable ``feeds``)."""
        return {
            "scope": self.scope,
            "key": self.key,
            "id": self.id_field,
            "fact": self.fact,
            "seen_at": self.seen_at,
            "known_from": self.known_from,
            "owner": list(self.owner),
            "has_dated_status": self.has_dated_status,
            "built_into": self.built_into,
        }


# ISO 3166-1 alpha-2, officially assigned.
_COUNTRIES_TEXT = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = tuple(_COUNTRIES_TEXT.split())

# ISO 4217 codes of money in circulation, and those withdrawn since 1995, which old orders still name.
_CURRENCIES_TEXT = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHE
    CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ
    GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL
    LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR
    PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY
    TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG ADP ATS BEF
    BYR CSD CUC CYP DEM ECS EEK ESP FIM FRF GHC GRD HRK IEP ITL LTL LUF LVL MGF MRO MTL MZM NLG PLZ PTE ROL RUR SDD
    SIT SKK SLL SRG STD TMM TRL VEB VEF YUM ZMK ZWD ZWL
"""
CURRENCIES = tuple(_CURRENCIES_TEXT.split())

SATISFACTION_SCALES = (1, 3, 5, 7, 10, 100)


def _text(name: str, **options: object) -> Field:
    return Field(name, "text", **options)  # type: ignore[arg-type]


def _identifier(name: str, *, required: bool = False, personal: bool = True, limit: int = INDEXED_TEXT_LIMIT) -> Field:
    return Field(name, "text", required=required, max_length=limit, is_id=True, is_personal=personal)


def _time(name: str, *, required: bool = False, limits: Limits = PAST) -> Field:
    return Field(name, "time", required=required, limits=limits)


def _money(name: str, *, required: bool = False) -> Field:
    return Field(name, "money", required=required, limits=MONEY)


def _number(name: str, limits: Limits, *, required: bool = False) -> Field:
    return Field(name, "number", required=required, limits=limits)


def _count(name: str, *, required: bool = False) -> Field:
    return Field(name, "integer", required=required, limits=COUNT)


_ITEM = (
    _text("sku", is_id=True),
    _text("category", is_free_text=True),
    _text("brand", is_free_text=True),
    _number("quantity", QUANTITY, required=True),
    _number("unit_price", UNIT_PRICE, required=True),
    _number("list_price", PIECE_PRICE),
    _number("unit_cost", PIECE_PRICE),
    _number("discount_amount", PIECE_PRICE),
    _number("returned_quantity", RETURNED),
)
_REFUND = (
    _text("refund_id", is_id=True),
    _time("refunded_at"),
    _money("amount", required=True),
    _text("reason", is_free_text=True),
    _text("sku", is_id=True),
)
_PREFERENCE = (
    _text("channel", required=True, choices=("email", "sms", "phone", "post")),
    Field("allowed", "boolean"),
    Field("preferred", "boolean"),
    _time("stated_at"),
)
# What every feed may say since version 1.1 (docs/decisions/0015).
_ANY_RECORD = (
    Field(
        "source",
        "text",
        form=SOURCE_FORM,
        form_in_words="1 to 40 of a-z, 0-9, _ and -",
        is_decisive=True,
    ),
    Field("deleted", "boolean", is_decisive=True),
)
_PREFERENCES = Field("contact_preferences", "array", elements=_PREFERENCE)

ORDERS = Feed(
    "orders",
    "order_id",
    (
        _identifier("order_id", required=True, personal=False, limit=128),
        _time("updated_at", required=True),
        _time("ordered_at", required=True),
        _text("status", required=True, choices=("placed", "paid", "shipped", "delivered", "cancelled", "returned")),
        _text("currency", required=True, choices=CURRENCIES),
        _money("total_amount", required=True),
        _money("discount_amount"),
        _money("shipping_amount"),
        _money("tax_amount"),
        _identifier("customer_id"),
        _identifier("email"),
        _identifier("phone"),
        _identifier("anonymous_id"),
        Field("items", "array", elements=_ITEM, counted="quantity"),
        Field("refunds", "array", elements=_REFUND, once_by="refund_id"),
        _time("promised_delivery_at", limits=PROMISE),
        _time("delivered_at"),
        _text("sales_channel", choices=("web", "app", "store", "phone", "marketplace")),
        _text("payment_method", is_free_text=True),
        _text("coupon_code", is_free_text=True),
        _text("country", choices=COUNTRIES, aliases=(("UK", "GB"),)),
        _text("region", is_free_text=True),
        *_ANY_RECORD,
        _PREFERENCES,
    ),
    someone=("customer_id", "email", "phone", "anonymous_id"),
    scope="order",
    fact="fct_orders",
    more_tables=("fct_order_items", "fct_refunds"),
    seen_at="ordered_at",
    known_from="ordered_at",
    own_times=("ordered_at", "updated_at", "delivered_at", "refunds[].refunded_at"),
    owner=("customer_id", "email", "phone"),
    event_time="updated_at",
    objective_minutes={"landing": 1440, "publication": 15, "event": 2880},
    tier=1,
)

WEB_SESSIONS = Feed(
    "web_sessions",
    "session_id",
    (
        _identifier("session_id", required=True, personal=False),
        _time("updated_at", required=True),
        _identifier("anonymous_id", required=True),
        _time("started_at", required=True),
        _time("ended_at", required=True),
        _count("page_views", required=True),
        _count("product_views"),
        _count("searches"),
        _count("add_to_carts"),
        _count("checkouts_started"),
        _count("engaged_seconds"),
        _identifier("customer_id"),
        _identifier("email"),
        _identifier("order_id", personal=False),
        _text("device_type", choices=("desktop", "mobile", "tablet", "app", "other")),
        _text("country", is_free_text=True),
        _text("landing_page", is_personal=True, is_free_text=True, is_address=True),
        _text("referrer", is_personal=True, is_free_text=True, is_address=True),
        _text("utm_source", is_free_text=True),
        _text("utm_medium", is_free_text=True),
        _text("utm_campaign", is_free_text=True),
        *_ANY_RECORD,
        _PREFERENCES,
    ),
    someone=("anonymous_id",),
    scope="session",
    fact="fct_sessions",
    seen_at="started_at",
    known_from="ended_at",
    own_times=("ended_at", "updated_at"),
    owner=("anonymous_id",),
    event_time="ended_at",
    objective_minutes={"landing": 1440, "publication": 15, "event": 2880},
    tier=2,
    has_dated_status=False,
)

SUPPORT_TICKETS = Feed(
    "support_tickets",
    "ticket_id",
    (
        _identifier("ticket_id", required=True, personal=False),
        _time("updated_at", required=True),
        _time("created_at", required=True),
        _text("status", required=True, choices=("new", "open", "pending", "solved", "closed")),
        _text("channel", required=True, choices=("email", "phone", "chat", "web", "social", "store")),
        _text(
            "category",
            required=True,
            choices=("complaint", "question", "return", "delivery", "payment", "product", "other"),
        ),
        _identifier("customer_id"),
        _identifier("email"),
        _identifier("phone"),
        _text("priority", choices=("low", "normal", "high", "urgent")),
        _time("first_response_at"),
        _time("resolved_at"),
        _count("replies"),
        _count("reopens"),
        _identifier("order_id", personal=False),
        _number("satisfaction_score", SCORE),
        Field("satisfaction_scale_max", "number"),
        _money("compensation_amount"),
        _text("currency", choices=CURRENCIES),
        _text("subject", is_personal=True),
        _text("body", is_personal=True),
        *_ANY_RECORD,
        _PREFERENCES,
    ),
    someone=("customer_id", "email", "phone"),
    scope="ticket",
    fact="fct_tickets",
    seen_at="created_at",
    known_from="created_at",
    own_times=("created_at", "updated_at", "first_response_at", "resolved_at"),
    owner=("customer_id", "email", "phone"),
    event_time="updated_at",
    objective_minutes={"landing": 2880, "publication": 15, "event": 4320},
    tier=2,
)

WEB_EVENTS = Feed(
    "web_events",
    "event_id",
    (
        _identifier("event_id", required=True, personal=False),
        Field("updated_at", "time", limits=PAST, default_from="occurred_at"),
        _time("occurred_at", required=True),
        _identifier("anonymous_id", required=True),
        _text("name", required=True),
        _identifier("session_id", personal=False),
        _text("page_url", is_personal=True, is_free_text=True, is_address=True),
        _text("referrer", is_personal=True, is_free_text=True, is_address=True),
        _text("utm_source", is_free_text=True),
        _text("utm_medium", is_free_text=True),
        _text("utm_campaign", is_free_text=True),
        _identifier("customer_id"),
        _identifier("email"),
        _identifier("order_id", personal=False),
        _text("device_type", choices=("desktop", "mobile", "tablet", "app", "other")),
        _text("country", is_free_text=True),
        _text("user_agent"),
        _number("engaged_seconds", SECONDS),
        Field("is_internal", "boolean"),
        Field("is_bot", "boolean"),
        *_ANY_RECORD,
    ),
    someone=("anonymous_id",),
    scope="event",
    fact="fct_sessions",
    built_into="web_sessions",
    more_tables=("order_attribution",),
    seen_at="occurred_at",
    known_from="occurred_at",
    own_times=("occurred_at", "updated_at"),
    owner=("anonymous_id",),
    event_time="ended_at",
    objective_minutes={"landing": 1440},
    tier=2,
    has_dated_status=False,
)

FEEDS: dict[str, Feed] = {feed.name: feed for feed in (ORDERS, WEB_SESSIONS, SUPPORT_TICKETS, WEB_EVENTS)}
"""The feeds by name. Their order numbers the record types in identity: a new feed is added at the end."""

RECORD_FEEDS: dict[str, Feed] = {name: feed for name, feed in FEEDS.items() if not feed.built_into}
"""The feeds with a row in identity and in a fact table for each record."""


def feed_named(name: str) -> Feed:
    """The feed that a person names.

    Raises:
        UnknownFeedError: there is none of that name.
    """
    if name not in FEEDS:
        raise UnknownFeedError(f"There is no feed {name!r}.", f"Choose one of: {', '.join(FEEDS)}.")
    return FEEDS[name]
