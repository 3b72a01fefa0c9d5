{{ config(unique_key='session_id', indexes=[
    {'columns': ['session_id'], 'unique': true}, {'columns': ['customer_key']}, {'columns': ['batch_id']},
]) }}
with arrived as (
    select distinct on (session_id) *
    from {{ source('raw', 'web_sessions') }}
    {%- if is_incremental() %}
    where batch_id > (select coalesce(max(batch_id), 0) from {{ this }})
    {%- endif %}
    order by session_id, updated_at desc, row_number desc
)
select
    arrived.batch_id, arrived.session_id, arrived.updated_at, who.customer_key, arrived.started_at, arrived.ended_at,
    arrived.engaged_seconds, arrived.page_views, arrived.product_views, arrived.searches, arrived.add_to_carts,
    arrived.checkouts_started, arrived.order_id
from arrived
left join {{ source('identity', 'records') }} as who on who.record_type = 'session' and who.record_id = arrived.session_id
{%- if is_incremental() %}
left join {{ this }} as known on known.session_id = arrived.session_id
where known.updated_at is null or known.updated_at <= arrived.updated_at
{%- endif %}
