{{ config(
    tags=['staging'],
    meta={
        'scope': 'stream', 'scope_key': 'stream_key', 'primary_key': ['session_key'],
        'touches': {'session': 'session_key', 'day': 'started_on'}, 'indexes': ['(stream_key)', '(started_on)'],
    }
) }}

{%- set in_order = 'order by occurred_at, event_key collate "C"' %}
{%- set backwards = 'order by occurred_at desc, event_key collate "C" desc' %}

-- A session of the vendor's is whole as it is; `visit` is what the others are cut within: one device of one source.
with events as (
    select
        *,
        session_id is not null as is_vendors,
        raw.record_key(source, coalesce(session_id, anonymous_id)) as visit,
        {{ campaign() }} as campaign
    from {{ ref('stg_web_events') }}
    where not is_deleted
        {{- only_dirty('stream', 'stream_key') }}
),

timed as (
    select
        *,
        case
            when
                not is_vendors
                and occurred_at - lag(occurred_at) over events_of_visit
                > interval '{{ var("session_silence_minutes") }} minutes'
                then 1
            else 0
        end as is_after_silence
    from events
    window events_of_visit as (partition by is_vendors, visit {{ in_order }})
),

stretched as (
    select *, sum(is_after_silence) over (partition by is_vendors, visit {{ in_order }}) as stretch
    from timed
),

-- The campaign before is the last one that an event of the same stretch named; the first one of a stretch cuts nothing.
compared as (
    select
        *,
        case
            when
                {{ 'true' if var('session_campaign_cut') else 'false' }}
                and not is_vendors
                and campaign <> lag(campaign) over (partition by is_vendors, visit, stretch, campaign is null {{ in_order }})
                then 1
            else 0
        end as is_other_campaign
    from stretched
),

numbered as (
    select *, sum(is_other_campaign) over (partition by is_vendors, visit, stretch {{ in_order }}) as part
    from compared
),

-- A session that was cut has the id of its first event, so that it keeps its name while it grows. A vendor's session
-- that is called like one gets a word in front, so that no two sessions share a name.
named as (
    select
        *,
        case
            when not is_vendors
                then 'event:' || first_value(event_id) over (partition by is_vendors, visit, stretch, part {{ in_order }})
            when session_id ~ '^(session:)*event:' then 'session:' || session_id
            else session_id
        end as built_session_id
    from numbered
),

sessions as (
    select
        stream_key,
        source,
        built_session_id as session_id,
        {{ first_of_session('anonymous_id') }} as anonymous_id,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) as event_count,
        count(*) filter (where name in ('page_view', 'screen_view')) as page_views,
        count(*) filter (where name = 'product_view') as product_views,
        count(*) filter (where name = 'search') as searches,
        count(*) filter (where name = 'add_to_cart') as add_to_carts,
        count(*) filter (where name = 'checkout_started') as checkouts_started,
        sum(engaged_seconds) as engaged_seconds,
        {{ last_of_session('customer_id') }} as customer_id,
        {{ last_of_session('email') }} as email,
        {{ last_of_session('order_id') }} as order_id,
        {{ first_of_session('device_type') }} as device_type,
        {{ first_of_session('country') }} as country,
        {{ first_of_session('page_url') }} as landing_page,
        {{ first_of_session('referrer', 'page_url is not null') }} as referrer,
        {{ first_of_session('utm_source', 'campaign is not null') }} as utm_source,
        {{ first_of_session('utm_medium', 'campaign is not null') }} as utm_medium,
        {{ first_of_session('utm_campaign', 'campaign is not null') }} as utm_campaign,
        bool_or(is_bot) as has_bot,
        bool_or(is_internal) as has_own_traffic,
        (array_agg(batch_id {{ backwards }}))[1] as batch_id,
        (array_agg(row_number {{ backwards }}))[1] as row_number,
        bool_or(has_version_conflict) as has_version_conflict,
        bool_or(has_id_conflict) as has_id_conflict,
        max(known_at) as known_at
    from named
    group by stream_key, source, built_session_id
)

select
    raw.record_key(source, session_id) as session_key,
    source,
    session_id,
    stream_key,
    case
        when has_bot or event_count > {{ var('bot_session_events') }} then 'bot'
        when has_own_traffic then 'internal'
        when ended_at > started_at + interval '24 hours' then 'too_long'
    end as left_out_as,
    event_count,
    anonymous_id,
    started_at,
    {{ business_date('started_at') }} as started_on,
    ended_at,
    page_views,
    product_views,
    searches,
    add_to_carts,
    checkouts_started,
    -- As the contract asks of a landed session, and in whole seconds as there. least() alone would make null the length.
    case
        when engaged_seconds is not null
            then floor(least(engaged_seconds, extract(epoch from ended_at - started_at)))::bigint
    end as engaged_seconds,
    customer_id,
    email,
    order_id,
    raw.record_key(source, order_id) as order_key,
    device_type,
    country,
    landing_page,
    referrer,
    utm_source,
    utm_medium,
    utm_campaign,
    batch_id,
    row_number,
    has_version_conflict,
    has_id_conflict,
    known_at
from sessions
