"""Devices: whose a visit was that shows nothing but its device. Pure arithmetic; the tables are elsewhere.

A device never merges people. What happened on it belongs to the person known on it at that time: the last known
before, else the first known after, if that was soon enough. So a shared tablet serves two people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

NOBODY, BEFORE, AFTER = 0, 1, 2


@dataclass(frozen=True)
class Attribution:
    """Per record: the index of the sighting that names its person (-1: none), and whether that was before or after."""

    source: Ints
    how: npt.NDArray[np.int8]


def attribute(device: Ints, at: Ints, rank: Ints, person: Ints, *, within: int, max_people: int) -> Attribution:
    """Attribute the records of devices that show no person themselves.

    Args:
        device: number of the device of each record.
        at: time of each record, in any unit.
        rank: breaks ties of ``at``, so that the outcome does not depend on the records' order.
        person: who the record itself shows; -1 for nobody.
        within: how long after a record the first sighting may be, in the unit of ``at``.
        max_people: on a device with more people than this nothing is attributed.
    """
    count = len(device)
    source = np.full(count, -1, np.int64)
    how = np.zeros(count, np.int8)
    if not count:
        return Attribution(source, how)
    # Of records at the very same time the known ones come first, so that they count as before.
    order = np.lexsort((rank, person < 0, at, device))
    device_sorted, at_sorted, person_sorted = device[order], at[order], person[order]
    positions = np.arange(count)
    known = person_sorted >= 0

    before = np.maximum.accumulate(np.where(known, positions, -1))
    after = np.minimum.accumulate(np.where(known, positions, count)[::-1])[::-1]
    has_before = (before >= 0) & (device_sorted[before] == device_sorted)
    after_or_last = np.minimum(after, count - 1)
    has_after = (after < count) & (device_sorted[after_or_last] == device_sorted)
    has_after &= at_sorted[after_or_last] - at_sorted <= within

    is_open = ~known & ~np.isin(device_sorted, _crowded(device, person, max_people))
    from_before, from_after = is_open & has_before, is_open & ~has_before & has_after
    source[order[from_before]] = order[before[from_before]]
    source[order[from_after]] = order[after_or_last[from_after]]
    how[order[from_before]] = BEFORE
    how[order[from_after]] = AFTER
    return Attribution(source, how)


def _crowded(device: Ints, person: Ints, max_people: int) -> Ints:
    """Devices on which too many people are known."""
    known = person >= 0
    if not known.any():
        return np.empty(0, np.int64)
    width = np.int64(person.max()) + 1
    pairs = np.unique(device[known] * width + person[known])
    devices, people = np.unique(pairs // width, return_counts=True)
    crowded: Ints = devices[people > max_people]
    return crowded
