"""Personal values in free text are masked on the way to marts; what waits in quarantine is shown masked.

The patterns are those of customer360.contract.personal_patterns when this was written; a test compares the two.
"""

from alembic import op

revision = "0220"
down_revision = "0210"
branch_labels = None
depends_on = None

_CARD = r"""
create function raw.is_card_number(digits text) returns boolean language sql immutable strict parallel safe
    return digits ~ (
        '^(?:4[0-9]{15}(?:[0-9]{3})?|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9][0-9]|7[01][0-9]|720)[0-9]{12}'
        '|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|6(?:011|5[0-9][0-9]|4[4-9][0-9])[0-9]{12}'
        '|35(?:2[89]|[3-8][0-9])[0-9]{12}|62[0-9]{14,17})$')
    and (
        select sum(case when place % 2 = 1 then digit::int when digit::int > 4 then digit::int * 2 - 9
            else digit::int * 2 end) % 10 = 0
        from string_to_table(reverse(digits), null) with ordinality as listed (digit, place))
"""

# What has none of the beginnings has nothing to mask: that is nearly every text, ids in addresses of pages included.
_MASKED = r"""
create function raw.masked_text(value text) returns text language sql immutable parallel safe
    return case
        when value ~ (
            '@|%40|(?:\+|%2B)[ ()./-]{0,2}[0-9]|(?:^|[^0-9A-Za-z/._+-])0[0-9]|[0-9]{14}'
            '|[0-9]{4}[ .-][0-9]{4,6}[ .-][0-9]{4}'
            '|(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}')
            then raw.masked_values(value)
        else value
    end
"""

_VALUES = r"""
create function raw.masked_values(value text) returns text language plpgsql immutable strict parallel safe as $$
declare
    found text;
    masked text := regexp_replace(
        value,
        '(?:[^\s@,;:<>()\[\]"/?#&=|%\\]|%[0-9A-Fa-f][0-9A-Fa-f])+(?:@|%40)(?:[^\s@,;:<>()\[\]"/?#&=|%\\.'']+\.)+'
        '[^\s@,;:<>()\[\]"/?#&=|%\\.''0-9_-][^\s@,;:<>()\[\]"/?#&=|%\\.''0-9_-]+',
        '[e-mail]', 'g');
begin
    for found in
        select matched[1] from regexp_matches(masked,
            '(?<![0-9A-Za-z])([0-9]{14,19}|[0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}[ .-][0-9]{4}(?:[ .-][0-9]{3})?'
            '|[0-9]{4}[ .-][0-9]{6}[ .-][0-9]{4,5})(?![0-9A-Za-z])', 'g') as matched
    loop
        if raw.is_card_number(regexp_replace(found, '[^0-9]', '', 'g')) then
            masked := replace(masked, found, '[card number]');
        end if;
    end loop;
    masked := regexp_replace(
        masked, '(?<![0-9A-Za-z+])(?:\+|%2B)(?:[ ()./-]{0,2}[0-9]){8,15}(?![0-9])', '[phone number]', 'g');
    masked := regexp_replace(
        masked, '(?<![0-9A-Za-z/._+-])00[1-9](?: ?[0-9]){8,13}(?![0-9A-Za-z])', '[phone number]', 'g');
    masked := regexp_replace(
        masked,
        '(?<![0-9A-Za-z/._+-])\(?0[1-9][0-9]{1,4}\)?[ /-]{1,3}(?:[0-9]{5,9}|[0-9]{2,4}(?:[ -][0-9]{2,5}){1,4})'
        '(?![0-9A-Za-z])',
        '[phone number]', 'g');
    masked := regexp_replace(
        masked,
        '(?<![0-9A-Za-z/._+-])(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}(?![0-9A-Za-z])',
        '[phone number]', 'g');
    return regexp_replace(
        masked, '(?<![0-9A-Za-z/._+-])0[1-9][0-9]{8,9}(?![0-9A-Za-z])', '[phone number]', 'g');
end $$
"""

# A log-in may be an e-mail address, and then has an @ itself: the last one ends it.
_PAGE = r"""
create or replace function raw.page_of(url text) returns text language sql immutable parallel safe
    return nullif(
        regexp_replace(regexp_replace(url, '[?#].*$', ''), '^([A-Za-z][A-Za-z0-9+.-]*://)[^/]*@', '\1'), '')
"""

_SHOWN = r"""
create function quarantine.masked_value(value text) returns text language sql immutable parallel safe
    return case when value is null or value ~ '^(?!\+?\d{9,})[0-9TZ:+\-. ,]{1,40}$' then value
        else left(value, 1) || '••• (' || length(value) || ' characters)' end
"""

_SHOWN_RECORD = r"""
create function quarantine.masked_record(record text) returns jsonb language plpgsql immutable parallel safe as $$
declare
    fields jsonb;
begin
    fields := record::jsonb;
    if jsonb_typeof(fields) <> 'object' then
        return to_jsonb(quarantine.masked_value(record));
    end if;
    return (
        select jsonb_object_agg(raw.masked_text(key), to_jsonb(quarantine.masked_value(text)))
        from jsonb_each_text(fields) as listed (key, text));
exception when data_exception or program_limit_exceeded then
    return to_jsonb(quarantine.masked_value(record));
end $$
"""

_VIEW = """
create view quarantine.masked_rows as
select quarantine_id, batch_id, feed, row_number, quarantine.masked_record(record) as masked_record, reasons, state,
    quarantined_at, closed_at, closed_by, closed_because, release_batch_id
from quarantine.rows
"""

_REVEAL = r"""
create function quarantine.reveal(ids bigint[], because text, acted_by text default session_user)
returns table (quarantine_id bigint, record text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if btrim(coalesce(because, '')) = '' then
        raise exception 'Say why the rows are revealed: quarantine.reveal(ids, because).';
    end if;
    insert into ops.batch_actions (batch_id, action, row_count, acted_by, because)
    select q.batch_id, 'reveal', count(*),
        case when acted_by = session_user then acted_by else acted_by || ' as ' || session_user end, because
    from quarantine.rows as q where q.quarantine_id = any(ids) group by q.batch_id;
    return query select q.quarantine_id, q.record from quarantine.rows as q where q.quarantine_id = any(ids);
end $$
"""

_COMMENTS = {
    "function raw.is_card_number(text)": "Whether digits are a card number: an issuer''s, with the right check digit.",
    "function raw.masked_text(text)": "Free text with the e-mail addresses, phone and card numbers in it masked.",
    "function raw.masked_values(text)": "What raw.masked_text does with a text that may have something to mask.",
    "function quarantine.masked_value(text)":
        "A value as anybody may see it: times and amounts as they are, of all else the first character and the length.",
    "function quarantine.masked_record(text)": "A quarantined record with its values masked.",
    "function quarantine.reveal(bigint[], text, text)":
        "Quarantined records as they came. Who asked, when and why, goes on record in ops.batch_actions.",
    "view quarantine.masked_rows": "One row per quarantined row, its values masked: what role oncall sees.",
    "column quarantine.masked_rows.quarantine_id": "Number of the row, for `c360 quarantine` and quarantine.reveal.",
    "column quarantine.masked_rows.batch_id": "The batch it came with (ops.batches).",
    "column quarantine.masked_rows.feed": "The feed of the record.",
    "column quarantine.masked_rows.row_number": "Number of the record in its file, from 1.",
    "column quarantine.masked_rows.masked_record":
        "The record''s fields with masked values; one masked text where it is no JSON object.",
    "column quarantine.masked_rows.reasons": "Why it stepped aside: rule, field and message of each reason.",
    "column quarantine.masked_rows.state": "open, released, discarded or erased.",
    "column quarantine.masked_rows.quarantined_at": "When it stepped aside (UTC).",
    "column quarantine.masked_rows.closed_at": "When it left (UTC).",
    "column quarantine.masked_rows.closed_by": "Who released or discarded it.",
    "column quarantine.masked_rows.closed_because": "Why it was released or discarded.",
    "column quarantine.masked_rows.release_batch_id": "The batch by which it was released.",
}  # fmt: skip

_ACTIONS = """
alter table ops.batch_actions drop constraint batch_actions_action_check;
alter table ops.batch_actions add constraint batch_actions_action_check check (
    action in ('hold', 'unhold', 'replay', 'release', 'discard', 'tidy', 'retire', 'isolate', 'erase', 'reveal'))
"""


def upgrade() -> None:
    for statement in (
        _CARD, _VALUES, _MASKED, _PAGE, _SHOWN, _SHOWN_RECORD, _VIEW, _REVEAL, *_ACTIONS.split(";\n"),
        *(f"comment on {what} is '{text}'" for what, text in _COMMENTS.items()),
    ):  # fmt: skip
        op.execute(statement.replace(":", r"\:"))  # a colon before a word would be a parameter


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")
