-- segment.sql: segments, their members, and every enter and exit.

CREATE SCHEMA cdp_segment;
COMMENT ON SCHEMA cdp_segment IS 'A view of each segment''s members.';

CREATE SEQUENCE cdp.segment_id_seq;
CREATE SEQUENCE cdp.segment_epoch_seq;
CREATE TABLE cdp.segment (
    segment_id   bigint PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    definition   text NOT NULL,
    description  text,
    owner        name NOT NULL,
    size         bigint NOT NULL DEFAULT 0,
    refresh      interval,
    refreshed_at timestamptz,
    filled_epoch bigint NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    altered_at   timestamptz,
    problem      text,
    unreadable   boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
COMMENT ON TABLE cdp.segment IS 'The segments: an SQL condition over cdp.profile each, and how many people meet it now.';
COMMENT ON COLUMN cdp.segment.problem IS
    'Why the segment stands still: its definition failed, and its members stay as they were then. NULL: it is kept. If the definition could not be read (unreadable), the segment is computed afresh as soon as it can be; otherwise by cdp.alter_segment and cdp.rebuild(true).';
COMMENT ON COLUMN cdp.segment.unreadable IS 'Whether the problem was in reading the definition, not in applying it to somebody.';
COMMENT ON COLUMN cdp.segment.refresh IS 'Its members are computed afresh so often, and by that alone; NULL: they are kept with every message and the clock.';
COMMENT ON COLUMN cdp.segment.refreshed_at IS 'When they were last.';
COMMENT ON COLUMN cdp.segment.filled_epoch IS 'Internal: when membership was last computed for everybody; states older than that do not know it.';

CREATE TABLE cdp.segment_member (
    profile_id bigint NOT NULL,
    segment_id bigint NOT NULL,
    entered_at timestamptz NOT NULL,
    PRIMARY KEY (profile_id, segment_id)
);
CREATE INDEX segment_member_segment_id ON cdp.segment_member (segment_id, profile_id);
COMMENT ON TABLE cdp.segment_member IS 'Who is in which segment now.';

CREATE TABLE cdp.segment_transition (
    profile_id  bigint NOT NULL,
    segment_id  bigint NOT NULL,
    entered     boolean NOT NULL,
    at          timestamptz NOT NULL,
    cause       text NOT NULL,
    event_id    bigint,
    due_at      timestamptz,
    received_at timestamptz,
    written_at  timestamptz
);
CREATE INDEX segment_transition_profile_id ON cdp.segment_transition (profile_id, segment_id);
CREATE INDEX segment_transition_at ON cdp.segment_transition (segment_id, at) INCLUDE (entered);
COMMENT ON TABLE cdp.segment_transition IS
    'Every enter and exit: when, and what caused it: event (event_id: the message after which the condition has held, or not; where imported lists, consent or your own tables decide, the person''s last one of that batch), merge (event_id: the message that made two people one), clock (due_at: the instant that had come), split, rules, row (a row of a table that a live segment follows has changed), import, consent, create, alter, refresh, mended (its definition can be read again), rebuild.';

COMMENT ON COLUMN cdp.segment_transition.received_at IS
    'When the oldest of the person''s messages in that batch was committed, if track_commit_timestamp is on, else its received_at; NULL: no message''s doing.';
COMMENT ON COLUMN cdp.segment_transition.written_at IS 'When a batch wrote this, shortly before its commit; NULL: it was filled in bulk.';

SELECT pg_extension_config_dump('cdp.segment', '');
SELECT pg_extension_config_dump('cdp.segment_id_seq', '');
SELECT pg_extension_config_dump('cdp.segment_epoch_seq', '');
SELECT pg_extension_config_dump('cdp.segment_member', '');
SELECT pg_extension_config_dump('cdp.segment_transition', '');
