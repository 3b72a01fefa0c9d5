{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

with before as (
    select distinct on (customer_key)
        customer_key,
        ladder_rung,
        previous_rung,
        valid_from_on,
        valid_to_on is null or valid_to_on >= {{ as_of_on() }} as is_open
    from {{ source('loyalty_journals', 'relationship_ladder_history') }}
    where valid_from_on < {{ as_of_on() }}
    order by customer_key, valid_from_on desc, period_id desc
),

answers as (
    select
        customer_key,
        count(*) as answer_count,
        round(avg(satisfaction), 4) as mean_satisfaction
    from {{ ref('fct_tickets') }}
    where customer_key is not null
        and satisfaction is not null
        and {{ in_last(365, business_date('satisfaction_at')) }}
    group by customer_key
),

complaints as (
    select customer_key, count(*) as open_complaint_count
    from {{ ref('fct_tickets') }}
    where customer_key is not null and is_open and is_complaint and created_on <= {{ as_of_on() }}
    group by customer_key
),

-- A referral is evidence for the customer whom the coupon names, when somebody else bought with it.
coupons as (
    select
        lower(substr(staged.coupon_code, length(prefixes.prefix) + 1)) as referrer_id,
        orders.customer_key as referred_customer_key
    from {{ ref('fct_orders') }} as orders
    -- The fact's coupon is masked, and the id in it may look like a phone number.
    inner join {{ ref('stg_orders') }} as staged using (order_key)
    inner join {{ ref('referral_coupons') }} as prefixes
        on starts_with(staged.coupon_code, prefixes.prefix) and orders.ordered_on >= prefixes.valid_from
    where orders.customer_key is not null and orders.is_valid and {{ in_last(365, 'orders.ordered_on') }}
),

referrals as (
    select identifiers.customer_key, count(distinct coupons.referred_customer_key) as referral_count
    from coupons
    inner join {{ source('identity', 'identifiers') }} as identifiers
        on identifiers.identifier_type = 'customer_id'
        and lower(identifiers.identifier) = coupons.referrer_id
        and identifiers.customer_key <> coupons.referred_customer_key
    group by identifiers.customer_key
),

customers as (
    select
        known.customer_key,
        coalesce(cadences.purchase_day_count, 0) as purchase_day_count,
        coalesce(answers.answer_count, 0) as answer_count,
        answers.mean_satisfaction,
        coalesce(complaints.open_complaint_count, 0) as open_complaint_count,
        coalesce(referrals.referral_count, 0) as referral_count
    from {{ source('identity', 'customers') }} as known
    left join {{ ref('int_purchase_cadences__measured') }} as cadences using (customer_key)
    left join answers using (customer_key)
    left join complaints using (customer_key)
    left join referrals using (customer_key)
),

climbed as (
    select
        *,
        case
            when purchase_day_count = 0 then 'prospect'
            when purchase_day_count = 1 then 'purchaser'
            -- Without an attitude nobody climbs past client, whoever may have come on a recommendation.
            when answer_count < {{ parameter('supporter_minimum_answer_count') }}
                or mean_satisfaction < {{ parameter('supporter_minimum_satisfaction') }}
                or open_complaint_count > 0
                then 'client'
            when referral_count >= {{ parameter('partner_minimum_referral_count') }} then 'partner'
            when referral_count > 0 then 'advocate'
            else 'supporter'
        end as ladder_rung
    from customers
)

select
    climbed.customer_key,
    climbed.ladder_rung,
    case
        when before.is_open and before.ladder_rung = climbed.ladder_rung then before.valid_from_on
        else {{ as_of_on() }}
    end as ladder_since_on,
    case
        when before.is_open and before.ladder_rung = climbed.ladder_rung then before.previous_rung
        else before.ladder_rung
    end as previous_ladder_rung,
    format(
        'purchase days: %s; CSAT answers in 365 d: %s, mean %s; open complaints: %s; referred customers in 365 d: %s',
        purchase_day_count, answer_count, coalesce(mean_satisfaction::text, 'none'), open_complaint_count, referral_count
    ) as ladder_evidence,
    climbed.referral_count
from climbed
left join before using (customer_key)
