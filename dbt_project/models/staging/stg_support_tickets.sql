{{ config(
    tags=['staging'],
    meta={'scope': 'ticket', 'scope_key': 'ticket_id', 'primary_key': ['ticket_id']}
) }}

with
{{ latest_versions('support_tickets', 'ticket_id', 'created_at') }},

-- What only the versions together tell: a reopened ticket's latest version has lost its first resolution, and a score
-- counts from the first version that has it.
over_versions as (
    select
        ticket_id,
        min(record.resolved_at)
            {%- if is_as_of() %} filter (where not visible.is_history or record.resolved_at <= {{ known_until() }}){% endif %}
            as first_resolved_at,
        min(record.updated_at) filter (
            where record.satisfaction_score is not null
            {%- if is_as_of() %} and (not visible.is_history or record.updated_at <= {{ known_until() }}){% endif %}
        ) as satisfaction_at
    from visible
    inner join {{ source('raw', 'support_tickets') }} as record using (ticket_id, batch_id, row_number)
    group by ticket_id
)

{%- set told = 'status_record' if is_as_of() else 'record' %}

select
    record.ticket_id,
    record.updated_at,
    record.created_at,
    coalesce({{ told }}.status, 'new') as status,
    record.channel,
    record.category,
    record.customer_id,
    record.email,
    record.phone,
    coalesce(record.priority, 'normal') as priority,
    {{ once_known('record.first_response_at') }} as first_response_at,
    {{ once_known('record.resolved_at') }} as resolved_at,
    coalesce(record.replies, 0) as replies,
    coalesce(record.reopens, 0) as reopens,
    record.order_id,
    {{ told }}.satisfaction_score,
    {{ told }}.satisfaction_scale_max,
    record.compensation_amount,
    record.currency,
    record.extra,
    over_versions.first_resolved_at,
    case when {{ told }}.satisfaction_score is not null then over_versions.satisfaction_at end as satisfaction_at,
    latest.batch_id,
    latest.row_number,
    latest.version_count,
    latest.has_version_conflict,
    latest.known_at
from latest
inner join {{ source('raw', 'support_tickets') }} as record using (ticket_id, batch_id, row_number)
inner join over_versions using (ticket_id)
{%- if is_as_of() %}
left join latest_status using (ticket_id)
left join {{ source('raw', 'support_tickets') }} as status_record
    on status_record.ticket_id = latest_status.ticket_id
    and status_record.batch_id = latest_status.batch_id
    and status_record.row_number = latest_status.row_number
{%- endif %}
