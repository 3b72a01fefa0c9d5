{{ config(
    tags=['live'],
    meta={'scope': 'customer', 'scope_key': 'customer_key', 'primary_key': ['customer_key']}
) }}

-- The journal's latest row of each key. The identity step makes every key dirty whose row it adds.
select distinct on (customer_key)
    customer_key,
    present_customer_key,
    reason,
    evidence,
    changed_at
from {{ source('state', 'customer_key_crosswalk') }}
where true
    {{- only_dirty('customer', 'customer_key') }}
    {%- if is_as_of() %} and changed_at <= {{ known_until() }} {%- endif %}
order by customer_key, entry_id desc
