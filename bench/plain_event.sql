-- plain_event.sql: the least that any pipeline has to write: the events and their two indexes.

CREATE TABLE event (
    event_id bigint NOT NULL,
    message_id text NOT NULL,
    type text NOT NULL,
    event text,
    source text NOT NULL,
    identifier_id bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    sent_at timestamptz,
    user_id text,
    anonymous_id text,
    previous_id text,
    group_id text,
    linked_ids bigint[],
    properties jsonb,
    traits jsonb,
    context jsonb
);
CREATE UNIQUE INDEX ON event (message_id);
CREATE INDEX ON event (identifier_id, occurred_at);
