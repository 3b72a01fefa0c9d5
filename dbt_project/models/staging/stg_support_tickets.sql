{{ config(
    tags=['staging'],
    meta={
        'scope': 'ticket', 'scope_key': 'ticket_key', 'primary_key': ['ticket_key'],
        'indexes': ['(ticket_key) where contact_preferences is not null'],
    }
) }}

{#
  What only the versions together tell: a reopened ticket's latest version has lost its first resolution, and a score
  counts from the first version that has it. As of a past day, of history rows what lay ahead is left out.
#}
{%- set resolved = 'resolved_at' %}
{%- set scored = 'satisfaction_score is not null' %}
{%- if is_as_of() %}
{%- set resolved = 'case when not is_history or resolved_at <= ' ~ known_until() ~ ' then resolved_at end' %}
{%- set scored = scored ~ ' and ' ~ is_status_known() %}
{%- endif %}

with
{{ latest_versions(
    'support_tickets',
    carried=['resolved_at', 'satisfaction_score'],
    over_versions={
        'first_resolved_at': 'min(' ~ resolved ~ ')',
        'satisfaction_at': 'min(case when ' ~ scored ~ ' then updated_at end)',
    }
) }}

{%- set told = 'status_record' if is_as_of() else 'record' %}

select
    {{ record_columns('support_tickets', 'raw') }},
    record.updated_at,
    record.created_at,
    coalesce({{ told }}.status, 'new') as status,
    record.channel,
    record.category,
    record.customer_id,
    record.email,
    record.phone,
    coalesce(record.priority, 'normal') as priority,
    {{ once_known('first_response_at') }} as first_response_at,
    {{ once_known('resolved_at') }} as resolved_at,
    coalesce(record.replies, 0) as replies,
    coalesce(record.reopens, 0) as reopens,
    raw.trimmed_id(record.order_id) as order_id,
    raw.record_key(record.source, record.order_id) as order_key,
    {{ told }}.satisfaction_score,
    {{ told }}.satisfaction_scale_max,
    record.compensation_amount,
    record.currency,
    record.contact_preferences,
    record.extra,
    least(latest.first_resolved_at, frozen.first_resolved_at) as first_resolved_at,
    case when {{ told }}.satisfaction_score is not null then least(latest.satisfaction_at, frozen.satisfaction_at) end
        as satisfaction_at,
    {{ version_columns('support_tickets', 'raw') }}
from latest
inner join {{ source('raw', 'support_tickets') }} as record on record.ctid = latest.row_id
{%- if is_as_of() %}
left join {{ source('raw', 'support_tickets') }} as status_record on status_record.ctid = latest.status_row_id
{%- endif %}
{{ frozen_behind('support_tickets') }}

union all

select
    {{ record_columns('support_tickets', 'frozen') }},
    frozen.updated_at,
    frozen.created_at,
    frozen.status,
    frozen.channel,
    frozen.category,
    raw.id_of_key(customer_id_map.identifier) as customer_id,
    email_map.identifier as email,
    phone_map.identifier as phone,
    frozen.priority,
    frozen.first_response_at,
    frozen.resolved_at,
    frozen.replies,
    frozen.reopens,
    frozen.order_id,
    raw.record_key(frozen.source, frozen.order_id) as order_key,
    frozen.satisfaction_score,
    frozen.satisfaction_scale_max,
    frozen.compensation_amount,
    frozen.currency,
    frozen.contact_preferences,
    null::jsonb as extra,
    frozen.first_resolved_at,
    frozen.satisfaction_at,
    {{ version_columns('support_tickets', 'frozen') }}
from {{ source('retention', 'frozen_support_tickets') }} as frozen
{{- frozen_identifiers(['customer_id', 'email', 'phone']) }}
where {{ is_frozen_ahead('support_tickets') }}
