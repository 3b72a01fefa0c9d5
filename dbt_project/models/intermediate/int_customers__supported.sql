{{ config(
    tags=['live'],
    meta={'scope': 'customer', 'scope_key': 'customer_key', 'primary_key': ['customer_key']}
) }}

select
    customer_key,
    count(*) as ticket_count,
    count(*) filter (where is_open) as open_ticket_count,
    count(*) filter (where is_complaint) as complaint_count,
    count(*) filter (where is_complaint and is_open) as open_complaint_count,
    min(created_at) as first_ticket_at,
    max(created_at) as last_ticket_at,
    count(first_response_hours) as answered_ticket_count,
    round(avg(first_response_hours), 4) as average_first_response_hours,
    count(first_resolution_hours) as resolved_ticket_count,
    round(avg(first_resolution_hours), 4) as average_first_resolution_hours,
    round(avg(final_resolution_hours), 4) as average_final_resolution_hours,
    sum(replies)::bigint as reply_count,
    sum(reopens)::bigint as reopen_count,
    count(satisfaction) as satisfaction_answer_count,
    round(avg(satisfaction), 4) as average_satisfaction,
    (array_agg(satisfaction order by satisfaction_at desc, ticket_key) filter (where satisfaction is not null))[1]
        as last_satisfaction,
    coalesce(sum(compensation_amount), 0) as compensation_amount
from {{ ref('fct_tickets') }}
where customer_key is not null
    {{- only_dirty('customer', 'customer_key') }}
group by customer_key
