/*
source: zendesk
version: 1
feed: support_tickets
title: "Zendesk Support: tickets of the incremental export (API v2), with users and metric sets"
page: docs/sources/zendesk.md
shapes: [json]
records: tickets
beside: [users, metric_sets]
needs: [requester_id, via, status]
columns:
  id: text
  created_at: text
  updated_at: text
  generated_timestamp: BIGINT
  status: text
  priority: text
  type: text
  subject: text
  raw_subject: text
  description: text
  requester_id: text
  via: {channel: text}
  tags: [text]
  satisfaction_rating: {score: text}
  metric_set: {replies: text, reopens: text, solved_at: text, reply_time_in_minutes: {calendar: BIGINT}}
ignores: [
  url, external_id, recipient, submitter_id, assignee_id, organization_id, group_id, collaborator_ids, follower_ids,
  email_cc_ids, forum_topic_id, problem_id, has_incidents, is_public, due_at, custom_fields, fields, custom_status_id,
  encoded_id, sharing_agreement_ids, followup_ids, ticket_form_id, brand_id, allow_channelback, allow_attachments,
  from_messaging_channel, support_type, result_type]
*/
with requesters as (
    select
        person.id,
        arg_max(person, coalesce(instant(person.updated_at), timestamptz '1970-01-01')) as person
    from (
        select from_json(record, '{"id":"VARCHAR","email":"VARCHAR","phone":"VARCHAR","updated_at":"VARCHAR"}') as person
        from users
    )
    group by person.id
),

metrics as (
    select
        metric.ticket_id as ticket_id,
        arg_max(metric, coalesce(instant(metric.updated_at), timestamptz '1970-01-01')) as metric
    from (
        select from_json(record, '{"ticket_id":"VARCHAR","updated_at":"VARCHAR","replies":"VARCHAR",
            "reopens":"VARCHAR","solved_at":"VARCHAR","reply_time_in_minutes":{"calendar":"BIGINT"}}') as metric
        from metric_sets
    )
    group by metric.ticket_id
),

tickets as (
    select
        input.* exclude (status, priority),
        lower(input.status) as status,
        lower(input.priority) as priority,
        lower(input.via.channel) as via_channel,
        lower(input.satisfaction_rating.score) as score,
        requesters.person.email as email,
        requesters.person.phone as phone,
        coalesce(input.metric_set.replies, metrics.metric.replies) as replies,
        coalesce(input.metric_set.reopens, metrics.metric.reopens) as reopens,
        coalesce(input.metric_set.solved_at, metrics.metric.solved_at) as solved_at,
        coalesce(input.metric_set.reply_time_in_minutes.calendar, metrics.metric.reply_time_in_minutes.calendar)
            as reply_minutes,
        list_filter(
            coalesce(input.tags, []),
            lambda tag: tag in ('complaint', 'question', 'return', 'delivery', 'payment', 'product')
        )[1] as category_tag
    from input
    left join requesters on input.requester_id = requesters.id
    left join metrics on input.id = metrics.ticket_id
)

select
    record_number,
    case
        when status = 'deleted' and not contract_has('deleted') then 'aside: a deleted ticket'
        when via_channel = 'sample_ticket' then 'aside: a sample ticket that Zendesk makes for a new account'
        else 'record'
    end as outcome,
    [
        case when category_tag is null and coalesce(type, '') <> 'question' then 'category: other' end,
        case
            when via_channel is null or via_channel in ('api', 'closed_ticket', 'rule', 'system', 'side_conversation')
                then 'channel: web'
        end
    ] as defaults,
    id as ticket_id,
    -- A change by Zendesk itself moves generated_timestamp and leaves updated_at alone.
    case
        when generated_timestamp is null or instant(updated_at) is null then updated_at
        else time_text(greatest(instant(updated_at), make_timestamp(generated_timestamp * 1000000)::timestamptz))
    end as updated_at,
    created_at,
    case
        when status = 'hold' then 'pending'
        when status = 'deleted' then 'closed'
        else status
    end as status,
    status = 'deleted' as deleted,
    case
        when via_channel = 'email' then 'email'
        when via_channel in ('voice', 'phone') then 'phone'
        when via_channel in (
            'chat', 'native_messaging', 'messaging', 'sms', 'whatsapp', 'line', 'telegram', 'viber', 'wechat',
            'mobile_sdk', 'mobile', 'apple'
        ) then 'chat'
        when via_channel in (
            'facebook', 'facebook_messenger', 'twitter', 'twitter_dm', 'twitter_favorite', 'x', 'instagram_dm',
            'any_channel', 'google_rcs'
        ) then 'social'
        else 'web'
    end as channel,
    coalesce(category_tag, case when type = 'question' then 'question' end, 'other') as category,
    requester_id as customer_id,
    filled(email) as email,
    filled(phone) as phone,
    priority,
    time_text(instant(created_at) + to_minutes(reply_minutes)) as first_response_at,
    case when status in ('solved', 'closed', 'deleted') then solved_at end as resolved_at,
    replies,
    reopens,
    case when score like 'good%' then 1 when score like 'bad%' then 0 end as satisfaction_score,
    case when score like 'good%' or score like 'bad%' then 1 end as satisfaction_scale_max,
    coalesce(raw_subject, subject) as subject,
    description as body
from tickets
