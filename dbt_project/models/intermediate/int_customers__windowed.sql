{{ config(
    tags=['daily'],
    meta={'primary_key': ['customer_key']}
) }}

{# Windows are half open: (as_of_on - N days, as_of_on]. The longest bounds what is read. #}
{%- set windows = [7, 30, 90] %}

with orders as (
    select
        customer_key,
        {%- for days in windows %}
        count(*) filter (where ordered_on > {{ as_of_on() }} - {{ days }}) as order_count_{{ days }}d,
        coalesce(sum(net_amount) filter (where ordered_on > {{ as_of_on() }} - {{ days }}), 0) as net_amount_{{ days }}d
        {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('fct_orders') }}
    where customer_key is not null and is_valid
        and ordered_on > {{ as_of_on() }} - {{ windows | max }} and ordered_on <= {{ as_of_on() }}
    group by customer_key
),

sessions as (
    select
        customer_key,
        {%- for days in windows %}
        count(*) filter (where started_on > {{ as_of_on() }} - {{ days }}) as session_count_{{ days }}d,
        coalesce(sum(engaged_seconds) filter (where started_on > {{ as_of_on() }} - {{ days }}), 0)::bigint
            as engaged_seconds_{{ days }}d
        {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('fct_sessions') }}
    where customer_key is not null
        and started_on > {{ as_of_on() }} - {{ windows | max }} and started_on <= {{ as_of_on() }}
    group by customer_key
),

tickets as (
    select
        customer_key,
        {%- for days in windows %}
        count(*) filter (where created_on > {{ as_of_on() }} - {{ days }}) as ticket_count_{{ days }}d
        {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('fct_tickets') }}
    where customer_key is not null
        and created_on > {{ as_of_on() }} - {{ windows | max }} and created_on <= {{ as_of_on() }}
    group by customer_key
)

select
    customers.customer_key,
    {{ as_of_on() }} as as_of_on,
    {%- for days in windows %}
    coalesce(order_count_{{ days }}d, 0) as order_count_{{ days }}d,
    coalesce(net_amount_{{ days }}d, 0) as net_amount_{{ days }}d,
    coalesce(session_count_{{ days }}d, 0) as session_count_{{ days }}d,
    coalesce(engaged_seconds_{{ days }}d, 0) as engaged_seconds_{{ days }}d,
    coalesce(ticket_count_{{ days }}d, 0) as ticket_count_{{ days }}d
    {{- ',' if not loop.last }}
    {%- endfor %}
from {{ source('identity', 'customers') }} as customers
left join orders using (customer_key)
left join sessions using (customer_key)
left join tickets using (customer_key)
