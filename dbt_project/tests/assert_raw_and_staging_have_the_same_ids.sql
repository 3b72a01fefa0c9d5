-- Every record of a batch that staging reads, or that was frozen, is staged once, and nothing else is.
{%- for feed, known in var('feeds').items() %}
(
    with visible as (
        select distinct record.{{ known.key }} as record_key
        from {{ source('raw', feed) }} as record
        inner join {{ source('ops', 'visible_batches') }} as batch using (batch_id)
        union
        select {{ known.key }} from {{ source('retention', 'frozen_' ~ feed) }}
    )

    select '{{ feed }}' as feed, visible.record_key as in_raw, staged.{{ known.key }} as in_staging
    from visible
    full join {{ ref('stg_' ~ feed) }} as staged on staged.{{ known.key }} = visible.record_key
    where visible.record_key is null or staged.{{ known.key }} is null
)
{{ 'union all' if not loop.last }}
{%- endfor %}
