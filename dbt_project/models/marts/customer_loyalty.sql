{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

-- Nothing is computed here: each group of columns is the work of one intermediate model, where it is explained.
select
    customers.customer_key,
    {{ as_of_on() }} as as_of_on,

    repeats.purchase_day_count,
    repeats.purchase_day_count_365d,
    repeats.is_repeat_buyer,
    repeats.cross_buy_category_count,

    runs.tucker_category,
    runs.tucker_brand,
    runs.current_brand_run,
    runs.max_brand_run,
    runs.is_tucker_loyal,
    runs.is_tucker_store_loyal,

    shares.primary_category,
    shares.primary_brand,
    shares.primary_brand_share,
    shares.primary_brand_spend_share,
    shares.occasion_count,
    shares.primary_category_quantity,
    shares.primary_category_amount,

    quadrants.loyalty_segment,
    quadrants.comparison_category,
    quadrants.loyalty_quadrant,
    quadrants.current_loyalty_quadrant,

    ranks.value_amount_365d,
    ranks.value_basis,
    ranks.net_amount_365d,
    ranks.margin_amount_365d,
    ranks.margin_coverage,
    ranks.net_before_refunds_amount_365d,
    ranks.value_rank,
    ranks.cumulative_value_share,
    ranks.is_top20_value,

    satisfactions.satisfaction_ratio,
    satisfactions.satisfaction_level,
    coalesce(satisfactions.satisfaction_component_count, 0) as satisfaction_component_count,
    satisfactions.delivery_satisfaction_ratio,
    satisfactions.service_satisfaction_ratio,
    satisfactions.last_csat,
    satisfactions.csat_response_rate,
    coalesce(satisfactions.resolved_ticket_count_365d, 0) as resolved_ticket_count_365d,

    delivered.delivered_value,
    delivered.value_total,
    delivered.cost_money,
    delivered.cost_time,
    delivered.cost_energy,
    delivered.cost_physical,
    delivered.delivered_value_percentile,
    delivered.delivered_value_per_spend,
    delivered.delivered_value_per_spend_percentile,
    delivered.delivered_value_coverage,

    stages.lifecycle_stage,
    stages.lifecycle_stage_5,
    stages.stage_since_on,
    stages.previous_stage,
    stages.stage_rule,
    cadences.expected_gap_days,
    stages.purchase_trend,
    coalesce(cadences.purchase_day_count_90d, 0) as purchase_day_count_90d,
    coalesce(cadences.purchase_day_count_prior_270d, 0) as purchase_day_count_prior_270d,

    ladders.ladder_rung,
    ladders.ladder_evidence,
    ladders.ladder_since_on,
    ladders.previous_ladder_rung,

    scores.recency_days,
    coalesce(scores.order_count, 0) as order_count,
    coalesce(scores.monetary_amount, 0) as monetary_amount,
    scores.r_score,
    scores.f_score,
    scores.m_score,
    scores.rfm_segment,
    scores.current_rfm_segment,

    vips.expected_value_365_amount,
    vips.is_vip,
    vips.vip_since_on,
    vips.is_vip_at_risk,
    vips.past_value_amount,
    vips.value_at_risk_amount,
    vips.has_high_past_value,
    vips.is_high_past_value_at_risk,

    switching.switching_cost_index,
    coalesce(switching.component_count, 0) as component_count,

    risks.risk_financial,
    risks.risk_time,
    risks.risk_product,
    risks.risk_psychological,
    risks.perceived_risk_index,
    risks.risk_order_count,
    risks.risk_bought_quantity,
    risks.risk_delivered_count,
    risks.new_category_line_count,

    prices.promotion_share,
    prices.discount_depth,
    prices.is_promotion_dependent,
    prices.undiscounted_amount,

    promises.on_time_rate,
    promises.promised_delivered_count,
    promises.late_order_count_180d,
    promises.promises_kept_rate,
    promises.promise_due_count,
    promises.tenure_days,

    channels.preferred_contact_channel,
    channels.preferred_contact_channel_share,
    coalesce(channels.contact_count, 0) as contact_count,
    channels.preferred_sales_channel,
    channels.preferred_sales_channel_share,

    nexts.next_order_from_on,
    nexts.next_order_to_on,
    nexts.is_next_order_overdue,
    nexts.next_category,

    coalesce(points.points_balance, 0) as points_balance,
    coalesce(points.points_expiring_30d, 0) as points_expiring_30d,
    coalesce(points.points_365d, 0) as points_365d,
    -- Whoever has not ordered has no points, and the lowest tier.
    coalesce(tiers.tier, 'base') as tier,
    tiers.tier_since_on,

    loyalty.loyalty_score,
    loyalty.loyalty_score_coverage
from {{ source('identity', 'customers') }} as customers
{%- set models = {
    'cadences': 'int_purchase_cadences__measured', 'repeats': 'int_repeat_purchases__counted',
    'runs': 'int_brand_runs__found', 'shares': 'int_purchase_shares__measured',
    'quadrants': 'int_loyalty_quadrants__placed', 'ranks': 'int_customer_values__ranked',
    'satisfactions': 'int_satisfactions__measured', 'delivered': 'int_delivered_values__weighed',
    'stages': 'int_lifecycle_stages__assigned', 'ladders': 'int_relationship_ladders__climbed',
    'scores': 'int_rfm__scored', 'vips': 'int_vips__named', 'switching': 'int_switching_costs__ranked',
    'risks': 'int_perceived_risks__measured', 'prices': 'int_price_dependences__measured',
    'promises': 'int_promises__kept', 'channels': 'int_preferred_channels__found',
    'nexts': 'int_next_purchases__timed', 'points': 'int_loyalty_points__balanced',
    'tiers': 'int_loyalty_tiers__reached', 'loyalty': 'int_loyalty_scores__composed',
} %}
{%- for alias, model in models.items() %}
left join {{ ref(model) }} as {{ alias }} using (customer_key)
{%- endfor %}
