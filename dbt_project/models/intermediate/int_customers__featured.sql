{{ config(
    tags=['daily', 'churn'],
    pre_hook='{{ plan_for_whole_tables() }}',
    meta={'primary_key': ['customer_key']}
) }}

-- The same definition in pandas, which this is tested against: plugins/customer360/churn/features.py.
with orders as (
    select
        customer_key,
        ordered_on,
        is_valid,
        is_cancelled,
        coalesce(net_amount, 0) as net_amount,
        discount_amount > 0 as is_discounted,
        status = 'returned' or original_refunded_amount > 0 as is_returned,
        is_late,
        item_count,
        sales_channel in ('web', 'app') as is_online
    from {{ ref('fct_orders') }}
    where customer_key is not null
        and ordered_on <= {{ as_of_on() }}
        and (is_valid or is_cancelled)
),

-- Sorted first, for there are nearly as many days as orders: grouped by a hash table they would not fit into memory, and
-- would have to be sorted by day afterwards.
purchase_days as (
    select
        customer_key,
        ordered_on,
        sum(net_amount)::double precision as net_amount,
        bool_or(is_returned or coalesce(is_late, false)) as is_troubled,
        sum(item_count)::double precision as item_count,
        bool_or(is_discounted) as is_discounted,
        bool_or(is_online) as is_online
    from (select * from orders where is_valid order by customer_key, ordered_on) as valid_orders
    group by customer_key, ordered_on
),

in_order as (
    select
        *,
        ordered_on - lag(ordered_on) over (partition by customer_key order by ordered_on) as gap_days,
        lead(ordered_on) over (partition by customer_key order by ordered_on) is null as is_last
    from purchase_days
),

-- Measured in the pass that uses it: a repeated pass of a day compares with the records as they are now.
population as (
    select percentile_cont(0.5) within group (order by gap_days) as median_gap_days
    from in_order
),

purchases as (
    select
        customer_key,
        count(*) as purchase_day_count,
        min(ordered_on) as first_ordered_on,
        max(ordered_on) as last_ordered_on,
        avg(net_amount) as mean_order_amount,
        avg(net_amount) filter (where gap_days is not null) as repeat_mean_order_amount,
        bool_or(is_troubled) filter (where is_last) as is_last_order_troubled,
        avg(gap_days)::double precision as mean_gap_days,
        case when count(gap_days) > 1 then stddev_pop(gap_days)::double precision end as gap_deviation_days,
        max(gap_days) filter (where is_last)::double precision as last_gap_days,
        max(gap_days)::double precision as longest_gap_days,
        max(net_amount) filter (where is_last) as last_order_amount,
        max(net_amount) filter (where gap_days is null) as first_order_amount,
        max(item_count) filter (where gap_days is null) as first_item_count,
        bool_or(is_discounted) filter (where gap_days is null) as is_first_discounted,
        bool_or(is_online) filter (where gap_days is null) as is_first_online,
        count(*) filter (
            where ordered_on > {{ as_of_on() }} - 365 and ordered_on <= {{ as_of_on() }} - 365 + 91
        ) as year_ago_day_count,
        {%- for days in [14, 28, 56, 91, 182, 365] %}
        count(*) filter (where gap_days is not null and ordered_on > {{ as_of_on() }} - {{ days }}) as repeat_day_count_{{ days }}d
        {{- ',' if not loop.last }}
        {%- endfor %}
    from in_order
    group by customer_key
),

qualities as (
    select
        customer_key,
        count(*) filter (where is_valid) as order_count,
        avg(is_cancelled::integer)::double precision as cancelled_share,
        avg(is_discounted::integer) filter (where is_valid)::double precision as discounted_share,
        avg(is_returned::integer) filter (where is_valid)::double precision as returned_share,
        avg(is_late::integer) filter (where is_valid)::double precision as late_share
    from orders
    group by customer_key
),

sessions as (
    select
        customer_key,
        count(*) filter (where started_on > {{ as_of_on() }} - 28) as session_count_28d,
        count(*) filter (where started_on > {{ as_of_on() }} - 91) as session_count_91d,
        coalesce(sum(product_views) filter (where started_on > {{ as_of_on() }} - 28), 0)::bigint as product_view_count_28d,
        count(*) filter (where started_on > {{ as_of_on() }} - 28 and add_to_carts > 0 and order_id is null)
            as abandoned_cart_count_28d,
        {{ as_of_on() }} - max(started_on) as last_session_days
    from {{ ref('fct_sessions') }}
    where customer_key is not null and started_on <= {{ as_of_on() }}
    group by customer_key
),

tickets as (
    select
        customer_key,
        count(*) as ticket_count,
        count(*) filter (where is_complaint) as complaint_count,
        count(*) filter (where is_complaint and created_on > {{ as_of_on() }} - 91) as complaint_count_91d,
        bool_or(is_open) as has_open_ticket,
        (array_agg(satisfaction order by satisfaction_at desc, ticket_key desc) filter (where satisfaction is not null))[1]
            as last_satisfaction
    from {{ ref('fct_tickets') }}
    where customer_key is not null and created_on <= {{ as_of_on() }}
    group by customer_key
)

select
    customer_key,
    {{ as_of_on() }} as as_of_on,
    order_count,
    purchase_day_count,
    purchase_day_count - 1 as repeat_day_count,
    (purchase_day_count = 1)::integer::double precision as is_one_time,
    first_ordered_on,
    last_ordered_on,
    ({{ as_of_on() }} - last_ordered_on)::bigint as recency_days,
    ({{ as_of_on() }} - first_ordered_on)::bigint as tenure_days,
    (last_ordered_on - first_ordered_on)::bigint as repeat_span_days,
    (last_ordered_on - first_ordered_on + median_gap_days) / purchase_day_count as expected_gap_days,
    ({{ as_of_on() }} - last_ordered_on) / ((last_ordered_on - first_ordered_on + median_gap_days) / purchase_day_count)
        as overdue_ratio,
    case when purchase_day_count = 1 then {{ as_of_on() }} - last_ordered_on else 0 end::double precision
        as one_time_recency_days,
    mean_gap_days,
    gap_deviation_days,
    last_gap_days,
    longest_gap_days,
    gap_deviation_days / mean_gap_days as gap_variation,
    last_gap_days / mean_gap_days as last_gap_ratio,
    ({{ as_of_on() }} - last_ordered_on) / mean_gap_days as recency_gap_ratio,
    ({{ as_of_on() }} - last_ordered_on) / longest_gap_days as recency_longest_ratio,
    repeat_day_count_14d,
    repeat_day_count_28d,
    repeat_day_count_56d,
    repeat_day_count_91d,
    repeat_day_count_182d,
    repeat_day_count_365d,
    year_ago_day_count,
    greatest(mean_order_amount, 0) as mean_order_amount,
    case when purchase_day_count > 1 then greatest(repeat_mean_order_amount, 0) end as repeat_mean_order_amount,
    greatest(last_order_amount, 0) / nullif(greatest(mean_order_amount, 0), 0) as last_amount_ratio,
    greatest(first_order_amount, 0) as first_order_amount,
    first_item_count,
    is_first_discounted::integer::double precision as is_first_discounted,
    is_first_online::integer::double precision as is_first_online,
    cancelled_share,
    discounted_share,
    returned_share,
    late_share,
    is_last_order_troubled::integer::double precision as is_last_order_troubled,
    coalesce(session_count_28d, 0) as session_count_28d,
    coalesce(session_count_91d, 0) as session_count_91d,
    coalesce(product_view_count_28d, 0) as product_view_count_28d,
    coalesce(abandoned_cart_count_28d, 0) as abandoned_cart_count_28d,
    last_session_days::double precision as last_session_days,
    coalesce(ticket_count, 0)::double precision / order_count as tickets_per_order,
    coalesce(complaint_count, 0)::double precision / order_count as complaints_per_order,
    coalesce(complaint_count_91d, 0)::double precision / order_count as recent_complaints_per_order,
    coalesce(has_open_ticket, false)::integer::double precision as has_open_ticket,
    last_satisfaction::double precision as last_satisfaction
from purchases
inner join qualities using (customer_key)
left join sessions using (customer_key)
left join tickets using (customer_key)
cross join population
