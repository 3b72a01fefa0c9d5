{{ config(
    tags=['live'],
    meta={
        'scope': 'ticket', 'scope_key': 'ticket_key', 'primary_key': ['ticket_key'],
        'touches': {'customer': 'customer_key', 'day': 'created_on'},
        'indexes': ['(customer_key)'], 'cluster_by': 'customer_key',
    }
) }}

with tickets as (
    select
        *,
        {{ business_date('created_at') }} as created_on,
        satisfaction_score / nullif(satisfaction_scale_max, 0) as satisfaction
    from {{ ref('stg_support_tickets') }}
    where is_deleted is not true
        {{- only_dirty('ticket', 'ticket_key') }}
),

rates as (
    {{ exchange_rates() }}
)

select
    tickets.ticket_key,
    tickets.source,
    tickets.ticket_id,
    ticket_customers.customer_key,
    tickets.created_at,
    tickets.created_on,
    tickets.updated_at,
    tickets.status,
    tickets.channel,
    tickets.category,
    tickets.priority,
    tickets.first_response_at,
    {{ hours_between('tickets.created_at', 'tickets.first_response_at') }} as first_response_hours,
    tickets.first_resolved_at,
    {{ hours_between('tickets.created_at', 'tickets.first_resolved_at') }} as first_resolution_hours,
    tickets.resolved_at,
    {{ hours_between('tickets.created_at', 'tickets.resolved_at') }} as final_resolution_hours,
    tickets.replies,
    tickets.reopens,
    tickets.order_id,
    tickets.order_key,
    round(tickets.satisfaction, 4) as satisfaction,
    tickets.satisfaction_at,
    round(tickets.compensation_amount * {{ rate_or_one('tickets.currency') }}, 4) as compensation_amount,
    tickets.status not in ('solved', 'closed') as is_open,
    -- A score of 2 of 5 or less is a complaint, whatever the ticket was filed under (loyalty.md).
    tickets.category = 'complaint' or coalesce(tickets.satisfaction <= 0.4, false) as is_complaint,
    tickets.version_count,
    tickets.has_version_conflict,
    tickets.has_id_conflict,
    tickets.known_at,
    tickets.batch_id
from tickets
left join {{ source('identity', 'ticket_customers') }} as ticket_customers using (ticket_key)
left join rates on {{ rate_of('tickets.currency', 'tickets.created_on') }}
