{{ config(unique_key='ticket_id', indexes=[
    {'columns': ['ticket_id'], 'unique': true}, {'columns': ['customer_key']}, {'columns': ['batch_id']},
]) }}
with arrived as (
    select distinct on (ticket_id)
        *, min(resolved_at) over (partition by ticket_id) as first_resolved_at
    from {{ source('raw', 'support_tickets') }}
    {%- if is_incremental() %}
    where batch_id > (select coalesce(max(batch_id), 0) from {{ this }})
    {%- endif %}
    order by ticket_id, updated_at desc, row_number desc
)
select
    arrived.batch_id, arrived.ticket_id, arrived.updated_at, who.customer_key, arrived.created_at, arrived.status,
    arrived.category, arrived.first_response_at, arrived.resolved_at,
    {% if is_incremental() %}least(arrived.first_resolved_at, known.first_resolved_at){% else %}arrived.first_resolved_at{% endif %}
        as first_resolved_at,
    arrived.replies, arrived.reopens, arrived.satisfaction_score / arrived.satisfaction_scale_max as satisfaction,
    arrived.compensation_amount
from arrived
left join {{ source('identity', 'records') }} as who on who.record_type = 'ticket' and who.record_id = arrived.ticket_id
{%- if is_incremental() %}
left join {{ this }} as known on known.ticket_id = arrived.ticket_id
where known.updated_at is null or known.updated_at <= arrived.updated_at
{%- endif %}
