"""How customers buy, and why they leave: a gamma-Poisson purchase process whose dropout depends on what happened.

After each order a customer leaves for good with a probability of their own (beta-distributed), multiplied by what the
order was like. These effects are put there on purpose, so that models and tests have something true to find; how large
they are stands in ``DROPOUT_EFFECTS`` and in the sample's ``truth/model.json``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from customer360.sample.calendar import Calendar
from customer360.sample.catalogue import REGIONS_BEFORE, SALES_CHANNELS
from customer360.sample.columns import NEVER, Bools, Floats, Ints
from customer360.sample.people import People

WEB, APP, STORE, PHONE, MARKETPLACE = range(len(SALES_CHANNELS))

DROPOUT_EFFECTS = {
    "late_delivery": 2.2,
    "complaint_answered": 0.8,
    "complaint_unanswered": 3.5,
    "engagement_lost": 1.5,
}
"""Factors on the chance to leave after an order; ``engagement_lost`` adds to 1 per unit of engagement below 1."""
HIGHEST_DROPOUT = 0.9
INTEREST_FADES_DAYS = 20.0
"""Who has left still looks in now and then: visits fade with this time constant."""

_REMOTE_REGIONS = frozenset({5, REGIONS_BEFORE[1] + 2, REGIONS_BEFORE[2] + 1})


@dataclass(frozen=True)
class Journey:
    """Orders of a chunk, sorted by person and time, with what each was like; and each person's end."""

    person: Ints
    ordinal: Ints
    even_day: Floats
    at: Ints
    channel: Ints
    is_cancelled: Bools
    is_late: Bools
    complains: Bools
    is_ignored: Bools
    engagement: Floats
    left_after: Bools
    left_even_day: Floats
    """Per person: the even day of the order after which they left; infinite for those who stayed."""
    left_at: Ints


def simulate(rng: np.random.Generator, people: People, calendar: Calendar) -> Journey:
    """Every order that the chunk's people place before the sample ends."""
    n, horizon = people.count, calendar.days
    buyers = np.flatnonzero(people.order_rate > 0)
    pause = np.zeros(n)
    pause[buyers] = 1 / people.order_rate[buyers]
    # A newcomer joins with the first order; who was there before is somewhere between two orders.
    next_day = people.joined_even_day + np.where(people.is_established, rng.exponential(1.0, n) * pause, 0.0)
    engagement = np.ones(n)
    left_even_day = np.full(n, np.inf)
    steps: list[dict[str, npt.NDArray[np.generic]]] = []
    ordinal, here = 0, buyers
    while True:
        here = here[next_day[here] < horizon]
        if not here.size:
            break
        size = len(here)
        at = calendar.real(next_day[here])
        channel = rng.choice(len(SALES_CHANNELS), size, p=(0.66, 0.17, 0.09, 0.03, 0.05))
        is_cancelled = rng.random(size) < np.where(channel == STORE, 0.0, 0.035)
        is_late = rng.random(size) < _chance_of_delay(people, here, at, channel, calendar)
        is_late &= ~is_cancelled & (channel != STORE)
        complains = (rng.random(size) < np.where(is_late, 0.3, 0.035)) & ~is_cancelled
        is_ignored = complains & (rng.random(size) < 0.28)
        engagement[here] = np.clip(engagement[here] * np.exp(rng.normal(-0.02, 0.3, size)), 0.15, 1.6)
        chance = people.dropout[here] * _multiplier(is_late, complains, is_ignored, engagement[here])
        leaves = rng.random(size) < np.minimum(chance, HIGHEST_DROPOUT)
        steps.append(
            {
                "person": here,
                "ordinal": np.full(size, ordinal),
                "even_day": next_day[here],
                "at": at,
                "channel": channel,
                "is_cancelled": is_cancelled,
                "is_late": is_late,
                "complains": complains,
                "is_ignored": is_ignored,
                "engagement": engagement[here],
                "left_after": leaves,
            }
        )
        left_even_day[here[leaves]] = next_day[here[leaves]]
        here = here[~leaves]
        next_day[here] += rng.exponential(1.0, len(here)) * pause[here]
        ordinal += 1
    orders = _in_order(steps)
    left_at = np.where(np.isinf(left_even_day), NEVER, calendar.real(np.minimum(left_even_day, horizon)))
    journey = Journey(**orders, left_even_day=left_even_day, left_at=left_at)  # type: ignore[arg-type]
    _open_accounts(rng, people, journey, calendar)
    return journey


def _chance_of_delay(people: People, person: Ints, at: Ints, channel: Ints, calendar: Calendar) -> Floats:
    """10 %, more in December, to remote regions and through the marketplace."""
    remote = np.isin(people.region[person], list(_REMOTE_REGIONS))
    return np.asarray(0.1 + 0.08 * (calendar.month(at) == 11) + 0.08 * remote + 0.04 * (channel == MARKETPLACE))


def _multiplier(is_late: Bools, complains: Bools, is_ignored: Bools, engagement: Floats) -> Floats:
    effect = DROPOUT_EFFECTS
    factor = np.where(is_late, effect["late_delivery"], 1.0)
    factor *= np.where(complains & ~is_ignored, effect["complaint_answered"], 1.0)
    factor *= np.where(is_ignored, effect["complaint_unanswered"], 1.0)
    return factor * (1 + effect["engagement_lost"] * np.maximum(0.0, 1 - engagement))


def _in_order(steps: list[dict[str, npt.NDArray[np.generic]]]) -> dict[str, npt.NDArray[np.generic]]:
    empty = {
        "person": np.int64, "ordinal": np.int64, "even_day": np.float64, "at": np.int64, "channel": np.int64,
        "is_cancelled": np.bool_, "is_late": np.bool_, "complains": np.bool_, "is_ignored": np.bool_,
        "engagement": np.float64, "left_after": np.bool_,
    }  # fmt: skip
    if not steps:
        return {name: np.empty(0, kind) for name, kind in empty.items()}
    columns = {name: np.concatenate([step[name] for step in steps]) for name in empty}
    by_person = np.lexsort((columns["ordinal"], columns["person"]))
    return {name: column[by_person] for name, column in columns.items()}


def _open_accounts(rng: np.random.Generator, people: People, journey: Journey, calendar: Calendar) -> None:
    """An account is opened some minutes before the order with that ordinal; who only looks around has one at once."""
    since = np.full(people.count, NEVER)
    second = np.full(people.count, NEVER)
    opens = journey.ordinal == people.account_ordinal[journey.person]
    since[journey.person[opens]] = journey.at[opens] - rng.integers(60, 300, int(opens.sum()))
    opens = journey.ordinal == people.second_account_ordinal[journey.person]
    second[journey.person[opens]] = journey.at[opens] - rng.integers(60, 300, int(opens.sum()))
    since[people.is_established & (people.account_ordinal == 0)] = calendar.start
    looks = people.order_rate == 0
    since[looks] = calendar.real(people.joined_even_day)[looks]
    people.account_since = since
    people.second_account_since = second
