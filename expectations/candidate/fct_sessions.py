"""Candidate gate of fct_sessions."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from customer360.contract.feeds import WEB_SESSIONS
from expectations.candidate import changed, every_fact, filled, no_row


def suite(*, whole: bool) -> ExpectationSuite:
    """What must hold of the touched sessions (of all, if ``whole``)."""
    among = changed("session", "session_key", whole=whole)
    return ExpectationSuite(
        name="candidate.fct_sessions",
        expectations=[
            *every_fact(WEB_SESSIONS, whole=whole),
            filled("started_at", "started_on", "ended_at", "page_views", key="session_key", among=among),
            no_row(
                f"""
                select session_key as key, batch_id from {{batch}} as built where {among} and (
                    started_at > ended_at or session_seconds < 0 or engaged_seconds < 0
                    or engaged_seconds > session_seconds or page_views < 0 or product_views < 0 or searches < 0
                    or add_to_carts < 0 or checkouts_started < 0)
                """,
                description="a session ends after it starts, and its counts are possible",
                notes="Engaged time and conversion rates are computed from these.",
            ),
            filled("channel", "is_bounce", "is_built", key="session_key", among=among),
            no_row(
                f"""
                select built.session_key as key, built.batch_id from intermediate.int_sessions__built as built
                left join {{batch}} as fact using (session_key)
                where {changed("session", "built.session_key", whole=whole)} and left_out_as is null
                    and (fact.session_key is null
                        or (fact.is_built and (fact.started_at, fact.ended_at, fact.page_views)
                            is distinct from (built.started_at, built.ended_at, built.page_views)))
                """,
                description="every session that was built from events is there as built, unless left out by rule",
                notes="A late event restates its session; a fact that was left behind would miss it.",
            ),
            no_row(
                f"""
                select fact.session_key as key, fact.batch_id from {{batch}} as fact
                where {changed("session", "fact.session_key", whole=whole)} and fact.is_built and not exists (
                    select from intermediate.int_sessions__built as built
                    where built.session_key = fact.session_key and built.left_out_as is null)
                """,
                description="no built session is there that events do not make, or that is left out by rule",
                notes="What a late event has cut differently, or a deleted event alone has made, must be gone.",
            ),
            no_row(
                f"""
                select stream_key::text as key, max(batch_id) as batch_id from (
                    select stream_key, batch_id, 1 as event_count from staging.stg_web_events
                    where not is_deleted and {changed("stream", "stream_key", whole=whole)}
                    union all
                    select stream_key, null, -event_count from intermediate.int_sessions__built
                    where {changed("stream", "stream_key", whole=whole)}
                ) as counted
                cross join (select count(*) as none from {{batch}} as fact where false) as nothing
                group by stream_key having sum(event_count) <> 0
                """,
                description="every event that its source has not deleted is in one session",
                notes="No event is ever lost: of one that no session has, nobody would know.",
            ),
            no_row(
                f"""
                select session_key as key, batch_id from {{batch}} as built
                where {among} and is_built and (landing_page ~ '[?#]' or referrer ~ '[?#]')
                """,
                description="no address of a built session has a query",
                notes="Queries carry e-mail addresses, searches and tokens; marts hold nothing personal.",
            ),
        ],
    )
