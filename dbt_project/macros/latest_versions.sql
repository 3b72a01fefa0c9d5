{#
  The CTEs `latest` (and, for an as-of build, `latest_status`) of a feed: which raw row is the valid version of an id.

  Seen: rows of claimed batches that are loaded or published (a held batch is neither), as far as they were known at
  `known_until`. Known time: when the batch was loaded; for a row landed as history, its own time.
  The greatest updated_at wins; a tie is broken by the greater hash of the record's content, so that the order of
  arrival never matters. Only ties are hashed, on a narrow copy of the keys. Of identical rows the earliest known counts.

  `latest`: one row per id: batch_id, row_number, is_history, known_at, version_count (distinct versions),
  has_version_conflict (another content with the same updated_at lost).
  `latest_status`: the version whose status was known at `known_until`: for history rows, from updated_at on.
#}
{% macro latest_versions(feed, id, own_time) -%}
visible as (
    select
        record.{{ id }}, record.updated_at, record.batch_id, record.row_number, batch.is_history,
        case when batch.is_history then record.{{ own_time }} else batch.loaded_at end as known_at
    from {{ source('raw', feed) }} as record
    inner join {{ source('ops', 'batches') }} as batch using (batch_id)
    where batch.claimed_at is not null
        and batch.state in ('loaded', 'published')
        {{- only_dirty(feed_scope(feed), 'record.' ~ id) }}
        {%- if is_as_of() %}
        and case when batch.is_history then record.{{ own_time }} else batch.loaded_at end <= {{ known_until() }}
        {%- endif %}
),
ties as (
    select {{ id }}, updated_at from visible group by {{ id }}, updated_at having count(*) > 1
),
hashes as (
    select
        record.batch_id, record.row_number,
        md5(jsonb_strip_nulls(to_jsonb(record) - '{batch_id,row_number}'::text[])::text) as content_hash
    from ties
    inner join {{ source('raw', feed) }} as record using ({{ id }}, updated_at)
),
ranked as (
    select
        visible.*,
        hashes.content_hash,
        row_number() over (
            partition by {{ id }}
            order by updated_at desc, content_hash desc nulls last, known_at, batch_id, row_number
        ) as place,
        dense_rank() over (partition by {{ id }} order by updated_at, content_hash) as version_count,
        coalesce(min(content_hash) over (partition by {{ id }}, updated_at) <> content_hash, false) as has_version_conflict
    from visible
    left join hashes using (batch_id, row_number)
),
latest as (
    select {{ id }}, batch_id, row_number, is_history, known_at, version_count, has_version_conflict
    from ranked
    where place = 1
)
{%- if is_as_of() %},
latest_status as (
    select distinct on ({{ id }}) {{ id }}, batch_id, row_number
    from ranked
    where not is_history or updated_at <= {{ known_until() }}
    order by {{ id }}, place
)
{%- endif %}
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

{# A time of a history row, null while it was still ahead at `known_until`. #}
{% macro once_known(time) -%}
    {%- if is_as_of() -%}
        case when not latest.is_history or {{ time }} <= {{ known_until() }} then {{ time }} end
    {%- else -%} {{ time }} {%- endif -%}
{%- endmacro %}
