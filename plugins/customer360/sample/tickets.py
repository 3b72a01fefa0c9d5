"""Support tickets: complaints, questions, returns; answered or not, reopened, rated on a scale per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from customer360.sample.calendar import DAY, HOUR, Calendar
from customer360.sample.columns import NEVER, Bools, Floats, Ints, integers, joined, money, numbered, pick, times
from customer360.sample.orders import Orders, Versions, identity_columns
from customer360.sample.people import Identity, Names, People, identify

STATUSES = ("new", "open", "pending", "solved", "closed")
NEW, OPEN, PENDING, SOLVED, CLOSED = range(5)
CHANNELS = ("email", "phone", "chat", "web", "social", "store")
CATEGORIES = ("complaint", "question", "return", "delivery", "payment", "product", "other")
COMPLAINT, QUESTION, RETURN, DELIVERY, PAYMENT, PRODUCT, OTHER = range(7)
PRIORITIES = ("low", "normal", "high", "urgent")
SCALE_BY_CHANNEL = (5, 10, 1, 7, 3, 100)
"""Every channel's survey has a scale of its own; 1 is a thumb up or down."""

_SUBJECTS = (
    "I am not happy with order {}",
    "Question about {}",
    "Return of {}",
    "Where is {}?",
    "Payment of {}",
    "A part is missing from {}",
    "Hello",
)
_BODIES = (
    'Hello, this is {}. My parcel said "delivered" but it came far too late. Please call me back.',
    "Hi, {} here. Can I still change the address?",
    "Good day, {}. I would like to send one article back.",
    "Dear team, the promised day has passed. What happened? Regards, {}",
    "I was charged twice, please have a look. {}",
    "The box was open.\nOne part is missing. {}",
    "Do you have a shop near me? {}",
)


@dataclass(frozen=True)
class Tickets:
    """Tickets of a chunk in their final state; ``order`` is -1 for none, a time NEVER where nothing happened."""

    first_id: int
    person: Ints
    order: Ints
    identity: Identity
    created_at: Ints
    channel: Ints
    category: Ints
    priority: Ints
    responded_at: Ints
    resolved_at: Ints
    reopened_at: Ints
    resolved_again_at: Ints
    rated_at: Ints
    closed_at: Ints
    score: Ints
    replies: Ints
    compensation: Ints
    waits_for_customer: Bools

    @property
    def count(self) -> int:
        """Number of tickets."""
        return len(self.person)

    def ids(self) -> pa.Array:
        """The tickets' ids."""
        return numbered("T", self.first_id + np.arange(self.count), 9)


def make_tickets(
    rng: np.random.Generator, people: People, orders: Orders, calendar: Calendar, first_id: int
) -> Tickets:
    """What people wrote about their orders, and a few things about none."""
    person, order, created, category, is_ignored = _reasons_to_write(rng, people, orders, calendar)
    n = len(person)
    late = np.append(orders.journey.is_late, False)[order]  # order -1 reads the appended one
    channel = rng.choice(len(CHANNELS), n, p=(0.38, 0.18, 0.16, 0.18, 0.05, 0.05))
    urgency = rng.random(n) + 0.25 * (category == COMPLAINT)
    priority = np.select([urgency > 1.1, urgency > 0.85, urgency < 0.1], [3, 2, 0], 1)
    # Hours until somebody answers: log-normal, half as long a step of priority up; talk is answered at once.
    median = np.where((channel == 1) | (channel == 2) | (channel == 5), 0.05, 7.0 / 2.0 ** (priority - 1))
    hours = median * np.exp(rng.normal(0, 0.9, n))
    responded = created + np.maximum((hours * HOUR).astype(np.int64), 20)
    forgotten = is_ignored & (rng.random(n) < 0.6)
    responded = np.where(is_ignored, created + rng.integers(6 * DAY, 14 * DAY, n), responded)
    responded = np.where(forgotten, NEVER, responded)
    work = (np.exp(rng.normal(1.8, 1.0, n)) * HOUR).astype(np.int64) + 60
    solvable = ~forgotten & (rng.random(n) < 0.97)
    resolved = np.where(solvable, responded + work, NEVER)
    reopens = solvable & (rng.random(n) < np.where(category == COMPLAINT, 0.14, 0.05))
    reopened = np.where(reopens, resolved + rng.integers(36 * HOUR, 5 * DAY, n), NEVER)
    again = np.where(reopens & (rng.random(n) < 0.9), reopened + rng.integers(2 * HOUR, 3 * DAY, n), NEVER)
    rates = solvable & (rng.random(n) < 0.38)
    rated = np.where(rates, resolved + rng.integers(HOUR, 30 * HOUR, n), NEVER)
    finally_resolved = np.where(reopens, again, resolved)
    closed = np.where(finally_resolved < NEVER, finally_resolved + 6 * DAY, NEVER)
    return Tickets(
        first_id=first_id,
        person=person,
        order=order,
        identity=_requester(rng, people, person, created, channel),
        created_at=created,
        channel=channel,
        category=category,
        priority=priority,
        responded_at=responded,
        resolved_at=resolved,
        reopened_at=reopened,
        resolved_again_at=again,
        rated_at=rated,
        closed_at=closed,
        score=_scores(rng, channel, late, hours, is_ignored, reopens),
        replies=1 + rng.poisson(0.8, n),
        compensation=np.where(
            (category == COMPLAINT) & solvable & (rng.random(n) < 0.2), rng.integers(1, 5, n) * 500, 0
        ),
        waits_for_customer=rng.random(n) < 0.3,
    )


def _reasons_to_write(
    rng: np.random.Generator, people: People, orders: Orders, calendar: Calendar
) -> tuple[Ints, Ints, Ints, Ints, Bools]:
    journey = orders.journey
    n = orders.count
    arrived = np.where(orders.delivery.delivered_at < NEVER, orders.delivery.delivered_at, journey.at + 7 * DAY)
    complaint = np.flatnonzero(journey.complains)
    # Half of those who wait in vain write before the parcel is there, the others when they have seen what came.
    waiting = (
        journey.is_late[complaint]
        & (rng.random(len(complaint)) < 0.5)
        & (orders.delivery.promised_at[complaint] < NEVER)
    )
    base = np.where(waiting, orders.delivery.promised_at[complaint], arrived[complaint])
    wrote = base + (rng.exponential(0.8, len(complaint)) * DAY).astype(np.int64) + 1_800
    kind = np.where(waiting & (rng.random(len(complaint)) < 0.3), DELIVERY, COMPLAINT)

    question = np.flatnonzero(rng.random(n) < 0.03)
    asked = journey.at[question] + rng.integers(600, 5 * DAY, len(question))
    returned = np.flatnonzero((orders.refunds.at[0] < NEVER) & ~journey.is_cancelled & (rng.random(n) < 0.35))
    sent_back = orders.refunds.at[0][returned] - rng.integers(2 * HOUR, 20 * HOUR, len(returned))
    other = np.flatnonzero(rng.random(n) < 0.015)
    other_at = journey.at[other] + rng.integers(600, 20 * DAY, len(other))
    idle = np.flatnonzero(rng.random(people.count) < 0.03 * calendar.days / 365)
    joined = people.joined_even_day[idle]
    idle_at = calendar.real(joined + rng.random(len(idle)) * (calendar.days - joined))

    order = np.concatenate([complaint, question, returned, other, np.full(len(idle), -1)])
    writer = np.concatenate([journey.person[order[: len(order) - len(idle)]], idle])
    created = np.concatenate([wrote, asked, sent_back, other_at, idle_at])
    category = np.concatenate(
        [
            kind,
            rng.choice([QUESTION, PRODUCT], len(question)),
            np.full(len(returned), RETURN),
            rng.choice([PAYMENT, PRODUCT, DELIVERY], len(other)),
            np.full(len(idle), OTHER),
        ]
    )
    is_ignored = np.zeros(len(order), dtype=bool)
    is_ignored[: len(complaint)] = journey.is_ignored[complaint]
    by_time = np.lexsort((created, writer))
    return writer[by_time], order[by_time], created[by_time], category[by_time], is_ignored[by_time]


def _requester(rng: np.random.Generator, people: People, person: Ints, at: Ints, channel: Ints) -> Identity:
    """A caller is known by phone, a mail by its sender, who is logged in by the account."""
    return identify(
        rng,
        people,
        person,
        at,
        account=np.select([channel == 0, channel == 1, channel == 5], [0.4, 0.3, 0.5], 0.9),
        email=np.select([channel == 0, channel == 1, channel == 5], [1.0, 0.1, 0.4], 0.6),
        phone=np.select([channel == 1, channel == 5], [1.0, 0.4], 0.05),
    )


def _scores(
    rng: np.random.Generator, channel: Ints, late: Bools, hours: Floats, is_ignored: Bools, reopens: Bools
) -> Ints:
    """The score on the channel's scale: worse after a late parcel, a long wait, silence and a second try."""
    n = len(channel)
    mood = 0.85 - 0.25 * late - 0.1 * (hours > 12) - 0.45 * is_ignored - 0.2 * reopens + rng.normal(0, 0.17, n)
    scale = np.array(SCALE_BY_CHANNEL)[channel]
    # Scales of 3, 5 and 7 begin at 1; thumbs, 10 and 100 at 0.
    lowest = np.isin(scale, (3, 5, 7)).astype(np.int64)
    return np.asarray(lowest + np.round(np.clip(mood, 0, 1) * (scale - lowest)), dtype=np.int64)


def ticket_versions(tickets: Tickets, orders: Orders, names: Names, currencies: tuple[str, ...], end: int) -> Versions:
    """One record per ticket and change up to the sample's end."""
    ticket, when = _events(tickets, end)

    def known(times_: Ints) -> Ints:
        at = times_[ticket]
        return np.where(at <= when, at, NEVER)

    reopened, again, closed = known(tickets.reopened_at), known(tickets.resolved_again_at), known(tickets.closed_at)
    responded, resolved, rated = known(tickets.responded_at), known(tickets.resolved_at), known(tickets.rated_at)
    is_reopened = (reopened < NEVER) & (again == NEVER)
    resolved_now = np.where(is_reopened, NEVER, np.where(again < NEVER, again, resolved))
    status = np.select(
        [closed < NEVER, is_reopened, resolved < NEVER, responded < NEVER],
        [CLOSED, OPEN, SOLVED, np.where(tickets.waits_for_customer[ticket], PENDING, OPEN)],
        NEW,
    )
    has_score = rated < NEVER
    score = tickets.score[ticket]
    paid = (tickets.compensation[ticket] > 0) & (resolved < NEVER)
    order = tickets.order[ticket]
    currency = np.append(orders.currency, 0)[order]
    replies = np.where(responded == NEVER, 0, np.where(resolved == NEVER, 1, tickets.replies[ticket]))
    replies = replies + np.where(again < NEVER, 2, 0)
    order_ids = pick(orders.ids(), tickets.order)
    category = tickets.category[ticket]
    identity = identity_columns(tickets.identity, names, ticket)
    columns = {
        "ticket_id": tickets.ids().take(pa.array(ticket)),
        "updated_at": times(when),
        "created_at": times(tickets.created_at[ticket]),
        "status": pick(STATUSES, status),
        "channel": pick(CHANNELS, tickets.channel[ticket]),
        "category": pick(CATEGORIES, category),
        "customer_id": identity["customer_id"],
        "email": identity["email"],
        "phone": identity["phone"],
        "priority": pick(
            PRIORITIES, np.where(ticket % 3 > 0, tickets.priority[ticket], _told(tickets.priority)[ticket])
        ),
        "first_response_at": times(responded),
        "resolved_at": times(resolved_now),
        "replies": integers(replies),
        "reopens": integers((reopened < NEVER).astype(np.int64), (reopened == NEVER) & (ticket % 4 == 0)),
        "order_id": order_ids.take(pa.array(ticket)),
        "satisfaction_score": integers(score, ~has_score),
        "satisfaction_scale_max": integers(np.array(SCALE_BY_CHANNEL)[tickets.channel[ticket]], ~has_score),
        "compensation_amount": money(tickets.compensation[ticket], ~paid),
        "currency": pick(currencies, np.where(paid, currency, -1)),
        "subject": _filled(_SUBJECTS, category, order_ids.take(pa.array(ticket)), "my order"),
        "body": _filled(_BODIES, category, names.first_names.take(pa.array(tickets.person[ticket])), ""),
    }
    measures = {
        "is_rated": has_score.astype(np.int64),
        "is_open": (status <= PENDING).astype(np.int64),
        "is_reopened": (reopened < NEVER).astype(np.int64),
        "compensation_amount": np.where(paid, tickets.compensation[ticket], 0),
        "currency": currency,
    }
    return Versions(pa.table(columns), ticket, when, measures)


def _told(priority: Ints) -> Ints:
    """A normal priority left out: it is the default."""
    return np.where(priority == 1, -1, priority)


def _events(tickets: Tickets, end: int) -> tuple[Ints, Ints]:
    """Ticket and time of every change up to ``end``, sorted; times of a ticket differ."""
    at = np.stack(
        [
            tickets.created_at,
            tickets.responded_at,
            tickets.resolved_at,
            tickets.rated_at,
            tickets.reopened_at,
            tickets.resolved_again_at,
            tickets.closed_at,
        ]
    )
    event, ticket = np.nonzero(at < end)
    when = at[event, ticket]
    by_ticket = np.lexsort((event, when, ticket))
    ticket, when = ticket[by_ticket], when[by_ticket]
    # Two changes in one second are one record: the state of a record is read off its time.
    repeats = np.zeros(len(ticket), dtype=bool)
    repeats[1:] = (ticket[1:] == ticket[:-1]) & (when[1:] == when[:-1])
    return ticket[~repeats], when[~repeats]


def _filled(templates: tuple[str, ...], choice: Ints, value: pa.Array, instead: str) -> pa.Array:
    parts = [template.partition("{}") for template in templates]
    value = pa.compute.fill_null(value, instead)
    has_place = pick(["{}" if part[1] else "" for part in parts], choice)
    value = pa.compute.if_else(pa.compute.equal(has_place, ""), "", value)
    return joined(pick([p[0] for p in parts], choice), value, pick([p[2] for p in parts], choice))
