"""Who the customers are: their temper, their addresses, and under which of them each record shows them.

Everything that people share (a household's tablet, a landline, a phone number passed on) is shared within one chunk of
consecutive people, so that chunks can be made one after another, in bounded memory, with the same outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from customer360.sample.calendar import DAY, Calendar
from customer360.sample.catalogue import COUNTRIES, REGIONS_BEFORE
from customer360.sample.columns import NEVER, Bools, Floats, Ints, joined, numbered

FIRST_NAMES = (
    "Maria", "James", "Aisha", "Wei", "Lucas", "Emma", "Noah", "Olivia", "Liam", "Sofia", "Mateo", "Hannah", "Jonas",
    "Chloé", "Amélie", "Björn", "Yusuf", "Priya", "Arjun", "Mei", "Kenji", "Fatima", "Omar", "Grace", "Ethan", "Nora",
    "Diego", "Elena", "Ivan", "Zoë", "Jürgen", "Anna", "Peter", "Ruth", "Samuel", "Leah", "Victor", "Clara", "Hugo",
    "Ines",
)  # fmt: skip
LAST_NAMES = (
    "Lopez", "Smith", "Khan", "Chen", "Silva", "Müller", "Johnson", "Brown", "Davis", "Garcia", "Martin", "Schmidt",
    "Dubois", "Lefèvre", "Andersson", "Yilmaz", "Patel", "Sharma", "Tanaka", "Nguyen", "Haddad", "Okafor", "Miller",
    "Wilson", "Moore", "Taylor", "Thomas", "Jackson", "White", "Harris", "Clark", "Lewis", "Young", "Walker", "Hall",
    "King", "Wright", "Scott", "Green", "Baker", "Adams", "Nelson", "Hill", "Campbell", "Mitchell", "Roberts", "Carter",
    "Weber",
)  # fmt: skip
# The top-level domain .example is reserved (RFC 2606): no address of the sample can be anybody's.
MAIL_DOMAINS = ("inbox.example", "post.example", "mail.example", "letters.example", "quickmail.example")

MAIN, CHANGED, WORK, TYPO, FAMILY = range(5)
EMAIL_SLOTS = 5
PHONE_SLOTS = 4
LANDLINE = 2
MOBILE, DESKTOP, TABLET, APP, AFTER_RESET, HOUSEHOLD_TABLET = range(6)
DEVICE_SLOTS = 6
SLOT_DEVICE_TYPE = ("mobile", "desktop", "tablet", "app", "mobile", "tablet")
JUNK_EMAILS = ("test@test.com", "n/a", "none@none.com", "noemail@example.com")
JUNK_PHONES = ("0000000000", "1111111111", "n/a")
TILL_EMAILS = tuple(f"store{n:02d}@shop.example" for n in range(1, 9))
"""What a till sends for a customer who gives no address: one address, hundreds of people."""

_AREA_CODES = (
    212, 213, 206, 305, 312, 404, 415, 503, 512, 602, 617, 702, 713, 718, 720, 808, 816, 901, 919, 214, 215, 216, 303,
    313, 314, 317, 410, 412, 414, 502, 504, 505, 513, 515, 520, 559, 608, 612, 614, 615, 619, 650, 651, 704, 716, 757,
    801, 803, 804, 813,
)  # fmt: skip
_AREA_CODES_CANADA = (403, 416, 514, 519, 604, 613, 780, 902, 905)
_EXCHANGES = np.array([e for e in range(200, 1000) if e % 100 != 11 and e != 555])
_SPREAD = 7_654_321
"""Prime and no divisor of any count of numbers below, so that code × it, modulo the count, never repeats."""


@dataclass(frozen=True)
class IdentityRates:
    """How often lives get complicated, as shares of the people (of the records, where said)."""

    household: float = 0.25
    household_tablet: float = 0.4
    household_landline: float = 0.05
    household_email: float = 0.0
    email_changed: float = 0.04
    phone_changed: float = 0.03
    work_email: float = 0.08
    cookies_cleared: float = 0.3
    second_account: float = 0.005
    recycled_phone: float = 0.0
    typo_per_record: float = 0.002
    junk_per_record: float = 0.002
    till_email_per_store_order: float = 0.0


EASY = IdentityRates()
HARD = IdentityRates(
    household=0.4,
    household_tablet=0.6,
    household_landline=0.35,
    household_email=0.06,
    email_changed=0.12,
    phone_changed=0.08,
    work_email=0.15,
    cookies_cleared=0.5,
    second_account=0.03,
    recycled_phone=0.01,
    typo_per_record=0.015,
    junk_per_record=0.01,
    till_email_per_store_order=0.15,
)


@dataclass
class People:
    """A chunk of people, one array entry each. Codes of e-mails, phones and devices are slot × people + person."""

    first_number: int
    rates: IdentityRates
    country: Ints
    region: Ints
    is_established: Bools
    joined_even_day: Floats
    order_rate: Floats
    dropout: Floats
    visit_rate: Floats
    favourite: Ints
    second_favourite: Ints
    brand_loyalty: Floats
    promotion_taste: Floats
    account_ordinal: Ints
    second_account_ordinal: Ints
    email_changed_at: Ints
    phone_changed_at: Ints
    cookies_cleared_at: Ints
    has_work_email: Bools
    household_head: Ints
    has_household_tablet: Bools
    has_household_landline: Bools
    has_household_email: Bools
    phone_from: Ints
    first_name: Ints
    last_name: Ints
    account_since: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    second_account_since: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def count(self) -> int:
        """Number of people in the chunk."""
        return len(self.country)

    @property
    def numbers(self) -> Ints:
        """The people's numbers in the whole sample."""
        return self.first_number + np.arange(self.count)


@dataclass(frozen=True)
class Identity:
    """Under which identifiers each record of a set shows its person: codes, -1 where it shows none.

    ``email_form`` and ``phone_form`` say how the person typed it.
    """

    account: Ints
    email: Ints
    email_form: Ints
    phone: Ints
    phone_form: Ints
    device: Ints


def make_people(
    rng: np.random.Generator,
    first_number: int,
    count: int,
    calendar: Calendar,
    yearly_orders: float,
    rates: IdentityRates,
) -> People:
    """People with gamma-distributed order rates and beta-distributed dropout, as BG/NBD supposes (Fader et al. 2005).

    55 % were customers before the sample begins; the others join during it. 4 % never order: they only look around.
    """
    n = count
    established = rng.random(n) < 0.55
    buyer = rng.random(n) >= 0.04
    shape = 1.1
    order_rate = np.where(buyer, rng.gamma(shape, yearly_orders / 365 / shape, n), 0.0)
    head = np.arange(n)
    in_household = rng.random(n) < rates.household
    # A household is a run of up to four consecutive people, all of them marked.
    for back in (1, 2, 3):
        follows = in_household & np.roll(in_household, back) & (np.arange(n) % 4 >= back)
        head = np.where(follows & (head == np.arange(n) - (back - 1)), np.arange(n) - back, head)
    country = rng.choice(len(COUNTRIES), n, p=[c.share for c in COUNTRIES])
    region = rng.integers(0, np.array([len(c.regions) for c in COUNTRIES])[country]) + REGIONS_BEFORE[country]
    last_name = rng.integers(0, len(LAST_NAMES), n)

    def some_time(share: float) -> Ints:
        when = rng.integers(calendar.start, calendar.end, n)
        return np.where(rng.random(n) < share, when, NEVER)

    never = np.int64(1_000_000)
    luck = rng.random(n)
    account_ordinal = np.where(luck < 0.72, 0, np.where(luck < 0.88, rng.integers(1, 5, n), never))
    has_second = (rng.random(n) < rates.second_account) & (account_ordinal < never)
    tablet, landline, mailbox = (rng.random(n) for _ in range(3))
    shared_with = head != np.arange(n)
    is_shared = shared_with | np.isin(np.arange(n), head[shared_with])
    people = People(
        first_number=first_number,
        rates=rates,
        country=country[head],
        region=region[head],
        is_established=established,
        joined_even_day=np.where(established, 0.0, rng.random(n) * calendar.days),
        order_rate=order_rate,
        dropout=rng.beta(0.7, 8.0, n),
        visit_rate=order_rate * rng.lognormal(-0.15, 0.4, n) + rng.gamma(1.0, 1.5 / 365, n),
        favourite=rng.integers(0, 12, n),
        second_favourite=rng.integers(0, 12, n),
        brand_loyalty=rng.beta(1.2, 1.2, n),
        promotion_taste=rng.beta(0.6, 2.2, n),
        account_ordinal=account_ordinal,
        second_account_ordinal=np.where(has_second, account_ordinal + rng.integers(1, 4, n), never),
        email_changed_at=some_time(rates.email_changed),
        phone_changed_at=some_time(rates.phone_changed),
        cookies_cleared_at=some_time(rates.cookies_cleared),
        has_work_email=rng.random(n) < rates.work_email,
        household_head=head,
        has_household_tablet=is_shared & (tablet[head] < rates.household_tablet),
        has_household_landline=is_shared & (landline[head] < rates.household_landline),
        has_household_email=is_shared & (mailbox[head] < rates.household_email),
        phone_from=np.arange(n),
        first_name=rng.integers(0, len(FIRST_NAMES), n),
        last_name=last_name[head],
    )
    _recycle_phones(rng, people, calendar)
    return people


def _recycle_phones(rng: np.random.Generator, people: People, calendar: Calendar) -> None:
    """Newcomers get a number that somebody gave up at least 30 days before."""
    wanted = int(people.count * people.rates.recycled_phone)
    joined_at = calendar.real(people.joined_even_day)
    newcomers = np.flatnonzero(~people.is_established & (joined_at - calendar.start > 90 * DAY))
    donors = np.flatnonzero(people.is_established & (people.phone_changed_at == NEVER))
    pairs = min(wanted, len(newcomers), len(donors))
    if not pairs:
        return
    to = rng.choice(newcomers, pairs, replace=False)
    given_by = rng.choice(donors, pairs, replace=False)
    people.phone_changed_at[given_by] = rng.integers(calendar.start + 15 * DAY, joined_at[to] - 30 * DAY)
    people.phone_from[to] = given_by
    people.phone_changed_at[to] = NEVER


def identify(
    rng: np.random.Generator, people: People, person: Ints, at: Ints, *, account: Floats, email: Floats, phone: Floats
) -> Identity:
    """Under which identifiers the people show up at these times.

    ``account``, ``email`` and ``phone`` are the probabilities that a record carries one, where the person has one.
    A device is not chosen here.
    """
    n, size = people.count, len(person)
    rates = people.rates
    has_account = people.account_since[person] <= at
    second = (people.second_account_since[person] <= at) & (rng.random(size) < 0.7)
    account_code = np.where(has_account & (rng.random(size) < account), person + np.where(second, n, 0), -1)

    slot = np.where((people.email_changed_at[person] <= at) | second, CHANGED, MAIN)
    slot = np.where(people.has_work_email[person] & (rng.random(size) < 0.2), WORK, slot)
    slot = np.where((rng.random(size) < rates.typo_per_record) & (account_code < 0), TYPO, slot)
    own_email = slot * n + person
    family = people.has_household_email[person] & (rng.random(size) < 0.3)
    email_code = np.where(family, FAMILY * n + people.household_head[person], own_email)
    email_code = np.where(rng.random(size) < email, email_code, -1)
    junk = (rng.random(size) < rates.junk_per_record) & (account_code < 0)
    email_code = np.where(junk, EMAIL_SLOTS * n + rng.integers(0, len(JUNK_EMAILS), size), email_code)

    changed = people.phone_changed_at[person] <= at
    phone_code = np.where(changed, n + person, people.phone_from[person])
    landline = people.has_household_landline[person] & (rng.random(size) < 0.35)
    phone_code = np.where(landline, LANDLINE * n + people.household_head[person], phone_code)
    mistyped = rng.random(size) < rates.typo_per_record
    phone_code = np.where(mistyped, 3 * n + person, phone_code)
    phone_code = np.where(rng.random(size) < phone, phone_code, -1)
    junk = rng.random(size) < rates.junk_per_record * 0.5
    phone_code = np.where(junk, PHONE_SLOTS * n + rng.integers(0, len(JUNK_PHONES), size), phone_code)

    # A record has to show somebody, and junk shows nobody: the person's own address steps in.
    nobody = (
        (account_code < 0)
        & ((email_code < 0) | (email_code >= EMAIL_SLOTS * n))
        & ((phone_code < 0) | (phone_code >= PHONE_SLOTS * n))
    )
    rescued = nobody & (rng.random(size) < 0.9)
    email_code = np.where((nobody & (email_code < 0) & (phone_code < 0)) | rescued, own_email, email_code)
    return Identity(
        account=account_code,
        email=email_code,
        email_form=rng.choice(3, size, p=(0.9, 0.07, 0.03)),
        phone=phone_code,
        phone_form=rng.choice(3, size, p=(0.5, 0.3, 0.2)),
        device=np.full(size, -1, dtype=np.int64),
    )


def choose_device(rng: np.random.Generator, people: People, person: Ints, at: Ints, in_app: Bools) -> Ints:
    """The device code of each visit: mostly the own phone or desktop; the household's tablet where there is one."""
    n = people.count
    slot = rng.choice([MOBILE, DESKTOP, TABLET], len(person), p=(0.6, 0.32, 0.08))
    slot = np.where((slot == MOBILE) & (people.cookies_cleared_at[person] <= at), AFTER_RESET, slot)
    slot = np.where(in_app, APP, slot)
    code = slot * n + person
    shared = people.has_household_tablet[person] & ~in_app & (rng.random(len(person)) < 0.3)
    return np.where(shared, HOUSEHOLD_TABLET * n + people.household_head[person], code)


@dataclass(frozen=True)
class Names:
    """The texts behind a chunk's codes. ``emails`` and ``phones`` hold every form: form × codes + code."""

    person: pa.Array
    accounts: pa.Array
    emails: pa.Array
    email_codes: int
    phones: pa.Array
    phone_codes: int
    devices: pa.Array
    first_names: pa.Array
    normal_emails: pa.Array
    normal_phones: pa.Array


def write_names(people: People) -> Names:
    """The texts of all identifiers that the chunk's people may show."""
    numbers = people.numbers
    first = pa.array(FIRST_NAMES).take(pa.array(people.first_name))
    last = pa.array(LAST_NAMES).take(pa.array(people.last_name))
    emails = pa.concat_arrays([_emails(numbers, first, last), pa.array(JUNK_EMAILS), pa.array(TILL_EMAILS)])
    plain_phones, forms = _phones(people)
    phones = pa.concat_arrays([pa.concat_arrays([form, pa.array(JUNK_PHONES)]) for form in forms])
    account_numbers = np.concatenate([numbers, numbers + 50_000_000])
    device_numbers = np.concatenate([numbers * DEVICE_SLOTS + slot for slot in range(DEVICE_SLOTS)])
    return Names(
        person=numbered("P", numbers, 8),
        accounts=numbered("C", account_numbers, 8),
        emails=pa.concat_arrays([emails, _capitalised(emails), joined(emails, " ")]),
        email_codes=len(emails),
        phones=phones,
        phone_codes=len(forms[0]) + len(JUNK_PHONES),
        devices=device_names(device_numbers),
        first_names=first,
        normal_emails=emails,
        normal_phones=plain_phones,
    )


def device_names(numbers: Ints) -> pa.Array:
    """Opaque names as a browser cookie holds them: distinct numbers give distinct names."""
    # An odd multiplier modulo 2^64 is a bijection; the golden ratio's scatters neighbours (Knuth, TAOCP 6.4).
    scattered = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return joined("d-", pc.utf8_lpad(pa.array(scattered).cast(pa.string()), 20, "0"))


def _capitalised(emails: pa.Array) -> pa.Array:
    """Upper-case first letter: what a phone's keyboard makes of an address."""
    return joined(pc.utf8_upper(pc.utf8_slice_codeunits(emails, 0, 1)), pc.utf8_slice_codeunits(emails, 1))


def _emails(numbers: Ints, first: pa.Array, last: pa.Array) -> pa.Array:
    number = pa.array(numbers).cast(pa.string())
    first, last = _ascii(first), _ascii(last)
    domains = pa.array(MAIL_DOMAINS)
    home = domains.take(pa.array(numbers % 3))
    initial = pc.utf8_slice_codeunits(first, 0, 1)
    clipped = pc.utf8_slice_codeunits(last, 0, -1)
    wrong_name = joined(first, ".", clipped, number, "@", home)
    wrong_domain = joined(first, ".", last, number, "@", pc.replace_substring(home, "example", "exampel"))
    return pa.concat_arrays(
        [
            joined(first, ".", last, number, "@", home),
            joined(initial, ".", last, number, "@", domains.take(pa.array(numbers % 2 + 3))),
            joined(initial, last, number, "@works.example"),
            pc.if_else(pa.array(numbers % 2 == 0), wrong_name, wrong_domain),
            joined("family.", last, number, "@", home),
        ]
    )


def _ascii(names: pa.Array) -> pa.Array:
    plain = pc.utf8_lower(names)
    for letter, instead in (("é", "e"), ("è", "e"), ("ö", "o"), ("ü", "u"), ("ë", "e")):
        plain = pc.replace_substring(plain, letter, instead)
    return plain


def _phones(people: People) -> tuple[pa.Array, list[pa.Array]]:
    """E.164 of every phone code, and the same numbers in the three ways people type them.

    The numbers are well-formed for their country and drawn by a bijection: two codes never get one number.
    """
    numbers = np.concatenate([people.numbers * PHONE_SLOTS + slot for slot in range(PHONE_SLOTS)])
    country = np.tile(people.country, PHONE_SLOTS)
    plain = np.empty(len(numbers), dtype=object)
    forms = [np.empty(len(numbers), dtype=object) for _ in range(3)]
    for code, areas in ((0, _AREA_CODES), (1, _AREA_CODES_CANADA)):
        here = country == code
        drawn = numbers[here] * _SPREAD % (len(areas) * len(_EXCHANGES) * 10_000)
        area = np.array(areas)[drawn // (len(_EXCHANGES) * 10_000)]
        exchange = _EXCHANGES[drawn // 10_000 % len(_EXCHANGES)]
        a, e, line = (pa.array(v).cast(pa.string()) for v in (area, exchange, drawn % 10_000))
        line = pc.utf8_lpad(line, 4, "0")
        plain[here] = joined("+1", a, e, line)
        forms[0][here] = joined("+1 ", a, "-", e, "-", line)
        forms[1][here] = joined("(", a, ") ", e, "-", line)
        forms[2][here] = joined(a, ".", e, ".", line)
    for code, (prefix, start, digits) in ((2, ("+44", "74", 8)), (3, ("+49", "151", 8)), (4, ("+33", "61", 7))):
        here = country == code
        drawn = pa.array(numbers[here] * _SPREAD % 10**digits).cast(pa.string())
        line = pc.utf8_lpad(drawn, digits, "0")
        head, tail = pc.utf8_slice_codeunits(line, 0, 4), pc.utf8_slice_codeunits(line, 4)
        plain[here] = joined(prefix, start, line)
        forms[0][here] = joined(prefix, " ", start, head, " ", tail)
        forms[1][here] = joined(prefix, start, line)
        forms[2][here] = joined(prefix, " (0)", start, head, "-", tail)
    # "+33 (0)" and "+49 (0)" read the same way; Canadian and American numbers are written alike.
    return pa.array(plain, pa.string()), [pa.array(form, pa.string()) for form in forms]
