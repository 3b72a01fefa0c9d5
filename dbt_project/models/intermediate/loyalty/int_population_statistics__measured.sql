{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['statistic']}) }}

with statistics as (
    select 'median_gap_days' as statistic, max(population_median_gap_days)::double precision as value
    from {{ ref('int_purchase_cadences__measured') }}
    union all
    select 'buyer_count', count(*)::double precision from {{ ref('int_purchase_cadences__measured') }}
    union all
    select 'shop_margin_coverage', max(shop_margin_coverage)::double precision
    from {{ ref('int_customer_values__ranked') }}
    union all
    select 'positive_value_amount_365d', max(total_positive_value_amount)::double precision
    from {{ ref('int_customer_values__ranked') }}
    union all
    select 'lowest_top20_value_amount', min(value_amount_365d)::double precision
    from {{ ref('int_customer_values__ranked') }}
    where is_top20_value
    union all
    select 'rfm_' || measure || '_cut_' || quintile, upper_bound::double precision from {{ ref('rfm_cut_points') }}
    union all
    select 'median_purchase_days_of_' || loyalty_segment, max(segment_median_purchase_days)::double precision
    from {{ ref('int_loyalty_quadrants__placed') }}
    where loyalty_segment is not null
    group by loyalty_segment
    union all
    select 'mean_satisfaction_90d_of_' || channel, avg(satisfaction)::double precision
    from {{ ref('fct_tickets') }}
    where satisfaction is not null
        and {{ in_last(parameter('satisfaction_channel_window_days') ~ '::integer', business_date('satisfaction_at')) }}
    group by channel
)

select statistic, value
from statistics
where value is not null
