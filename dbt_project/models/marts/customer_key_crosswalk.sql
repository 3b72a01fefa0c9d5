{{ config(
    tags=['live'],
    meta={'scope': 'customer', 'scope_key': 'customer_key', 'primary_key': ['customer_key']}
) }}

-- The journal's latest row of each key. The identity step makes every key dirty whose row it adds.
with entries as (
    select
        *,
        lead(run_id) over in_order as next_run_id,
        lead(entry_id) over in_order is null as is_latest
    from {{ source('state', 'customer_key_crosswalk') }}
    where true
        {{- only_dirty('customer', 'customer_key') }}
        {%- if is_as_of() %} and changed_at <= {{ known_until() }} {%- endif %}
    window in_order as (partition by customer_key order by entry_id)
),

-- A key that a build gave out and the candidate gate kept back may be nobody's when the next build is published (its
-- batch is held): no reader has seen it. A key was published if it was a customer's while a build was published.
published as (
    select entries.customer_key
    from entries
    inner join {{ source('ops', 'publications') }} as publications
        on publications.run_id >= entries.run_id
        and (entries.next_run_id is null or publications.run_id < entries.next_run_id)
    where entries.present_customer_key = entries.customer_key
        and not entries.is_latest
        and publications.kind <> 'daily'
)

select
    customer_key,
    present_customer_key,
    reason,
    evidence,
    changed_at
from entries
where is_latest
    and (
        present_customer_key = customer_key
        or run_id is null
        or customer_key in (select customer_key from published)
    )
