{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

{%- set sources = {
    'contact': (ref('fct_tickets'), 'channel', 'created_at', 'created_on', 'true'),
    'sales': (ref('fct_orders'), 'sales_channel', 'ordered_at', 'ordered_on', 'is_valid'),
} %}

with
{%- for name, (table, channel, time, date, condition) in sources.items() %}
{{ name }}_channels as (
    select
        customer_key,
        {{ channel }} as channel,
        count(*) as use_count,
        max({{ time }}) as last_used_at,
        sum(count(*)) over (partition by customer_key) as all_count
    from {{ table }}
    where customer_key is not null and {{ condition }} and {{ date }} <= {{ as_of_on() }}
    group by customer_key, {{ channel }}
),

-- A tie goes to the channel used last.
preferred_{{ name }} as (
    select distinct on (customer_key)
        customer_key, channel, round(use_count / all_count, 6) as channel_share, all_count
    from {{ name }}_channels
    order by customer_key, use_count desc, last_used_at desc, channel
){{ ',' if not loop.last }}
{% endfor %}

select
    customer_key,
    preferred_contact.channel as preferred_contact_channel,
    preferred_contact.channel_share as preferred_contact_channel_share,
    preferred_contact.all_count::bigint as contact_count,
    preferred_sales.channel as preferred_sales_channel,
    preferred_sales.channel_share as preferred_sales_channel_share
from preferred_contact
full join preferred_sales using (customer_key)
