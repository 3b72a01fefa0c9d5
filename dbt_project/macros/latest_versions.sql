{#
  The CTE `latest` of a feed: which raw row is the valid version of an id.

  Seen: rows of claimed batches that are loaded or published (a held batch is neither), as far as they were known at
  `known_until`. Known time: when the batch was loaded; for a row landed as history, its own time.
  The greatest updated_at wins; a tie is broken by the greater hash of the record's content, so that the order of
  arrival never matters. Of identical rows the earliest known counts.

  `latest`: one row per id:
    row_id                the raw row's ctid, good within this statement
    is_history, known_at
    version_count         distinct versions, the same content again not counted
    has_version_conflict  another content with the same updated_at lost
    status_row_id         as-of builds: the version whose status was known; null: none was, for history rows count
                          from updated_at on
  and what `over_versions` adds: window aggregates over all versions of an id.

  All of it is one pass over a narrow copy of the keys, sorted once; the wide rows are fetched by ctid for the winners
  (and hashed for ties) alone. Joining the keys back by batch and row number instead made the planner expect one row
  and loop over thousands: 38 s for 20,000 tickets.
#}
{% macro latest_versions(feed, id, own_time, carried=[], over_versions={}) -%}
visible as (
    select
        record.ctid as row_id, record.{{ id }}, record.updated_at, record.batch_id, record.row_number,
        batch.is_history,
        case when batch.is_history then record.{{ own_time }} else batch.loaded_at end as known_at,
        {%- for column in carried %}
        record.{{ column }},
        {%- endfor %}
        count(*) over (partition by record.{{ id }}, record.updated_at) > 1 as is_tie
    from {{ source('raw', feed) }} as record
    inner join {{ source('ops', 'batches') }} as batch using (batch_id)
    where batch.claimed_at is not null
        and batch.state in ('loaded', 'published')
        {{- only_dirty(feed_scope(feed), 'record.' ~ id) }}
        {{- only_sampled(feed_scope(feed), 'record.' ~ id) }}
        {%- if is_as_of() %}
        and case when batch.is_history then record.{{ own_time }} else batch.loaded_at end <= {{ known_until() }}
        {%- endif %}
),
hashed as (
    select
        visible.*,
        case when is_tie then (
            select md5(jsonb_strip_nulls(to_jsonb(record) - '{batch_id,row_number}'::text[])::text)
            from {{ source('raw', feed) }} as record
            where record.ctid = visible.row_id
        ) end as content_hash
    from visible
),
ranked as (
    select
        {{ id }},
        row_id,
        is_history,
        known_at,
        lead(row_id) over in_order is null as is_latest,
        dense_rank() over (partition by {{ id }} order by updated_at, content_hash) as version_count,
        min(content_hash) over (partition by {{ id }}, updated_at order by content_hash) <> content_hash
            as has_version_conflict
        {%- for name, aggregate in over_versions.items() %},
        {{ aggregate }} over (partition by {{ id }}) as {{ name }}
        {%- endfor %}
        {%- if is_as_of() %},
        case when bool_or({{ is_status_known() }}) over (partition by {{ id }}) then first_value(row_id) over (
            partition by {{ id }}
            order by {{ is_status_known() }} desc, updated_at desc, content_hash desc nulls last, known_at, batch_id, row_number
        ) end as status_row_id
        {%- endif %}
    from hashed
    window in_order as (
        partition by {{ id }} order by updated_at, content_hash, known_at desc, batch_id desc, row_number desc
    )
),
latest as (
    select * from ranked where is_latest
)
{%- endmacro %}

{#
  What raw has let go of (docs/decisions/0009). A frozen record is one more version of its id: a newer one in raw takes
  its place. One with the same updated_at does not: nearly always it is the same file landed once more.

  `frozen_behind`: joins the frozen version of the record to the query of raw's latest versions and keeps those that win.
  `is_frozen_ahead`: in a query of `state.frozen_<feed> as frozen`, whether raw has nothing to put in its place.
  As of a past day, a version counts whose status was known then: what was frozen is known whole since history_starts_on.
#}
{% macro frozen_behind(feed, id) -%}
left join {{ source('retention', 'frozen_' ~ feed) }} as frozen
    on frozen.{{ id }} = latest.{{ id }} {%- if is_as_of() %} and frozen.known_at <= {{ known_until() }} {%- endif %}
where frozen.{{ id }} is null
    or frozen.updated_at < {{ 'status_record' if is_as_of() and feed != 'web_sessions' else 'record' }}.updated_at
{%- endmacro %}

{% macro is_frozen_ahead(feed, id, own_time) -%}
not exists (
        select from {{ source('raw', feed) }} as record
        inner join {{ source('ops', 'batches') }} as batch using (batch_id)
        where record.{{ id }} = frozen.{{ id }}
            and record.updated_at > frozen.updated_at
            and batch.claimed_at is not null
            and batch.state in ('loaded', 'published')
            {%- if is_as_of() %}
            and case when batch.is_history then record.{{ own_time }} else batch.loaded_at end <= {{ known_until() }}
            {%- if feed != 'web_sessions' %}
            and {{ is_status_known() }}
            {%- endif %}
            {%- endif %}
    )
    {{- only_dirty(feed_scope(feed), 'frozen.' ~ id) }}
    {{- only_sampled(feed_scope(feed), 'frozen.' ~ id) }}
    {%- if is_as_of() %}
    and frozen.known_at <= {{ known_until() }}
    {%- endif %}
{%- endmacro %}

{# The identifiers of a frozen record, from the map that has their texts. #}
{% macro frozen_identifiers(kinds) -%}
{%- for kind in kinds %}
left join {{ source('retention', 'customer_key_map') }} as {{ kind }}_map on {{ kind }}_map.customer_key = frozen.{{ kind }}_key
{%- endfor %}
{%- endmacro %}

{# Whether a version's status (and a ticket's score) was known: at its load, or for history from updated_at on. #}
{% macro is_status_known() -%}
    (not is_history or updated_at <= {{ known_until() }})
{%- endmacro %}

{% macro feed_scope(feed) -%}
    {{ return({'orders': 'order', 'web_sessions': 'session', 'support_tickets': 'ticket'}[feed]) }}
{%- endmacro %}

{# Whether staging is limited to what was known at some time. #}
{% macro is_as_of() -%}
    {{ return(var('known_until') | string != 'infinity') }}
{%- endmacro %}

{% macro known_until() -%}
    '{{ var("known_until") }}'::timestamptz
{%- endmacro %}

{#
  A time that is known at itself (delivery, first response, resolution), as far as it was known at `known_until`: the
  latest version's; while that one lay ahead, the one of the version whose status was known.
#}
{% macro once_known(time) -%}
    {%- if is_as_of() -%}
        case
            when latest.status_row_id = latest.row_id then record.{{ time }}
            when record.{{ time }} <= {{ known_until() }} then record.{{ time }}
            when status_record.{{ time }} <= {{ known_until() }} then status_record.{{ time }}
        end
    {%- else -%} record.{{ time }} {%- endif -%}
{%- endmacro %}
