{{ config(tags=['history'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['month_end_on', 'customer_key']}) }}

with
{{ month_ends(['supporter_minimum_answer_count', 'supporter_minimum_satisfaction', 'partner_minimum_referral_count']) }},

{{ known_customers() }},

tickets as (
    select
        customer_key,
        satisfaction,
        {{ business_date('satisfaction_at') }} as satisfaction_on,
        created_on,
        is_complaint,
        is_open,
        resolved_at
    from {{ ref('fct_tickets') }}
    where customer_key is not null and (satisfaction is not null or is_complaint)
),

purchase_days as (
    select
        customer_key,
        purchase_number,
        purchase_on,
        lead(purchase_on, 1, 'infinity'::date) over (partition by customer_key order by purchase_on) as until_on
    from {{ ref('int_purchase_days__listed') }}
),

purchases as (
    select month_ends.month_end_on, purchase_days.customer_key, purchase_days.purchase_number as purchase_day_count
    from purchase_days
    inner join month_ends
        on month_ends.month_end_on >= purchase_days.purchase_on and month_ends.month_end_on < purchase_days.until_on
),

answers as (
    select
        month_ends.month_end_on,
        tickets.customer_key,
        count(*) as answer_count,
        round(avg(tickets.satisfaction), 4) as mean_satisfaction
    from tickets
    inner join month_ends
        on tickets.satisfaction_on > month_ends.month_end_on - 365 and tickets.satisfaction_on <= month_ends.month_end_on
    where tickets.satisfaction is not null
    group by month_ends.month_end_on, tickets.customer_key
),

complaints as (
    select month_ends.month_end_on, tickets.customer_key, count(*) as open_complaint_count
    from tickets
    inner join month_ends
        on tickets.created_on <= month_ends.month_end_on and {{ is_waiting_on('month_ends.month_end_on') }}
    where tickets.is_complaint
    group by month_ends.month_end_on, tickets.customer_key
),

coupons as (
    {{ referral_coupons() }}
),

referrals as (
    select
        month_ends.month_end_on,
        identifiers.customer_key,
        count(distinct coupons.referred_customer_key) as referral_count
    from coupons
    inner join month_ends
        on coupons.ordered_on > month_ends.month_end_on - 365 and coupons.ordered_on <= month_ends.month_end_on
    inner join {{ source('identity', 'identifiers') }} as identifiers
        on identifiers.identifier_type = 'customer_id'
        and lower(identifiers.identifier) = coupons.referrer_id
        and identifiers.customer_key <> coupons.referred_customer_key
    group by month_ends.month_end_on, identifiers.customer_key
),

customers as (
    select
        month_end_on,
        known_customers.customer_key,
        coalesce(purchases.purchase_day_count, 0) as purchase_day_count,
        coalesce(answers.answer_count, 0) as answer_count,
        answers.mean_satisfaction,
        coalesce(complaints.open_complaint_count, 0) as open_complaint_count,
        coalesce(referrals.referral_count, 0) as referral_count
    from known_customers
    left join purchases using (month_end_on, customer_key)
    left join answers using (month_end_on, customer_key)
    left join complaints using (month_end_on, customer_key)
    left join referrals using (month_end_on, customer_key)
)

select
    month_end_on,
    customers.customer_key,
    {{ ladder_rung(of='month_ends') }} as ladder_rung,
    {{ ladder_evidence() }} as why
from customers
inner join month_ends using (month_end_on)
