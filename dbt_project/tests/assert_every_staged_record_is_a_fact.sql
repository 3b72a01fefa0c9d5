-- Staging and facts hold the same orders, sessions and tickets.
{%- set pairs = [
    ('stg_orders', 'fct_orders', 'order_id'),
    ('stg_web_sessions', 'fct_sessions', 'session_id'),
    ('stg_support_tickets', 'fct_tickets', 'ticket_id'),
] %}
{%- for staged, fact, key in pairs %}
select '{{ fact }}' as fact, {{ key }} as id
from {{ ref(staged) }} as staged
full join {{ ref(fact) }} as facts using ({{ key }})
where staged.batch_id is null or facts.batch_id is null
{{ 'union all' if not loop.last }}
{%- endfor %}
