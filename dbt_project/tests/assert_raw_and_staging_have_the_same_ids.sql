-- Every id of a claimed batch that is loaded or published, or that was frozen, is staged once, and nothing else is.
{%- for feed, key in [('orders', 'order_id'), ('web_sessions', 'session_id'), ('support_tickets', 'ticket_id')] %}
(
    with visible as (
        select distinct record.{{ key }} as id
        from {{ source('raw', feed) }} as record
        inner join {{ source('ops', 'batches') }} as batch using (batch_id)
        where batch.claimed_at is not null and batch.state in ('loaded', 'published')
        union
        select {{ key }} from {{ source('retention', 'frozen_' ~ feed) }}
    )

    select '{{ feed }}' as feed, visible.id as in_raw, staged.{{ key }} as in_staging
    from visible
    full join {{ ref('stg_' ~ feed) }} as staged on staged.{{ key }} = visible.id
    where visible.id is null or staged.{{ key }} is null
)
{{ 'union all' if not loop.last }}
{%- endfor %}
