"""What on-call must know of the receiver of webhooks and of its spool."""

from __future__ import annotations

from collections.abc import Iterator

from customer360.contract.feeds import FEEDS, Feed
from customer360.oncall.airflow_conditions import SILENT_SECONDS, STARTING_SECONDS
from customer360.oncall.conditions import Finding, View, condition, graver_if
from customer360.receiver import marks, spool
from customer360.settings import Settings
from customer360.sources import declaration

# A scanner that tries a path or two is no sender that does not get through.
_FEW_REQUESTS = 3


def silent_receiver(settings: Settings) -> list[Finding]:
    """The receiver is meant to run and shows no sign of life: senders are not answered."""
    from customer360.stack import processes

    if not processes.is_receiver_meant_to_run(settings):
        return []
    seconds = marks.silent_seconds(settings)
    if seconds is not None and seconds <= SILENT_SECONDS:
        return []
    if processes.seconds_since_start(settings, processes.RECEIVER) < STARTING_SECONDS:
        return []
    since = "has never shown a heartbeat" if seconds is None else f"has not shown a heartbeat for {seconds:.0f} s"
    return [
        Finding(
            "component_silent",
            f"component_silent:{processes.RECEIVER}",
            "critical",
            f"The receiver of webhooks {since}",
            "c360 up",
            (),
            {"component": processes.RECEIVER, "seconds": seconds and round(seconds)},
        )
    ]


def _feed(settings: Settings, hook: str) -> Feed | None:
    """The feed of a hook; None where its source is gone."""
    if hook in FEEDS:
        return FEEDS[hook]
    try:
        return declaration.of_folder(settings, hook)[0].feed
    except declaration.SourceError:
        return None


def _tables(feed: Feed | None) -> tuple[str, ...]:
    return feed.published if feed else ()


@condition("webhooks_waiting")
def webhooks_waiting(view: View) -> Iterator[Finding]:
    """Events that were acknowledged wait in the spool for longer than a file may wait to be loaded."""
    minutes = view.settings.files_waiting_minutes
    for state in spool.states(view.settings):
        waited = (state.oldest_waiting_seconds or 0) / 60
        if waited <= minutes:
            continue
        feed = _feed(view.settings, state.hook)
        why = f": {state.landing_error}" if state.landing_error else ""
        yield Finding(
            "webhooks_waiting",
            f"webhooks_waiting:{state.hook}",
            graver_if(True, feed.name if feed else "orders"),
            f"{state.waiting_events:,} events of {state.hook} have waited up to {waited:.0f} minutes to land "
            f"(objective {minutes}){why}",
            "c360 receive land",
            _tables(feed),
            {"hook": state.hook, "events": state.waiting_events, "minutes": round(waited)},
            follows=("component_silent:receiver", "disk_nearly_full:") if not why else (),
        )


@condition("webhooks_refused")
def webhooks_refused(view: View) -> Iterator[Finding]:
    """Every request of a hook was refused since the last event that was taken: its sender does not get through."""
    for state in spool.states(view.settings):
        refused = {status: count for status, count in state.refused_since_received.items() if status != "429"}
        if sum(refused.values()) < _FEW_REQUESTS:
            continue
        feed = _feed(view.settings, state.hook)
        counts = ", ".join(f"{count:,} with {status}" for status, count in refused.items())
        yield Finding(
            "webhooks_refused",
            f"webhooks_refused:{state.hook}",
            graver_if(False),
            f"No request of {state.hook} gets through: refused {counts} since the last event that was taken",
            "c360 receive status",
            _tables(feed),
            {"hook": state.hook, "refused": refused},
        )


@condition("webhooks_unbalanced")
def webhooks_unbalanced(view: View) -> Iterator[Finding]:
    """A hook's events do not add up: an event that was acknowledged is in no file and not in the spool."""
    for state in spool.states(view.settings):
        if not state.unexplained_events:
            continue
        yield Finding(
            "webhooks_unbalanced",
            f"webhooks_unbalanced:{state.hook}",
            "critical",
            f"{abs(state.unexplained_events):,} events of {state.hook} "
            + ("are not accounted for" if state.unexplained_events > 0 else "are counted that were never received"),
            f"c360 receive write-off {state.hook} --because 'the sender sends them again'",
            _tables(_feed(view.settings, state.hook)),
            {"hook": state.hook, "unexplained": state.unexplained_events},
        )
