-- What would make a shop owner shake his head: figures of one customer that contradict each other, each with its rule.
with customers as (
    select
        loyalty.*,
        loyalty.recency_days > {{ parameter('late_gap_ratio') }} * loyalty.expected_gap_days as is_late,
        churn.is_late_vs_own_cadence,
        churn.reason_1_contribution,
        churn.model_status,
        shop.first_order_sku,
        shop.first_order_category,
        shop.product_view_to_cart_rate,
        shop.cart_to_purchase_rate,
        shop.last_order_on,
        shop.tier as shop_tier,
        shop.recency_days as shop_recency_days,
        churn.recency_days as churn_recency_days,
        churn.purchase_day_count as churn_purchase_day_count,
        churn.churn_probability,
        churn.churn_band
    from {{ ref('customer_loyalty') }} as loyalty
    inner join {{ ref('customer_churn') }} as churn using (customer_key)
    inner join {{ ref('customer_360') }} as shop using (customer_key)
),

broken as (
    select
        customer_key,
        unnest(array[
            case when is_late and current_rfm_segment in ('champions', 'loyal', 'potential_loyalists', 'new_customers', 'promising')
                then 'who has not bought for twice the cadence is no champion, loyal or new customer' end,
            case when is_late and current_loyalty_quadrant in ('true', 'spurious')
                then 'who has not bought for twice the cadence does not buy often' end,
            case when is_late and lifecycle_stage in ('formation', 'stable')
                then 'who has not bought for twice the cadence neither grows nor is stable' end,
            case when lifecycle_stage_5 = 'establishment' and order_count > 0 then 'a customer who has ordered is past establishment' end,
            case when (ladder_rung = 'prospect') <> (order_count = 0) then 'a prospect is who has not ordered' end,
            case when is_repeat_buyer and purchase_day_count < 2 then 'a repeat buyer has two purchase days' end,
            case when is_vip and purchase_day_count < 2 then 'a VIP has two purchase days' end,
            case when purchase_day_count < 2 and is_late_vs_own_cadence is not null
                then 'who bought once has no cadence of his own' end,
            case when is_high_past_value_at_risk and (not has_high_past_value or model_status = 'out_of_population')
                then 'who is at risk of high value has brought it, and has ordered within a year' end,
            case when value_at_risk_amount > greatest(past_value_amount, 0)
                then 'no more is at risk than was brought' end,
            case when is_next_order_overdue <> (next_order_to_on < as_of_on)
                or (is_next_order_overdue is null) <> (next_order_to_on is null)
                then 'an expected order is overdue when its window lies in the past' end,
            case when abs(reason_1_contribution) < 0.1 then 'a reason matters' end,
            case when greatest(product_view_to_cart_rate, cart_to_purchase_rate) > 1 then 'a share is at most 1' end,
            case when value_basis = 'net_revenue' and value_amount_365d <> net_amount_365d
                then 'a value by net revenue is the net revenue' end,
            case when value_basis = 'margin' and margin_coverage = 1 and value_amount_365d <> margin_amount_365d
                then 'a value by margin is the margin where all costs are known' end,
            case when order_count = 0 and (first_order_sku is not null or first_order_category is not null or points_balance <> 0)
                then 'who has not ordered has no first article and no points' end,
            case when shop_tier <> tier or recency_days <> shop_recency_days or recency_days <> churn_recency_days
                or purchase_day_count <> churn_purchase_day_count
                then 'columns of one name have one value in all tables' end,
            case when tenure_days < recency_days then 'nobody has been a customer for less time than since the last order' end,
            case when purchase_day_count > order_count
                or purchase_day_count_365d > purchase_day_count
                or purchase_day_count_90d > purchase_day_count_365d
                then 'there are no more purchase days than orders, nor more of late than ever' end,
            case when tier <> 'base' and points_365d < {{ parameter('tier_silver_minimum_points') }}
                or tier = 'base' and points_365d >= {{ parameter('tier_silver_minimum_points') }}
                or (tier = 'platinum') <> (points_365d >= {{ parameter('tier_platinum_minimum_points') }})
                then 'a tier has its points' end,
            case when current_rfm_segment = 'champions' and (r_score < 4 or f_score < 4)
                then 'a champion buys often and has bought lately' end,
            case when ladder_rung in ('supporter', 'advocate', 'partner') and coalesce(last_csat, 0) = 0
                then 'a supporter has said something good' end,
            case when is_vip and value_at_risk_amount is null and churn_probability is not null
                then 'what a VIP brings can be at risk' end,
            case when churn_band = 'high' and churn_probability < 0.5 then 'a high band is more likely than not' end,
            case when is_tucker_loyal and (max_brand_run < 3 or purchase_day_count < 3)
                then 'three in a row takes three purchases' end,
            case when current_brand_run > max_brand_run then 'no run is longer than the longest' end,
            case when delivered_value_per_spend is not null and delivered_value is null
                then 'what is delivered per money spent is measured' end
        ]) as rule
    from customers
)

select customer_key, rule
from broken
where rule is not null
