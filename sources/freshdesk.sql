/*
source: freshdesk
version: 1
feed: support_tickets
title: "Freshdesk: tickets of the API v2 (include=requester,stats) with satisfaction ratings, JSON"
page: docs/sources/freshdesk.md
shapes: [json]
records: tickets
beside: [satisfaction_ratings, contacts]
needs: [requester_id, source, priority]
unlike: [via]
columns:
  id: text
  created_at: text
  updated_at: text
  status: text
  source: text
  priority: text
  type: text
  tags: [text]
  subject: text
  description_text: text
  requester_id: text
  requester: {email: text, phone: text, mobile: text}
  stats: {first_responded_at: text, resolved_at: text, closed_at: text}
  email: text
  phone: text
  spam: text
  deleted: text
ignores: [
  cc_emails, fwd_emails, reply_cc_emails, ticket_cc_emails, fr_escalated, email_config_id, group_id, responder_id,
  company_id, company, association_type, support_email, to_emails, product_id, due_by, fr_due_by, is_escalated,
  description, custom_fields, attachments, facebook_id, twitter_id, name, nr_due_by, nr_escalated, structured_description,
  ticket_bcc_emails, form_id, associated_tickets_count, source_additional_info, archived, sentiment_score,
  initial_sentiment_score]
*/
with ratings as (
    select
        rating.ticket_id as ticket_id,
        arg_max(rating.ratings.default_question, coalesce(rating.updated_at, rating.created_at, '')) as answer
    from (
        select from_json(record, '{"ticket_id":"VARCHAR","created_at":"VARCHAR","updated_at":"VARCHAR",
            "ratings":{"default_question":"VARCHAR"}}') as rating
        from satisfaction_ratings
    )
    group by rating.ticket_id
),

people as (
    select
        person.id as id,
        any_value(person.email) as email,
        any_value(coalesce(person.phone, person.mobile)) as phone
    from (
        select from_json(record, '{"id":"VARCHAR","email":"VARCHAR","phone":"VARCHAR","mobile":"VARCHAR"}') as person
        from contacts
    )
    group by person.id
),

tickets as (
    select
        input.* exclude (email, phone, type),
        lower(input.type) as type,
        coalesce(filled(input.requester.email), filled(input.email), filled(people.email)) as email,
        coalesce(
            filled(input.requester.phone), filled(input.requester.mobile), filled(input.phone), filled(people.phone)
        ) as phone,
        -- From -103 (extremely unhappy) to 103 (extremely happy), 100 is neutral: seven steps.
        case ratings.answer
            when '103' then 7
            when '102' then 6
            when '101' then 5
            when '100' then 4
            when '-101' then 3
            when '-102' then 2
            when '-103' then 1
        end as steps,
        list_filter(
            coalesce(input.tags, []),
            lambda tag: tag in ('complaint', 'question', 'return', 'delivery', 'payment', 'product')
        )[1] as category_tag
    from input
    left join ratings on input.id = ratings.ticket_id
    left join people on input.requester_id = people.id
),

categorised as (
    select
        *,
        coalesce(
            category_tag,
            case
                when type = 'question' then 'question'
                when type in ('refund', 'return') then 'return'
                when type in ('feature request', 'product') then 'product'
                when type = 'complaint' then 'complaint'
            end
        ) as known_category
    from tickets
)

select
    record_number,
    case
        when spam = 'true' then 'aside: spam'
        when deleted = 'true' and not contract_has('deleted') then 'aside: a deleted ticket'
        else 'record'
    end as outcome,
    [
        case when known_category is null then 'category: other' end,
        case when try_cast(status as integer) > 5 then 'status: pending' end,
        case when source not in ('1', '2', '3', '5', '6', '7', '9', '10', '13') then 'channel: web' end
    ] as defaults,
    id as ticket_id,
    updated_at,
    created_at,
    case
        when status = '2' then 'open'
        when status = '3' then 'pending'
        when status = '4' then 'solved'
        when status = '5' then 'closed'
        -- Freshdesk's own waiting states (6, 7) and those that an account adds
        when try_cast(status as integer) > 5 then 'pending'
        else status
    end as status,
    deleted = 'true' as deleted,
    case
        when source in ('1', '10') then 'email'
        when source = '3' then 'phone'
        when source in ('7', '13') then 'chat'
        when source in ('5', '6') then 'social'
        else 'web'
    end as channel,
    coalesce(known_category, 'other') as category,
    requester_id as customer_id,
    email,
    phone,
    case priority
        when '1' then 'low'
        when '2' then 'normal'
        when '3' then 'high'
        when '4' then 'urgent'
        else priority
    end as priority,
    stats.first_responded_at as first_response_at,
    case when status in ('4', '5') then coalesce(stats.resolved_at, stats.closed_at) end as resolved_at,
    steps as satisfaction_score,
    case when steps is not null then 7 end as satisfaction_scale_max,
    subject,
    description_text as body
from categorised
