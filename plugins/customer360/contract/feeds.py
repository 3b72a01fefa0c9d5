"""The three feeds as data: what a producer may land, field by field.

This is the machine's copy of the public contract (docs/feeds.md). Readers, gates, raw tables and exports all derive
from it, so a new optional field is added here, in a migration, and nowhere else at the front door.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Literal

from customer360.errors import Customer360Error


class UnknownFeedError(Customer360Error):
    """There is no feed of that name."""

    exit_code = 2


Kind = Literal["text", "time", "money", "number", "integer", "array"]
FeedName = Literal["orders", "web_sessions", "support_tickets"]

# A B-tree page holds an index entry of at most 2,704 bytes; 512 characters of four bytes stay below it. Every text
# that raw or identity indexes is held to this, so that one absurd identifier cannot fail a whole batch.
INDEXED_TEXT_LIMIT = 512


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
    limits: Limits | None = None
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
        """
        return self.required or self.kind == "money" or self.name == "refunds"

    @cached_property
    def element_names(self) -> frozenset[str]:
        """Names of the fields that an element of this array may have."""
        return frozenset(element.name for element in self.elements)


@dataclass(frozen=True)
class Feed:
    """One feed: its fields in the order of its raw table."""

    name: FeedName
    id_field: str
    fields: tuple[Field, ...]
    someone: tuple[str, ...]
    """At least one of these must be there, or nobody can be told whose record it is."""

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
        """Columns of ``raw.<feed>`` in order."""
        return ("batch_id", "row_number", *(field.name for field in self.fields), "extra")


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
    _text("category"),
    _text("brand"),
    _number("quantity", QUANTITY, required=True),
    _number("unit_price", UNIT_PRICE, required=True),
    _number("list_price", PIECE_PRICE),
    _number("unit_cost", PIECE_PRICE),
    _number("discount_amount", PIECE_PRICE),
    _number("returned_quantity", RETURNED),
)
_REFUND = (_text("refund_id", is_id=True), _time("refunded_at"), _money("amount", required=True), _text("reason"))

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
        _text("payment_method"),
        _text("coupon_code"),
        _text("country", choices=COUNTRIES, aliases=(("UK", "GB"),)),
        _text("region"),
    ),
    someone=("customer_id", "email", "phone", "anonymous_id"),
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
        _text("country"),
        _text("landing_page", is_personal=True),
        _text("referrer", is_personal=True),
        _text("utm_source"),
        _text("utm_medium"),
        _text("utm_campaign"),
    ),
    someone=("anonymous_id",),
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
    ),
    someone=("customer_id", "email", "phone"),
)

FEEDS: dict[str, Feed] = {feed.name: feed for feed in (ORDERS, WEB_SESSIONS, SUPPORT_TICKETS)}


def feed_named(name: str) -> Feed:
    """The feed that a person names.

    Raises:
        UnknownFeedError: there is none of that name.
    """
    if name not in FEEDS:
        raise UnknownFeedError(f"There is no feed {name!r}.", f"Choose one of: {', '.join(FEEDS)}.")
    return FEEDS[name]
