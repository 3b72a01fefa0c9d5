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
    has_id_conflict       versions differ in the record's time and in whose it is (and share no identifier): two records
                          under one id
    status_row_id         as-of builds: the version whose status was known; null: none was, for history rows count
                          from updated_at on
  and what `over_versions` adds: window aggregates over all versions of an id.

  All of it is one pass over a narrow copy of the keys, sorted once; the wide rows are fetched by ctid for the winners
  (and hashed for ties) alone. Joining the keys back by batch and row number instead made the planner expect one row
  and loop over thousands: 38 s for 20,000 tickets.
#}
{% macro latest_versions(feed, carried=[], over_versions={}) -%}
{%- set known = feed_facts(feed) -%}
{%- set key = known.key -%}
visible as (
    select
        record.ctid as row_id, record.{{ key }}, record.updated_at, record.batch_id, record.row_number,
        batch.is_history,
        case when batch.is_history then record.{{ known.known_from }} else batch.loaded_at end as known_at,
        record.{{ known.seen_at }} as seen_at,
        {%- for field in known.owner %}
        hashtext(lower(record.{{ field }})) as {{ field }}_hash,
        {%- endfor %}
        {%- for column in carried %}
        record.{{ column }},
        {%- endfor %}
        count(*) over (partition by record.{{ key }}, record.updated_at) > 1 as is_tie
    from {{ source('raw', feed) }} as record
    inner join {{ source('ops', 'visible_batches') }} as batch using (batch_id)
    where true
        {{- only_dirty(known.scope, 'record.' ~ key) }}
        {{- only_sampled(known.scope, 'record.' ~ key) }}
        {%- if is_as_of() %}
        and case when batch.is_history then record.{{ known.known_from }} else batch.loaded_at end <= {{ known_until() }}
        {%- endif %}
),
hashed as (
    select
        visible.*,
        case when is_tie then (
            select md5(jsonb_strip_nulls(
                (to_jsonb(record) - '{batch_id,row_number,{{ key }}}'::text[])
                || jsonb_build_object('{{ known.id }}', raw.trimmed_id(record.{{ known.id }}))
            )::text)
            from {{ source('raw', feed) }} as record
            where record.ctid = visible.row_id
        ) end as content_hash
    from visible
),
ranked as (
    select
        {{ key }},
        row_id,
        is_history,
        known_at,
        lead(row_id) over in_order is null as is_latest,
        dense_rank() over (partition by {{ key }} order by updated_at, content_hash) as version_count,
        min(content_hash) over (partition by {{ key }}, updated_at order by content_hash) <> content_hash
            as has_version_conflict,
        min(seen_at) over versions <> max(seen_at) over versions
        and coalesce(
            {%- for field in known.owner %}
            min({{ field }}_hash) over versions <> max({{ field }}_hash) over versions
            {{- ' or' if not loop.last }}
            {%- endfor %}, false)
        {%- for field in known.owner %}
        and not (
            min({{ field }}_hash) over versions = max({{ field }}_hash) over versions
            and count({{ field }}_hash) over versions = count(*) over versions)
        {%- endfor %}
            as has_id_conflict
        {%- for name, aggregate in over_versions.items() %},
        {{ aggregate }} over versions as {{ name }}
        {%- endfor %}
        {%- if is_as_of() %},
        case when bool_or({{ is_status_known() }}) over versions then first_value(row_id) over (
            partition by {{ key }}
            order by {{ is_status_known() }} desc, updated_at desc, content_hash desc nulls last, known_at, batch_id, row_number
        ) end as status_row_id
        {%- endif %}
    from hashed
    window versions as (partition by {{ key }}),
    in_order as (
        partition by {{ key }} order by updated_at, content_hash, known_at desc, batch_id desc, row_number desc
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
{% macro frozen_behind(feed) -%}
{%- set known = feed_facts(feed) -%}
left join {{ source('retention', 'frozen_' ~ feed) }} as frozen
    on frozen.{{ known.key }} = latest.{{ known.key }}
    {%- if is_as_of() %} and frozen.known_at <= {{ known_until() }} {%- endif %}
where frozen.{{ known.key }} is null
    or frozen.updated_at < {{ 'status_record' if is_as_of() and known.has_dated_status else 'record' }}.updated_at
{%- endmacro %}

{% macro is_frozen_ahead(feed) -%}
{%- set known = feed_facts(feed) -%}
not exists (
        select from {{ source('raw', feed) }} as record
        inner join {{ source('ops', 'visible_batches') }} as batch using (batch_id)
        where record.{{ known.key }} = frozen.{{ known.key }}
            and record.updated_at > frozen.updated_at
            {%- if is_as_of() %}
            and case when batch.is_history then record.{{ known.known_from }} else batch.loaded_at end
                <= {{ known_until() }}
            {%- if known.has_dated_status %}
            and {{ is_status_known() }}
            {%- endif %}
            {%- endif %}
    )
    {{- only_dirty(known.scope, 'frozen.' ~ known.key) }}
    {{- only_sampled(known.scope, 'frozen.' ~ known.key) }}
    {%- if is_as_of() %}
    and frozen.known_at <= {{ known_until() }}
    {%- endif %}
{%- endmacro %}

{# The identifiers of a frozen record, from the map that has their texts (a customer_id's with its source: raw.id_of_key). #}
{% macro frozen_identifiers(kinds) -%}
{%- for kind in kinds %}
left join {{ source('retention', 'customer_key_map') }} as {{ kind }}_map on {{ kind }}_map.customer_key = frozen.{{ kind }}_key
{%- endfor %}
{%- endmacro %}

{# Whether a version's status (and a ticket's score) was known: at its load, or for history from updated_at on. #}
{% macro is_status_known() -%}
    (not is_history or updated_at <= {{ known_until() }})
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

{# What the contract knows of a feed (plugins/customer360/contract/feeds.py): scope, key, id, seen_at, known_from, owner. #}
{% macro feed_facts(feed) -%}
    {{ return(var('feeds')[feed]) }}
{%- endmacro %}

{#
  Whether the latest version says that the source has deleted the record. As of a past day a deletion that was landed as
  history was known from its version's updated_at on, like a status.
#}
{% macro is_deleted(feed) -%}
    {%- if is_as_of() and feed_facts(feed).has_dated_status -%} coalesce(status_record.deleted, false)
    {%- elif is_as_of() -%}
        coalesce(record.deleted, false) and (not latest.is_history or record.updated_at <= {{ known_until() }})
    {%- else -%} coalesce(record.deleted, false)
    {%- endif -%}
{%- endmacro %}

{#
  has_id_conflict of a record: among its versions in raw, in what is frozen of it, or between the two. A phone number is
  frozen in another form than it was typed in, and is not compared.
#}
{% macro has_id_conflict(feed) -%}
    {%- set known = feed_facts(feed) -%}
    latest.has_id_conflict
    or coalesce(frozen.has_id_conflict, false)
    or case
        when record.{{ known.seen_at }} <> frozen.{{ known.seen_at }} then
            {%- for field in known.owner if field != 'phone' %}
            {%- set kept = 'frozen.' ~ field if field not in ('customer_id', 'email') else
                '(select raw.id_of_key(identifier) from ' ~ source('retention', 'customer_key_map')
                ~ ' where customer_key = frozen.' ~ field ~ '_key)' %}
            {{ 'coalesce(' if loop.first }}lower(record.{{ field }}) <> lower({{ kept }}){{ ', false)' if loop.last else ' or' }}
            {%- endfor %}
        else false
    end
{%- endmacro %}

{#
  The first and the last columns of every staging model: key, source and id; origin, versions and conflicts. `part` is
  'raw' for raw's latest version, 'frozen' for what raw has archived.
#}
{% macro record_columns(feed, part) -%}
    {%- set known = feed_facts(feed) -%}
    {%- if part == 'raw' -%}
    record.{{ known.key }},
    coalesce(record.source, '') as source,
    raw.trimmed_id(record.{{ known.id }}) as {{ known.id }}
    {%- else -%}
    frozen.{{ known.key }},
    frozen.source,
    frozen.{{ known.id }}
    {%- endif %}
{%- endmacro %}

{% macro version_columns(feed, part) -%}
    {%- if part == 'raw' -%}
    {{ is_deleted(feed) }} as is_deleted,
    record.batch_id,
    record.row_number,
    latest.version_count + coalesce(frozen.version_count, 0) as version_count,
    coalesce(latest.has_version_conflict, false) as has_version_conflict,
    {{ has_id_conflict(feed) }} as has_id_conflict,
    latest.known_at
    {%- else -%}
    frozen.is_deleted,
    frozen.batch_id,
    frozen.row_number,
    frozen.version_count,
    frozen.has_version_conflict,
    frozen.has_id_conflict,
    frozen.known_at
    {%- endif %}
{%- endmacro %}
