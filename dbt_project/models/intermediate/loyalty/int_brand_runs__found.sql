{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with occasions as not materialized (
    select customer_key, category, purchase_on, brand
    from {{ ref('int_brand_purchases__summed') }}
    where brand_place = 1 and brand is not null
),

compared as (
    select
        *,
        row_number() over in_order as occasion_number,
        brand is distinct from lag(brand) over in_order as is_run_start
    from occasions
    window in_order as (partition by customer_key, category order by purchase_on)
),

runs as (
    select
        *,
        -- How long the run is by now: occasions since the last change of brand.
        occasion_number - max(case when is_run_start then occasion_number end) over in_order + 1 as run_length
    from compared
    window in_order as (partition by customer_key, category order by purchase_on)
),

-- Two figures in one number, so that one pass finds the greater of the first and, among equals, of the second.
categories as (
    select
        customer_key,
        category,
        max(run_length * 1000000 + (purchase_on - '1990-01-01'::date)) as longest,
        max(occasion_number * 1000000 + run_length) as latest
    from runs
    group by customer_key, category
    having count(*) >= {{ parameter('brand_minimum_occasion_count') }}
),

-- One category speaks for the customer: the one with the longest run, then the one where it was latest.
speaking as (
    select distinct on (customer_key)
        customer_key,
        category,
        longest / 1000000 as max_brand_run,
        '1990-01-01'::date + (longest % 1000000)::integer as longest_on,
        latest % 1000000 as current_brand_run
    from categories
    order by customer_key, longest desc, category
),

longest as (
    select speaking.*, occasions.brand as tucker_brand
    from speaking
    inner join occasions
        on occasions.customer_key = speaking.customer_key
        and occasions.category = speaking.category
        and occasions.purchase_on = speaking.longest_on
),

cadences as (
    select * from {{ ref('int_purchase_cadences__measured') }}
)

select
    cadences.customer_key,
    longest.category as tucker_category,
    longest.tucker_brand,
    longest.current_brand_run,
    longest.max_brand_run,
    longest.max_brand_run >= {{ parameter('brand_loyalty_minimum_run') }} as is_tucker_loyal,
    case
        when cadences.purchase_day_count >= {{ parameter('store_loyalty_minimum_purchase_days') }} then
            greatest(cadences.last_gap_days, cadences.second_last_gap_days)
                <= {{ parameter('store_loyalty_maximum_gap_ratio') }} * cadences.expected_gap_days
    end as is_tucker_store_loyal
from cadences
left join longest using (customer_key)
