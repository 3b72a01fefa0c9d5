{{ config(
    tags=['live'],
    meta={'scope': 'customer', 'scope_key': 'customer_key', 'primary_key': ['customer_key', 'channel']}
) }}

-- What every record of a customer says, each statement with the time at which the customer made it.
with statements as (
    {%- for name, staged, fact in [
        ('orders', ref('stg_orders'), ref('fct_orders')),
        ('web_sessions', ref('stg_web_sessions'), ref('fct_sessions')),
        ('support_tickets', ref('stg_support_tickets'), ref('fct_tickets')),
    ] %}
    {%- set feed = var('feeds')[name] %}
    select
        fact.customer_key,
        stated.channel,
        stated.allowed,
        stated.preferred,
        coalesce(stated.stated_at, record.updated_at) as stated_at,
        '{{ name }}' as feed,
        record.{{ feed.key }} as record_key
    from {{ staged }} as record
    inner join {{ fact }} as fact on fact.{{ feed.key }} = record.{{ feed.key }}
    cross join lateral jsonb_to_recordset(record.contact_preferences)
        as stated (channel text, allowed boolean, preferred boolean, stated_at timestamptz)
    where record.contact_preferences is not null
        and fact.customer_key is not null
        {{- only_dirty('customer', 'fact.customer_key') }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
)

-- Of two statements of one moment a no is the later one: a stated no is never overruled by a doubt.
select
    customer_key,
    channel,
    (array_agg(allowed order by stated_at desc, allowed, feed, record_key) filter (where allowed is not null))[1]
        as is_allowed,
    max(stated_at) filter (where allowed is not null) as allowed_stated_at,
    (array_agg(feed order by stated_at desc, allowed, feed, record_key) filter (where allowed is not null))[1]
        as allowed_feed,
    (array_agg(record_key order by stated_at desc, allowed, feed, record_key) filter (where allowed is not null))[1]
        as allowed_record_key,
    (array_agg(preferred order by stated_at desc, preferred, feed, record_key) filter (where preferred is not null))[1]
        as is_preferred,
    max(stated_at) filter (where preferred is not null) as preferred_stated_at,
    (array_agg(feed order by stated_at desc, preferred, feed, record_key) filter (where preferred is not null))[1]
        as preferred_feed,
    (array_agg(record_key order by stated_at desc, preferred, feed, record_key)
        filter (where preferred is not null))[1] as preferred_record_key
from statements
group by customer_key, channel
