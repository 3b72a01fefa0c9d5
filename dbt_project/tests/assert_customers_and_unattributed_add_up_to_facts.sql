-- What customers have and what belongs to nobody is all there is.
with facts as (
    select
        (select coalesce(sum(gross_amount), 0) from {{ ref('fct_orders') }}) as gross_amount,
        (select coalesce(sum(net_amount), 0) from {{ ref('fct_orders') }}) as net_amount,
        (select coalesce(sum(cancelled_amount), 0) from {{ ref('fct_orders') }}) as cancelled_amount,
        (select coalesce(sum(amount), 0) from {{ ref('fct_refunds') }}) as refunded_amount,
        (select count(*) from {{ ref('fct_sessions') }}) as session_count,
        (select count(*) from {{ ref('fct_tickets') }}) as ticket_count
),

parts as (
    select gross_amount, net_amount, cancelled_amount, refunded_amount, session_count, ticket_count
    from {{ ref('customer_360') }}
    union all
    select gross_amount, net_amount, cancelled_amount, refunded_amount, session_count, ticket_count
    from {{ ref('unattributed_totals') }}
),

together as (
    select
        coalesce(sum(gross_amount), 0) as gross_amount,
        coalesce(sum(net_amount), 0) as net_amount,
        coalesce(sum(cancelled_amount), 0) as cancelled_amount,
        coalesce(sum(refunded_amount), 0) as refunded_amount,
        coalesce(sum(session_count), 0) as session_count,
        coalesce(sum(ticket_count), 0) as ticket_count
    from parts
)

select * from facts
except
select * from together
