-- cdp--1.0.sql is joined from the rooms' parts by `make cdp--1.0.sql`: change those, not this file.
\echo Use "CREATE EXTENSION cdp" to load this file. \quit

-- As CREATE EXTENSION sets it, for readers and for pgspot.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SCHEMA cdp;
COMMENT ON SCHEMA cdp IS 'Customer data platform: messages in, people, profiles, segments out.';

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['cdp_admin', 'cdp_ingest', 'cdp_marketer', 'cdp_analyst', 'cdp_pii'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) role_name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END $$;

-- collect.sql: the inbox, the kept events, what was refused, and which messages have been seen.

-- The inbox -----------------------------------------------------------------------------------------------------
--
-- Writers only append. A row carries the transaction that wrote it, so that a batch is what has become visible
-- since the last one (as PgQ does it); a sequence alone would miss a slow transaction that commits behind it.
-- inbox_mark() also tells the committing session to wake the worker. It is generated, not a default, so that a
-- restored row is marked with the transaction that restored it: transaction ids mean nothing in another cluster.

CREATE SEQUENCE cdp.inbox_id_seq;

CREATE FUNCTION cdp.inbox_mark() RETURNS xid8
    LANGUAGE c IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_inbox_mark';
COMMENT ON FUNCTION cdp.inbox_mark() IS
    'Internal: the current transaction, whose commit will wake the worker. Declared immutable because a generated column asks for it.';

CREATE TABLE cdp.inbox (
    message_id   text DEFAULT gen_random_uuid()::text,
    type         text DEFAULT 'track',
    source       text DEFAULT 'default',
    user_id      text,
    anonymous_id text,
    previous_id  text,
    group_id     text,
    event        text,
    properties   jsonb,
    traits       jsonb,
    context      jsonb,
    occurred_at  timestamptz DEFAULT now(),
    sent_at      timestamptz,
    received_at  timestamptz DEFAULT clock_timestamp(),
    inbox_id     bigint DEFAULT nextval('cdp.inbox_id_seq'),
    inbox_xid    xid8 GENERATED ALWAYS AS (cdp.inbox_mark()) STORED
) PARTITION BY LIST (((inbox_id >> 18) & 3));
COMMENT ON TABLE cdp.inbox IS
    'Messages on their way in: INSERT or COPY them here, in any transaction. COPY needs a list of columns: inbox_id and inbox_xid are not for senders. Emptied by rotation once processed.';
COMMENT ON COLUMN cdp.inbox.inbox_id IS 'Internal: insertion order, and by its bits 18 and 19 the partition.';
COMMENT ON COLUMN cdp.inbox.inbox_xid IS 'Internal: the transaction that wrote the row.';

-- Bits 18 and 19 of inbox_id choose the partition: writers move on every 262,144 messages, or sooner when the
-- pipeline moves the sequence on; a partition that is left and done with is truncated.
CREATE TABLE cdp.inbox_0 PARTITION OF cdp.inbox FOR VALUES IN (0) WITH (autovacuum_enabled = false);
CREATE TABLE cdp.inbox_1 PARTITION OF cdp.inbox FOR VALUES IN (1) WITH (autovacuum_enabled = false);
CREATE TABLE cdp.inbox_2 PARTITION OF cdp.inbox FOR VALUES IN (2) WITH (autovacuum_enabled = false);
CREATE TABLE cdp.inbox_3 PARTITION OF cdp.inbox FOR VALUES IN (3) WITH (autovacuum_enabled = false);
CREATE INDEX inbox_order ON cdp.inbox (inbox_xid, inbox_id);

-- How far the pipeline is. Not dumped: a restored inbox holds just the messages that were not processed.
CREATE TABLE cdp.pipeline (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    done_snapshot    pg_snapshot NOT NULL,
    tick_snapshot    pg_snapshot,
    tick_xid         xid8,
    tick_inbox_id    bigint,
    last_batch_at    timestamptz,
    last_batch_size  bigint,
    last_batch_ms    double precision,
    last_error       text,
    last_error_at    timestamptz
) WITH (fillfactor = 10);
COMMENT ON TABLE cdp.pipeline IS
    'Internal, one row: what is processed. Everything visible in done_snapshot; of what is visible in tick_snapshot, everything up to (tick_xid, tick_inbox_id).';
INSERT INTO cdp.pipeline (done_snapshot) SELECT pg_current_snapshot();

CREATE FUNCTION cdp.is_pending(xid xid8, id bigint) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT NOT pg_visible_in_snapshot(xid, p.done_snapshot)
           AND NOT coalesce(pg_visible_in_snapshot(xid, p.tick_snapshot) AND (xid, id) <= (p.tick_xid, p.tick_inbox_id), false)
    FROM cdp.pipeline p
$$;
COMMENT ON FUNCTION cdp.is_pending(xid8, bigint) IS
    'Internal: whether the inbox row with this transaction and id is still to be processed.';
REVOKE ALL ON FUNCTION cdp.is_pending(xid8, bigint) FROM PUBLIC;

-- What a dump holds of the inbox: what is pending, in the order of insertion. Were the partitions dumped, each would be
-- restored by a transaction of its own, in any order, and messages are taken in the order of their transactions.
CREATE TABLE cdp.inbox_dump (
    message_id   text,
    type         text,
    source       text,
    user_id      text,
    anonymous_id text,
    previous_id  text,
    group_id     text,
    event        text,
    properties   jsonb,
    traits       jsonb,
    context      jsonb,
    occurred_at  timestamptz,
    sent_at      timestamptz,
    received_at  timestamptz,
    inbox_id     bigint
);
COMMENT ON TABLE cdp.inbox_dump IS
    'Internal, always empty: pg_dump reads the pending messages of cdp.inbox as if they were here, and what is restored into it goes there.';

CREATE FUNCTION cdp.restore_to_inbox() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, context,
                           occurred_at, sent_at, received_at, inbox_id)
    SELECT NEW.*;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION cdp.restore_to_inbox() IS 'Internal: lets pg_restore put the pending messages of the dump into cdp.inbox.';
REVOKE ALL ON FUNCTION cdp.restore_to_inbox() FROM PUBLIC;
CREATE TRIGGER restore_to_inbox BEFORE INSERT ON cdp.inbox_dump
    FOR EACH ROW EXECUTE FUNCTION cdp.restore_to_inbox();

SELECT pg_extension_config_dump('cdp.inbox_dump', $$WHERE false UNION ALL
    SELECT message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, context,
           occurred_at, sent_at, received_at, inbox_id
    FROM cdp.inbox WHERE cdp.is_pending(inbox_xid, inbox_id) ORDER BY inbox_id$$);
SELECT pg_extension_config_dump('cdp.inbox_id_seq', '');

-- The kept events -----------------------------------------------------------------------------------------------

CREATE SEQUENCE cdp.event_id_seq;

CREATE TABLE cdp.event (
    event_id      bigint NOT NULL,
    message_id    text NOT NULL,
    type          text NOT NULL,
    event         text,
    source        text NOT NULL,
    identifier_id bigint NOT NULL,
    occurred_at   timestamptz NOT NULL,
    received_at   timestamptz NOT NULL,
    sent_at       timestamptz,
    user_id       text,
    anonymous_id  text,
    previous_id   text,
    group_id      text,
    linked_ids    bigint[],
    properties    jsonb,
    traits        jsonb,
    context       jsonb
) PARTITION BY RANGE (occurred_at);
COMMENT ON TABLE cdp.event IS
    'Every accepted message, for ever; one partition a month. event_id is the order of processing.';
COMMENT ON COLUMN cdp.event.identifier_id IS
    'The strongest identifier that the message carried. It never changes; the person it belongs to may: see cdp.profile_event.';
COMMENT ON COLUMN cdp.event.linked_ids IS
    'The message''s other identifiers that were joined to it, strongest first; NULL if none. Those refused are in cdp.identity_conflict. cdp.apply_identity_rules adds what new rules find.';

SELECT pg_extension_config_dump('cdp.event_id_seq', '');

-- What was refused ----------------------------------------------------------------------------------------------

CREATE TABLE cdp.rejected_message (
    rejection_id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    message      jsonb NOT NULL,
    reason       text NOT NULL,
    detail       text,
    source       text,
    from_inbox   boolean NOT NULL,
    received_at  timestamptz,
    rejected_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE cdp.rejected_message IS
    'Messages that could not be applied, whole, with the reason. cdp.retry_rejected() sends them through again.';
COMMENT ON COLUMN cdp.rejected_message.from_inbox IS
    'Whether message is a row of cdp.inbox as jsonb; otherwise it is what cdp.ingest was given.';
SELECT pg_extension_config_dump('cdp.rejected_message', '');
SELECT pg_extension_config_dump('cdp.rejected_message_rejection_id_seq', '');

-- Which messages have been seen: collect/message_keys.hpp --------------------------------------------------------

CREATE SEQUENCE cdp.message_key_run_id_seq;

CREATE TABLE cdp.message_key_run (
    run_id       bigint PRIMARY KEY,
    key_count    bigint NOT NULL,
    max_received timestamptz NOT NULL,
    filter       bytea NOT NULL,
    fences       bytea NOT NULL
);
COMMENT ON TABLE cdp.message_key_run IS
    'Internal: sorted runs of message keys; key_count 0: one that is being merged. filter: a Bloom filter; fences: the first 8 bytes of each chunk''s first key.';

CREATE TABLE cdp.message_key_chunk (
    run_id   bigint NOT NULL,
    chunk_no int NOT NULL,
    keys     bytea NOT NULL,
    PRIMARY KEY (run_id, chunk_no)
);
COMMENT ON TABLE cdp.message_key_chunk IS
    'Internal: the keys of the runs, up to 320 a row of 24 bytes each: 128 bits of the hash of message_id, and received_at.';
ALTER TABLE cdp.message_key_run ALTER COLUMN filter SET STORAGE EXTERNAL;
ALTER TABLE cdp.message_key_chunk ALTER COLUMN keys SET STORAGE PLAIN;
SELECT pg_extension_config_dump('cdp.message_key_run_id_seq', '');
SELECT pg_extension_config_dump('cdp.message_key_run', '');
SELECT pg_extension_config_dump('cdp.message_key_chunk', '');
-- identity.sql: identifier types, identifiers, the ledger of links.

CREATE TABLE cdp.identifier_type (
    type_id         int PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    priority        int NOT NULL CHECK (priority >= 1),
    max_per_profile int CHECK (max_per_profile >= 1),
    normalizer      text NOT NULL DEFAULT 'none' CHECK (normalizer IN ('none', 'trim', 'lower', 'email', 'phone')),
    paths           text[] NOT NULL DEFAULT '{}',
    dropped_at      timestamptz
);
COMMENT ON TABLE cdp.identifier_type IS
    'The types of identifiers: priority 1 is strongest; at most max_per_profile values a profile (NULL: no limit).';
COMMENT ON COLUMN cdp.identifier_type.paths IS
    'Where in a message values of the type are, e.g. traits.email (of identify), context.device.id. context.externalIds is read for every type.';

CREATE SEQUENCE cdp.identifier_type_id_seq START 100;

INSERT INTO cdp.identifier_type (type_id, name, priority, max_per_profile, normalizer, paths) VALUES
    (1, 'user_id', 1, 1, 'none', '{}'),
    (2, 'email', 2, 5, 'email', '{traits.email, context.traits.email}'),
    (3, 'phone', 3, 5, 'phone', '{traits.phone, context.traits.phone}'),
    (4, 'device_id', 4, 20, 'none', '{context.device.id}'),
    (5, 'anonymous_id', 5, 100, 'none', '{}');

-- A dump holds the types of above too, perhaps altered: the restored row takes the place of the built-in one.
CREATE FUNCTION cdp.replace_identifier_type() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM cdp.identifier_type t WHERE t.type_id = NEW.type_id;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION cdp.replace_identifier_type() IS
    'Internal: lets pg_restore put the identifier types of the dump in the place of the built-in ones.';
REVOKE ALL ON FUNCTION cdp.replace_identifier_type() FROM PUBLIC;
CREATE TRIGGER replace_built_in BEFORE INSERT ON cdp.identifier_type
    FOR EACH ROW EXECUTE FUNCTION cdp.replace_identifier_type();

CREATE TABLE cdp.blocked_identifier (
    type    text NOT NULL,
    pattern text NOT NULL,
    PRIMARY KEY (type, pattern)
);
COMMENT ON TABLE cdp.blocked_identifier IS
    'Values that identify nobody, beside the built-in ones: a regular expression for a type, or for all (*).';

CREATE SEQUENCE cdp.identifier_id_seq;
CREATE TABLE cdp.identifier (
    identifier_id bigint PRIMARY KEY,
    type          text NOT NULL,
    value         text COLLATE "C" NOT NULL,
    profile_id    bigint NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX identifier_value_type ON cdp.identifier (value, type);
CREATE INDEX identifier_profile_id ON cdp.identifier (profile_id);
COMMENT ON TABLE cdp.identifier IS
    'Every identifier that ever identified somebody, normalised, and whom. Seen: by occurred_at of the messages that carried it; infinity and -infinity: by none yet.';

CREATE SEQUENCE cdp.identity_link_id_seq;
CREATE TABLE cdp.identity_link (
    link_id        bigint PRIMARY KEY,
    identifier_a   bigint NOT NULL,
    identifier_b   bigint NOT NULL,
    cause          text NOT NULL,
    message_id     text,
    event_id       bigint,
    matcher        text,
    score          double precision,
    reason         text,
    actor          text,
    linked_at      timestamptz NOT NULL,
    revoked_at     timestamptz,
    revoked_by     text,
    revoked_reason text,
    after_event_id bigint,
    revoked_after_event_id bigint
);
CREATE INDEX identity_link_a ON cdp.identity_link (identifier_a, identifier_b);
CREATE INDEX identity_link_b ON cdp.identity_link (identifier_b);
COMMENT ON TABLE cdp.identity_link IS
    'Why identifiers are one person: each pair once for each cause (message, manual, match, rule). Nothing is deleted, only revoked. identifier_a is the stronger.';
COMMENT ON COLUMN cdp.identity_link.revoked_by IS
    'Who took it back; NULL for cdp.apply_identity_rules, which may make it again.';
COMMENT ON COLUMN cdp.identity_link.after_event_id IS
    'Of a link that was not made by a message when it was processed: its own number among those of events, so that cdp.apply_identity_rules makes it when it was made.';
COMMENT ON COLUMN cdp.identity_link.revoked_after_event_id IS
    'Of a link that somebody took back: when that was, as a number among those of events.';
COMMENT ON COLUMN cdp.identity_link.linked_at IS 'For a message: its occurred_at.';

CREATE TABLE cdp.identity_conflict (
    identifier_id bigint NOT NULL,
    type          text NOT NULL,
    value         text COLLATE "C" NOT NULL,
    limit_type    text,
    message_id    text NOT NULL,
    event_id      bigint NOT NULL,
    refusals      bigint NOT NULL DEFAULT 1,
    first_at      timestamptz NOT NULL,
    last_at       timestamptz NOT NULL,
    separation_id bigint,
    PRIMARY KEY (identifier_id, type, value)
);
COMMENT ON TABLE cdp.identity_conflict IS
    'What was left out of a message: the message''s strongest identifier, and the type and value left out. message_id and event_id are of the first refusal, refusals counts them.';
COMMENT ON COLUMN cdp.identity_conflict.limit_type IS
    'The type whose limit joining it would have broken, at the first refusal; NULL if that was because of a separation.';
COMMENT ON COLUMN cdp.identity_conflict.separation_id IS
    'The separation (cdp.identity_separation) that joining it would have undone, at the first refusal.';

CREATE SEQUENCE cdp.identity_separation_id_seq;
CREATE TABLE cdp.identity_separation (
    identifier_id bigint NOT NULL,
    separation_id bigint NOT NULL,
    part          bigint NOT NULL,
    first_part    bigint NOT NULL,
    after_event_id bigint NOT NULL,
    PRIMARY KEY (identifier_id, separation_id)
);
COMMENT ON TABLE cdp.identity_separation IS
    'What was taken apart (cdp.split_identifier, cdp.revoke_link) and must stay so: no message makes identifiers of different parts of one separation one person.';
COMMENT ON COLUMN cdp.identity_separation.first_part IS
    'Internal: the part when it was made. cdp.merge_profiles changes part alone.';
COMMENT ON COLUMN cdp.identity_separation.after_event_id IS
    'Internal: when it was made, as a number among those of events.';

CREATE TABLE cdp.refused_link (
    type_a     text,
    value_a    text,
    type_b     text,
    value_b    text,
    why        text NOT NULL,
    relation   text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cdp.refused_link IS
    'Rows that cdp.import_links left out, and why: of which relation. Delete those that are settled; cdp.import_links(''cdp.refused_link'') tries them again.';

CREATE SEQUENCE cdp.profile_id_seq;
CREATE TABLE cdp.profile_alias (
    alias_id   bigint PRIMARY KEY,
    profile_id bigint NOT NULL,
    merged_at  timestamptz NOT NULL DEFAULT now(),
    reason     text,
    identifier_id bigint
);
CREATE INDEX profile_alias_profile_id ON cdp.profile_alias (profile_id);
COMMENT ON TABLE cdp.profile_alias IS
    'Profile ids that were merged away: alias_id now means profile_id.';
COMMENT ON COLUMN cdp.profile_alias.identifier_id IS
    'The oldest identifier of the profile that was merged away. Whoever has it is who alias_id means, when people are taken apart.';
COMMENT ON COLUMN cdp.profile_alias.reason IS
    'Why it was merged away: message, or as cdp.merge_profiles was told (manual if nothing).';

SELECT pg_extension_config_dump('cdp.identifier_type', '');
SELECT pg_extension_config_dump('cdp.identifier_type_id_seq', '');
SELECT pg_extension_config_dump('cdp.blocked_identifier', '');
SELECT pg_extension_config_dump('cdp.identifier', '');
SELECT pg_extension_config_dump('cdp.identifier_id_seq', '');
SELECT pg_extension_config_dump('cdp.identity_link', '');
SELECT pg_extension_config_dump('cdp.identity_link_id_seq', '');
SELECT pg_extension_config_dump('cdp.identity_conflict', '');
SELECT pg_extension_config_dump('cdp.identity_separation', '');
SELECT pg_extension_config_dump('cdp.identity_separation_id_seq', '');
SELECT pg_extension_config_dump('cdp.refused_link', '');
SELECT pg_extension_config_dump('cdp.profile_alias', '');
SELECT pg_extension_config_dump('cdp.profile_id_seq', '');
-- matching.sql: matchers, and the pairs that they found.

CREATE SEQUENCE cdp.matcher_id_seq;
CREATE TABLE cdp.matcher (
    matcher_id  bigint PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    source      text,
    comparisons jsonb,
    blocking    text[],
    review      double precision NOT NULL DEFAULT 0.01 CHECK (review > 0 AND review < 1),
    model       jsonb,
    owner       name NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    trained_at  timestamptz,
    matched_at  timestamptz,
    records     bigint
);
COMMENT ON TABLE cdp.matcher IS
    'The matchers: what they compare (as it was asked for; NULL: chosen from the data), which pairs they look at, and the model that they learnt. Change them with cdp.alter_matcher.';
COMMENT ON COLUMN cdp.matcher.source IS 'The table whose rows are compared, as a qualified and quoted name; NULL: the profiles.';
COMMENT ON COLUMN cdp.matcher.review IS 'Pairs of a lower probability are not kept.';
COMMENT ON COLUMN cdp.matcher.model IS
    'The comparisons with their levels: m, u (see docs/matching.md), and the blocking rules in use. NULL until it is trained.';
COMMENT ON COLUMN cdp.matcher.owner IS 'The role that made or last changed it: the source is read, and conditions run, with this role''s rights.';
COMMENT ON COLUMN cdp.matcher.matched_at IS 'When cdp.find_matches last ran; NULL: not since the model changed, so the next run looks at all records.';
COMMENT ON COLUMN cdp.matcher.records IS 'How many records there were then.';

-- So that the next run knows which records are new or have changed.
CREATE TABLE cdp.matcher_seen (
    matcher_id bigint NOT NULL,
    part       int NOT NULL,
    prints     bytea NOT NULL,
    PRIMARY KEY (matcher_id, part)
);
ALTER TABLE cdp.matcher_seen ALTER COLUMN prints SET STORAGE EXTERNAL;
COMMENT ON TABLE cdp.matcher_seen IS
    'Internal: fingerprints of the records that cdp.find_matches has looked at, 16 bytes each, sorted.';

CREATE SEQUENCE cdp.match_id_seq;
CREATE TABLE cdp.match (
    match_id    bigint PRIMARY KEY,
    matcher     text NOT NULL,
    id_a        text COLLATE "C" NOT NULL,
    id_b        text COLLATE "C" NOT NULL,
    weight      double precision NOT NULL,
    probability double precision NOT NULL,
    status      text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted', 'rejected', 'applied', 'refused')),
    levels      smallint[] NOT NULL,
    weights     real[] NOT NULL,
    found_at    timestamptz NOT NULL DEFAULT now(),
    decided_at  timestamptz,
    decided_by  text,
    link_id     bigint,
    UNIQUE (matcher, id_a, id_b)
);
CREATE INDEX match_matcher_probability ON cdp.match (matcher, probability);
CREATE INDEX match_link_id ON cdp.match (link_id) WHERE link_id IS NOT NULL;
COMMENT ON TABLE cdp.match IS
    'Pairs of records that may be one person: profile ids, or keys of the matcher''s source, as text; id_a is the one that comes first there. weight: log2 of the odds that they are.';
COMMENT ON COLUMN cdp.match.status IS
    'pending; accepted or rejected by somebody, or by cdp.apply_matches where there is nothing to merge; applied: the profiles were made one; refused: that would have broken a limit, or undone a separation.';
COMMENT ON COLUMN cdp.match.levels IS 'Internal, for cdp.explain_match: the level of each comparison; 0: a value is missing.';
COMMENT ON COLUMN cdp.match.weights IS 'Internal: what each comparison says, then what each term frequency adds, then what it takes away that they may be related.';
COMMENT ON COLUMN cdp.match.link_id IS 'The link in cdp.identity_link that it became.';

SELECT pg_extension_config_dump('cdp.matcher', '');
SELECT pg_extension_config_dump('cdp.matcher_id_seq', '');
SELECT pg_extension_config_dump('cdp.matcher_seen', '');
SELECT pg_extension_config_dump('cdp.match', '');
SELECT pg_extension_config_dump('cdp.match_id_seq', '');
-- profile.sql: profiles, traits, accounts.

-- cdp.profile gains a column with every trait, and users index and publish it. A member of the extension would
-- not come back whole from pg_dump, so roles.sql makes it none, when its grants are set; restoring makes it anew
-- (govern.sql: replace_blank_profile).
CREATE TABLE cdp.profile (
    profile_id    bigint PRIMARY KEY,
    first_seen_at timestamptz,
    last_seen_at  timestamptz,
    event_count   bigint NOT NULL DEFAULT 0,
    traits        jsonb NOT NULL DEFAULT '{}',
    state         bytea
) WITH (fillfactor = 70);
COMMENT ON TABLE cdp.profile IS
    'A row a person: what is known of them, one column for each declared and computed trait.';
COMMENT ON COLUMN cdp.profile.traits IS 'All traits of identify messages, each key''s last value by occurred_at.';
COMMENT ON COLUMN cdp.profile.state IS 'Internal: what the traits remember. Do not change it; cdp.rebuild(true) makes it afresh.';

CREATE SEQUENCE cdp.trait_id_seq;
CREATE TABLE cdp.trait (
    trait_id     int PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    kind         text NOT NULL CHECK (kind IN ('declared', 'computed')),
    aggregate    text NOT NULL,
    type         regtype NOT NULL,
    event        text,
    path         text,
    filter       text,
    "window"     interval,
    sources      text[],
    owner        name NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    personal     boolean,
    problem      text,
    unreadable   boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN cdp.trait.problem IS
    'Why the trait stands still: its filter failed, and no event counts for it since. NULL: it is kept. If the filter could not be read (unreadable), the trait is computed afresh as soon as it can be; otherwise by cdp.rebuild(true).';
COMMENT ON COLUMN cdp.trait.unreadable IS 'Whether the problem was in reading the filter, not in applying it to some event.';
COMMENT ON COLUMN cdp.trait.personal IS
    'Whether it is personal data; NULL: its name and path decide. Set it with cdp.set_personal.';
COMMENT ON TABLE cdp.trait IS
    'The columns of cdp.profile that are kept by themselves. aggregate: of a declared trait its survivorship; path: the trait, or the property, that it reads.';

CREATE TABLE cdp.activity (
    trait_id int PRIMARY KEY,
    measure  text NOT NULL CHECK (measure IN ('times', 'days', 'first', 'last', 'sequence')),
    events   text[] NOT NULL,
    within   interval,
    filter   text,
    same     text,
    owner    name,
    filled   boolean NOT NULL DEFAULT false,
    problem  text,
    unreadable boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE cdp.activity IS
    'What segments ask of people''s events (cdp.did and its like), each kept once in every profile''s state, whichever segments ask for it.';
COMMENT ON COLUMN cdp.activity.within IS 'A window; of a sequence the longest time from the first event to the last.';
COMMENT ON COLUMN cdp.activity.owner IS 'With whose rights the filter runs.';
COMMENT ON COLUMN cdp.activity.problem IS
    'Why it stands still: its filter failed, and so do the segments that ask for it. If the filter could not be read (unreadable), all are computed afresh as soon as it can be; otherwise by cdp.rebuild(true).';

CREATE TABLE cdp.timer (
    due_at     timestamptz NOT NULL,
    profile_id bigint NOT NULL,
    PRIMARY KEY (due_at, profile_id)
);
COMMENT ON TABLE cdp.timer IS
    'When to look at people again though no message comes: a window or a comparison with now() may change something about them then. Some rows are early or stand for nothing any more.';

CREATE TABLE cdp.account (
    group_id      text COLLATE "C" PRIMARY KEY,
    traits        jsonb NOT NULL DEFAULT '{}',
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    state         bytea
) WITH (fillfactor = 70);
COMMENT ON TABLE cdp.account IS
    'What group messages say of each group: all its traits, each key''s last value by occurred_at.';

CREATE TABLE cdp.account_member (
    profile_id bigint NOT NULL,
    group_id   text COLLATE "C" NOT NULL,
    since      timestamptz NOT NULL,
    PRIMARY KEY (profile_id, group_id)
);
CREATE INDEX account_member_group_id ON cdp.account_member (group_id);
COMMENT ON TABLE cdp.account_member IS 'Who belongs to which group, since the first group message that says so.';

SELECT pg_extension_config_dump('cdp.trait', '');
SELECT pg_extension_config_dump('cdp.trait_id_seq', '');
SELECT pg_extension_config_dump('cdp.activity', '');
SELECT pg_extension_config_dump('cdp.timer', '');
SELECT pg_extension_config_dump('cdp.account', '');
SELECT pg_extension_config_dump('cdp.account_member', '');

CREATE VIEW cdp.profile_event AS
    SELECT i.profile_id, e.*
    FROM cdp.event e JOIN cdp.identifier i USING (identifier_id);
COMMENT ON VIEW cdp.profile_event IS 'The events, each with the profile that it belongs to now.';
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
-- groups.sql: segments of people whom somebody names, and segments that exclude each other.

CREATE TABLE cdp.segment_list (
    segment_id bigint NOT NULL,
    type       text NOT NULL,
    value      text COLLATE "C" NOT NULL,
    PRIMARY KEY (value, type, segment_id)
);
CREATE INDEX segment_list_segment_id ON cdp.segment_list (segment_id);
COMMENT ON TABLE cdp.segment_list IS
    'The identifiers that cdp.import_segment was given, normalised, those that nobody has yet too. Whoever has one is in that segment.';

-- A view, so that segments of those who may not see identifiers can ask who is on a list.
CREATE VIEW cdp.listed_identifier AS
    SELECT l.segment_id, i.identifier_id, i.profile_id
    FROM cdp.segment_list l JOIN cdp.identifier i ON i.value = l.value AND i.type = l.type;
COMMENT ON VIEW cdp.listed_identifier IS 'The identifiers that are on the list of an imported segment and that somebody has, and who.';

CREATE TABLE cdp.priority_list (
    list    text NOT NULL,
    place   int NOT NULL,
    segment text NOT NULL,
    PRIMARY KEY (list, place)
);
COMMENT ON TABLE cdp.priority_list IS
    'The priority lists and their segments, the first first. For each there is a segment named <list>_<segment>: who is in it and in none before it.';

SELECT pg_extension_config_dump('cdp.segment_list', '');
SELECT pg_extension_config_dump('cdp.priority_list', '');
-- activate.sql: destinations, and who is in them. Their tables and publications are ordinary objects, no members of
-- the extension: they come back from pg_dump whole, and are found again by name.

CREATE SCHEMA cdp_out;
COMMENT ON SCHEMA cdp_out IS 'The tables of destinations: what leaves for other systems.';
GRANT USAGE ON SCHEMA cdp_out TO cdp_admin;

CREATE SEQUENCE cdp.destination_id_seq;
CREATE TABLE cdp.destination (
    destination_id bigint PRIMARY KEY,
    name           text NOT NULL UNIQUE,
    segment        text,
    key            text NOT NULL,
    columns        jsonb NOT NULL,
    purpose        text,
    table_name     text NOT NULL UNIQUE,
    owner          name NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    reads          name[] NOT NULL,
    problem        text,
    channel        text,
    asks_segments  boolean NOT NULL,
    asks_purposes  text[] NOT NULL
);
COMMENT ON TABLE cdp.destination IS
    'The destinations: whom (members of segment, or everybody), by which key, and which columns, as SQL over cdp.profile.';
COMMENT ON COLUMN cdp.destination.table_name IS 'The table, as a qualified and quoted name.';
COMMENT ON COLUMN cdp.destination.owner IS 'The role that made it: its columns are computed with this role''s rights.';
COMMENT ON COLUMN cdp.destination.reads IS 'The columns of cdp.profile that its columns are computed from.';
COMMENT ON COLUMN cdp.destination.asks_segments IS 'Whether its columns call cdp.segment_names().';
COMMENT ON COLUMN cdp.destination.asks_purposes IS 'The purposes that its columns ask cdp.consented for.';
COMMENT ON COLUMN cdp.destination.purpose IS 'Only people whose consent covers this purpose are ever in it; NULL: everybody.';
COMMENT ON COLUMN cdp.destination.channel IS 'The channel that the consent must be for; NULL: every channel.';
COMMENT ON COLUMN cdp.destination.problem IS
    'Why it stands still: people leave it, nobody enters or changes. cdp.rebuild(true) puts it right and clears this. NULL: it is kept current.';

-- Of destinations that are keyed by an identifier: which row is whose. So a row is found again when its person has
-- lost that identifier.
CREATE TABLE cdp.destination_member (
    destination_id bigint NOT NULL,
    profile_id     bigint NOT NULL,
    key            text COLLATE "C" NOT NULL,
    PRIMARY KEY (destination_id, profile_id),
    UNIQUE (destination_id, key)
);
COMMENT ON TABLE cdp.destination_member IS
    'Who is in which destination under which key, where that is not profile_id.';

SELECT pg_extension_config_dump('cdp.destination', '');
SELECT pg_extension_config_dump('cdp.destination_id_seq', '');
SELECT pg_extension_config_dump('cdp.destination_member', '');
-- delivery.sql: what cdp-relay delivers to, and what became of every row. The relay writes most of it (src/relay/README.md).

CREATE TABLE cdp.connector (
    name        text COLLATE "C" PRIMARY KEY,
    description text,
    endpoint    text,
    method      text,
    url         text,
    headers     jsonb,
    auth        jsonb,
    options     jsonb,
    batch_size  int CHECK (batch_size > 0),
    rate_limit  double precision CHECK (rate_limit > 0),
    repeats     boolean,
    require     jsonb,
    before      jsonb,
    body        jsonb,
    after       jsonb,
    deletes     jsonb,
    success     jsonb,
    retry       jsonb,
    refuse      jsonb,
    shipped     boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE cdp.connector IS
    'How each network is spoken to over HTTP, as data: put in rows of your own. The format: docs/connectors.md.';
COMMENT ON COLUMN cdp.connector.endpoint IS 'The network''s address, where cdp.set_delivery names no other.';
COMMENT ON COLUMN cdp.connector.method IS 'Of the request: POST unless it says otherwise.';
COMMENT ON COLUMN cdp.connector.url IS 'Where to, as a template.';
COMMENT ON COLUMN cdp.connector.headers IS 'An object: header → template.';
COMMENT ON COLUMN cdp.connector.auth IS
    'How the request proves whom it is from. Secrets stand in the relay''s environment, here only the names of their variables.';
COMMENT ON COLUMN cdp.connector.options IS 'Options that cdp.set_delivery may give, with their defaults.';
COMMENT ON COLUMN cdp.connector.batch_size IS 'The most rows in a request.';
COMMENT ON COLUMN cdp.connector.rate_limit IS 'The most requests a second. NULL: no limit.';
COMMENT ON COLUMN cdp.connector.repeats IS 'Whether a key may stand twice in a request.';
COMMENT ON COLUMN cdp.connector.require IS 'What a row must have to be sent at all; without it, it is refused without a request.';
COMMENT ON COLUMN cdp.connector.before IS 'Requests that go before that of the batch.';
COMMENT ON COLUMN cdp.connector.body IS 'The body, as a template over the rows.';
COMMENT ON COLUMN cdp.connector.after IS 'Requests that follow that of the batch.';
COMMENT ON COLUMN cdp.connector.deletes IS 'What is different for rows that left.';
COMMENT ON COLUMN cdp.connector.success IS 'Which answers mean that a row was taken.';
COMMENT ON COLUMN cdp.connector.retry IS 'Which answers mean: later, unchanged.';
COMMENT ON COLUMN cdp.connector.refuse IS 'Which answers mean that a row will never be taken as it is.';
COMMENT ON COLUMN cdp.connector.shipped IS 'Comes with the extension; not dumped.';

CREATE TABLE cdp.delivery_target (
    destination   text COLLATE "C" PRIMARY KEY,
    connector     text NOT NULL,
    endpoint      text,
    secret_env    text,
    options       jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    generation    bigint NOT NULL DEFAULT hashtextextended(gen_random_uuid()::text, 0),
    started_lsn   pg_lsn,
    last_error    text,
    last_error_at timestamptz
);
COMMENT ON TABLE cdp.delivery_target IS
    'The destinations that cdp-relay delivers, as cdp.set_delivery says. Rows change by that function and cdp.remove_delivery.';
COMMENT ON COLUMN cdp.delivery_target.secret_env IS 'The environment variable of the relay that holds the secret; never the secret.';
COMMENT ON COLUMN cdp.delivery_target.generation IS
    'Another number after every change: a relay that has not seen it yet writes nothing more.';
COMMENT ON COLUMN cdp.delivery_target.started_lsn IS
    'Where the log stood when, the relay''s replication slot being there, everything from before was in cdp.delivery as wanted; NULL: not yet.';
COMMENT ON COLUMN cdp.delivery_target.last_error IS 'Why nothing could be delivered when that was last tried; NULL: it is well.';

CREATE TABLE cdp.delivery (
    destination  text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    status       text NOT NULL CHECK (status IN ('pending', 'delivered', 'refused', 'removed')),
    wanted_lsn   pg_lsn NOT NULL,
    wanted_at    timestamptz NOT NULL DEFAULT now(),
    wanted       uuid,
    held         uuid,
    refused      uuid,
    sent_at      timestamptz,
    answered_at  timestamptz,
    answered_lsn pg_lsn,
    http_status  int,
    reason       text,
    after        text[] COLLATE "C",
    PRIMARY KEY (destination, key)
) WITH (fillfactor = 80);
-- What is to be sent, and what is of no use any more once the slot has passed it.
CREATE INDEX delivery_open ON cdp.delivery (destination, key) WHERE status IN ('pending', 'removed');
CREATE INDEX delivery_refused ON cdp.delivery (destination) WHERE status = 'refused';
COMMENT ON TABLE cdp.delivery IS
    'Per destination and key the last change that was wanted, and what the destination answered. The relay writes a row when it has an answer; or sooner, as pending, what waits in the table instead of the write-ahead log: the rows from before delivery began, of a resync, of a destination that fell too far behind. cdp.delivery_report counts by the rows of the destination''s table.';
COMMENT ON COLUMN cdp.delivery.status IS
    'Of the change at wanted_lsn. removed: the destination has confirmed that the row is gone; such a row goes by itself.';
COMMENT ON COLUMN cdp.delivery.wanted_lsn IS 'Where in the write-ahead log the change stands, or where the log was when it was found wanting.';
COMMENT ON COLUMN cdp.delivery.wanted IS
    'Of what is pending, which row it was when it was found wanting, as in held. NULL: a removal, or not known.';
COMMENT ON COLUMN cdp.delivery.held IS 'Which row the destination holds: the hash that cdp.delivery_rows gives it. NULL: none.';
COMMENT ON COLUMN cdp.delivery.refused IS 'Which row it refused, likewise; NULL: a removal.';
COMMENT ON COLUMN cdp.delivery.answered_lsn IS 'Which change the last answer is to.';
COMMENT ON COLUMN cdp.delivery.after IS
    'Keys that this person''s row had before: while it waits, it is not sent before those of them that are gone have been removed.';

CREATE TABLE cdp.delivery_failure (
    destination text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    lsn         pg_lsn NOT NULL,
    id          text NOT NULL,
    type        text NOT NULL,
    "row"       jsonb,
    http_status int,
    reason      text,
    failed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (destination, key)
);
COMMENT ON TABLE cdp.delivery_failure IS
    'What destinations refused, whole, with their answer: until cdp.retry_deliveries sends it again, or a later change of the same row takes its place.';
COMMENT ON COLUMN cdp.delivery_failure.id IS 'The idempotency key that it was sent with.';
COMMENT ON COLUMN cdp.delivery_failure.type IS 'insert, update or delete.';

SELECT pg_extension_config_dump('cdp.connector', 'WHERE NOT shipped');
SELECT pg_extension_config_dump('cdp.delivery_target', '');
SELECT pg_extension_config_dump('cdp.delivery', '');
SELECT pg_extension_config_dump('cdp.delivery_failure', '');

-- Shipped ones come with the extension, in a dump too: a change would be lost there.
CREATE FUNCTION cdp.keep_shipped_connectors() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'connector "%" is shipped with the extension and cannot be changed', OLD.name USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'Insert a copy of it under another name, with shipped = false, and change that.';
END $$;
COMMENT ON FUNCTION cdp.keep_shipped_connectors() IS 'Internal: the trigger of cdp.connector.';
CREATE TRIGGER keep_shipped BEFORE UPDATE OR DELETE ON cdp.connector FOR EACH ROW WHEN (OLD.shipped) EXECUTE FUNCTION cdp.keep_shipped_connectors();
-- connectors.sql: the networks that cdp-relay knows. The format of a row, the pages of the networks' documentation that
-- each follows, and how each was tried: docs/connectors.md.

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "webhook", "shipped": true,
    "description": "Any HTTP receiver, signed as Standard Webhooks says.",
    "batch_size": 1,
    "repeats": true,
    "options": {"batch": {"max": 1000, "about": "An array of up to so many changes instead of one change."}},
    "headers": {
        "webhook-id": "{{ batch_id }}",
        "webhook-timestamp": "{{ now }}",
        "webhook-signature": "{{ secret | sign_webhook(batch_id, now, body) }}"
    },
    "body": {
        "$if": "{{ options.batch }}",
        "$then": {"$changes": {
            "type": "{{ type }}", "destination": "{{ destination }}", "key": "{{ key }}", "row": "{{ row }}", "id": "{{ id }}"}},
        "$else": {
            "type": "{{ type }}", "destination": "{{ destination }}", "key": "{{ key }}", "row": "{{ row }}", "id": "{{ id }}"}
    },
    "retry": {"status": [401, 403, 404, 405, 407, 408, 410, 425, 429, "1xx", "3xx", "5xx"]}
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "hubspot", "shipped": true,
    "description": "HubSpot contacts: upsert by a unique property, archive.",
    "endpoint": "https://api.hubapi.com",
    "url": "{{ endpoint }}/crm/v3/objects/{{ options.object }}/batch/upsert",
    "auth": {"type": "bearer", "secret_env": "CDP_HUBSPOT_TOKEN"},
    "batch_size": 100,
    "rate_limit": 10,
    "options": {
        "object": {"default": "contacts", "about": "The kind of record."},
        "id_property": {"default": "email", "about": "The unique property that the destination's key is."}
    },
    "body": {"inputs": {"$changes": {
        "idProperty": "{{ options.id_property }}",
        "id": "{{ key }}",
        "objectWriteTraceId": "{{ id }}",
        "properties": {"$fields": {"value": "{{ value | iso_time | join(';') | default('') }}"}}
    }}},
    "success": {"errors": [{
        "in": "{{ answer.errors }}",
        "keys": "{{ item.context.objectWriteTraceId }}", "as": "{{ id }}",
        "where": "{{ item.context.objectWriteTraceId }}",
        "reason": "{{ item.category }}: {{ item.message }}"
    }, {
        "in": "{{ answer.errors }}",
        "keys": "{{ item.context.ids | default(item.context.id) }}",
        "where": "{{ all(status | is(207), not(item.context.objectWriteTraceId)) }}",
        "reason": "{{ item.category }}: {{ item.message }}"
    }]},
    "retry": {"status": [401, 403, 404, 408, 423, 429, 477, "1xx", "3xx", "5xx"]},
    "refuse": {"reason": "{{ answer.category }}: {{ answer.message }}"},
    "deletes": {
        "before": [{
            "url": "{{ endpoint }}/crm/v3/objects/{{ options.object }}/batch/read",
            "body": {
                "idProperty": "{{ options.id_property }}",
                "properties": ["{{ options.id_property }}"],
                "inputs": {"$changes": {"id": "{{ key }}"}}
            }
        }],
        "url": "{{ endpoint }}/crm/v3/objects/{{ options.object }}/batch/archive",
        "when": "{{ answers[0].results }}",
        "body": {"inputs": {"$each": "{{ answers[0].results }}", "$give": {"id": "{{ item.id }}"}}},
        "success": {}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "salesforce", "shipped": true,
    "description": "Salesforce records of one kind: upsert by an external id, delete.",
    "method": "PATCH",
    "url": "{{ endpoint }}/services/data/{{ options.version }}/composite/sobjects/{{ options.object }}/{{ options.external_id }}",
    "auth": {"type": "oauth2", "grant": "client_credentials", "token_url": "{{ endpoint }}/services/oauth2/token",
             "secret_env": "CDP_SALESFORCE_SECRET"},
    "batch_size": 200,
    "options": {
        "version": {"default": "v60.0", "about": "Of the API."},
        "object": {"default": "Contact", "about": "The kind of record."},
        "external_id": {"required": true, "about": "The field, marked as an external id, that the destination's key is."}
    },
    "body": {"allOrNone": false, "records": {"$changes": {"$merge": [
        {"$fields": {"value": "{{ value | iso_time }}", "nulls": true}},
        {"attributes": {"type": "{{ options.object }}"}, "{{ options.external_id }}": "{{ key }}"}
    ]}}},
    "success": {"when": "{{ answer | size | is(count) }}", "errors": [{
        "in": "{{ answer }}",
        "where": "{{ item.success | is(false) }}",
        "position": "{{ index }}",
        "reason": "{{ item.errors[*].statusCode | join }}: {{ item.errors[*].message | join }}",
        "retry": "{{ item.errors[0].statusCode | in('UNABLE_TO_LOCK_ROW', 'REQUEST_LIMIT_EXCEEDED', 'SERVER_UNAVAILABLE', 'REQUEST_RUNNING_TOO_LONG', 'UNKNOWN_EXCEPTION') }}"
    }]},
    "retry": {"status": [401, 403, 404, 408, 414, 420, 429, 431, "1xx", "3xx", "5xx"]},
    "refuse": {"reason": "{{ answer[0].errorCode }}: {{ answer[0].message }}"},
    "deletes": {
        "method": "DELETE",
        "url": "{{ endpoint }}/services/data/{{ options.version }}/sobjects/{{ options.object }}/{{ options.external_id }}/{{ key }}",
        "batch_size": 1,
        "body": null,
        "success": {"status": ["2xx", 404]}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "mailchimp", "shipped": true,
    "description": "The members of a Mailchimp audience: add or update, archive. The key is the e-mail address.",
    "url": "{{ endpoint }}/3.0/lists/{{ options.list_id }}?skip_merge_validation=true",
    "auth": {"type": "basic", "user": "cdp", "secret_env": "CDP_MAILCHIMP_KEY"},
    "batch_size": 500,
    "options": {
        "list_id": {"required": true, "about": "The audience."},
        "status": {"default": "subscribed", "about": "What members become: subscribed, pending, unsubscribed, transactional."}
    },
    "require": {"the key is no e-mail address": "{{ key | email }}"},
    "body": {
        "update_existing": true,
        "members": {"$changes": {
            "email_address": "{{ key | email }}",
            "status": "{{ options.status }}",
            "merge_fields": {"$fields": {"value": "{{ value | iso_time | join | default('') }}"}}
        }}
    },
    "success": {"errors": [{
        "in": "{{ answer.errors }}",
        "keys": "{{ item.email_address | lower }}", "as": "{{ key | email }}",
        "reason": "{{ item.error_code | default('error') }}: {{ item.error }}{{ item.field_message | default('') }}"
    }]},
    "retry": {"status": [401, 403, 404, 405, 408, 429, "1xx", "3xx", "5xx"]},
    "refuse": {"reason": "{{ answer.title }}: {{ answer.detail }}"},
    "deletes": {
        "method": "DELETE",
        "url": "{{ endpoint }}/3.0/lists/{{ options.list_id }}/members/{{ key | email | md5 }}",
        "batch_size": 1,
        "body": null,
        "success": {"status": ["2xx", 404]}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "klaviyo", "shipped": true,
    "description": "Klaviyo profiles: bulk import, into a list if one is named; those who leave are taken off the list.",
    "endpoint": "https://a.klaviyo.com",
    "url": "{{ endpoint }}/api/profile-bulk-import-jobs",
    "headers": {
        "Authorization": "Klaviyo-API-Key {{ secret }}",
        "revision": "{{ options.revision }}",
        "Content-Type": "application/vnd.api+json",
        "Accept": "application/vnd.api+json"
    },
    "auth": {"secret_env": "CDP_KLAVIYO_KEY"},
    "batch_size": 1000,
    "rate_limit": 2.5,
    "options": {
        "revision": {"default": "2026-07-15", "about": "Of the API."},
        "identifier": {"default": "email", "about": "What the destination's key is: email, phone_number or external_id."},
        "list_id": {"about": "The list that the profiles are put into, and taken off."}
    },
    "body": {"data": {
        "type": "profile-bulk-import-job",
        "attributes": {"profiles": {"data": {"$changes": {
            "type": "profile",
            "attributes": {"$merge": [
                {"$fields": {"only": ["email", "phone_number", "external_id", "first_name", "last_name", "organization", "locale", "title", "image", "location"], "nulls": true}},
                {"properties": {"$fields": {"except": ["email", "phone_number", "external_id", "first_name", "last_name", "organization", "locale", "title", "image", "location"], "value": "{{ value | iso_time }}", "nulls": true}}},
                {"{{ options.identifier }}": "{{ key }}"}
            ]}
        }}}},
        "relationships": {"$if": "{{ options.list_id }}", "$then": {"lists": {"data": [{"type": "list", "id": "{{ options.list_id }}"}]}}}
    }},
    "success": {"errors": [{
        "in": "{{ answer.errors }}",
        "position": "{{ item.source.pointer | after('/data/attributes/profiles/data/') | integer }}",
        "reason": "{{ item.code }}: {{ item.detail }}"
    }]},
    "retry": {"status": [401, 403, 404, 408, 429, "1xx", "3xx", "5xx"]},
    "refuse": {"reason": "{{ answer.errors[0].code }}: {{ answer.errors[0].detail }}"},
    "deletes": {
        "before": [{
            "method": "GET",
            "when": "{{ options.list_id }}",
            "url": "{{ endpoint }}/api/profiles?fields%5Bprofile%5D={{ options.identifier }}&page%5Bsize%5D=100&filter={{ concat('any(', options.identifier, ',', json(keys), ')') }}"
        }],
        "method": "DELETE",
        "when": "{{ answers[0].data }}",
        "url": "{{ endpoint }}/api/lists/{{ options.list_id }}/relationships/profiles",
        "batch_size": 50,
        "body": {"data": {"$each": "{{ answers[0].data }}", "$give": {"type": "profile", "id": "{{ item.id }}"}}},
        "success": {}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "braze", "shipped": true,
    "description": "Braze users: attributes by external id, deletion of the user.",
    "url": "{{ endpoint }}/users/track",
    "auth": {"type": "bearer", "secret_env": "CDP_BRAZE_KEY"},
    "batch_size": 75,
    "body": {"attributes": {"$changes": {"$merge": [
        {"$fields": {"value": "{{ value | iso_time }}", "nulls": true}},
        {"external_id": "{{ key }}"}
    ]}}},
    "success": {"when": "{{ answer.message | is('success') }}", "errors": [{
        "in": "{{ answer.errors }}",
        "position": "{{ if(item.input_array | default('attributes') | is('attributes'), item.index, null) }}",
        "reason": "{{ item.type | default(item.message) | default(item) }}"
    }]},
    "retry": {
        "status": [401, 403, 404, 408, 429, "1xx", "3xx", "5xx"],
        "after": "{{ headers['x-ratelimit-reset'] | integer | seconds_until }}"
    },
    "refuse": {"reason": "{{ answer.message }}"},
    "deletes": {
        "url": "{{ endpoint }}/users/delete",
        "batch_size": 50,
        "body": {"external_ids": {"$changes": "{{ key }}"}},
        "success": {"when": "{{ answer.deleted | default(answer.message) }}"}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "google_customer_match", "shipped": true,
    "description": "A customer list of Google Ads: an offline user data job a batch, hashed.",
    "endpoint": "https://googleads.googleapis.com",
    "auth": {"type": "oauth2", "grant": "refresh_token", "token_url": "{{ options.token_url }}", "secret_env": "CDP_GOOGLE_SECRET"},
    "headers": {
        "developer-token": "{{ secret.developer_token }}",
        "login-customer-id": "{{ options.login_customer_id | text }}"
    },
    "batch_size": 10000,
    "options": {
        "customer_id": {"required": true, "about": "The account, digits only."},
        "user_list_id": {"required": true, "about": "The customer list."},
        "login_customer_id": {"about": "The manager account that lets in, if one does."},
        "version": {"default": "v25", "about": "Of the API."},
        "region": {"about": "Where phone numbers without a country code are from (GB)."},
        "ad_user_data": {"default": "GRANTED", "about": "The consent that goes with who enters."},
        "ad_personalization": {"default": "GRANTED", "about": "The consent that goes with who enters."},
        "token_url": {"default": "https://oauth2.googleapis.com/token", "about": "Where access tokens come from."}
    },
    "require": {"nothing that Google knows people by": "{{ any(field('email') | email | gmail, field('phone') | e164(options.region | default('')), field('third_party_user_id'), all(field('first_name') | trim | unless_empty, field('last_name') | trim | unless_empty, field('country') | country, field('postal_code') | trim | unless_empty)) }}"},
    "before": [{
        "url": "{{ endpoint }}/{{ options.version }}/customers/{{ options.customer_id }}/offlineUserDataJobs:create",
        "body": {"job": {
            "type": "CUSTOMER_MATCH_USER_LIST",
            "customerMatchUserListMetadata": {
                "userList": "customers/{{ options.customer_id }}/userLists/{{ options.user_list_id }}",
                "consent": {"adUserData": "{{ options.ad_user_data }}", "adPersonalization": "{{ options.ad_personalization }}"}
            }
        }}
    }],
    "url": "{{ endpoint }}/{{ options.version }}/customers/{{ options.customer_id }}/offlineUserDataJobs/{{ answers[0].resourceName | after('/offlineUserDataJobs/') }}:addOperations",
    "body": {"enablePartialFailure": true, "operations": {"$changes": {"create": {"userIdentifiers": [
        {"hashedEmail": "{{ field('email') | email | gmail | sha256 }}"},
        {"hashedPhoneNumber": "{{ field('phone') | e164(options.region | default('')) | sha256 }}"},
        {"addressInfo": {"$all": {
            "hashedFirstName": "{{ field('first_name') | trim | lower | unless_empty | sha256 }}",
            "hashedLastName": "{{ field('last_name') | trim | lower | unless_empty | sha256 }}",
            "countryCode": "{{ field('country') | country | upper }}",
            "postalCode": "{{ field('postal_code') | trim | unless_empty }}"
        }}},
        {"thirdPartyUserId": "{{ field('third_party_user_id') | text }}"}
    ]}}}},
    "after": [{
        "url": "{{ endpoint }}/{{ options.version }}/customers/{{ options.customer_id }}/offlineUserDataJobs/{{ answers[0].resourceName | after('/offlineUserDataJobs/') }}:run",
        "body": {}
    }],
    "success": {"errors": [{
        "in": "{{ answer.partialFailureError.details[*].errors[*] }}",
        "position": "{{ item.location.fieldPathElements[0].index }}",
        "reason": "{{ item.errorCode | json }}: {{ item.message }}",
        "retry": "{{ any(item.errorCode.databaseError | is('CONCURRENT_MODIFICATION'), item.errorCode.internalError | in('INTERNAL_ERROR', 'TRANSIENT_ERROR')) }}"
    }, {
        "in": "{{ answer.error.details[*].errors[*] }}",
        "position": "{{ item.location.fieldPathElements[0].index }}",
        "reason": "{{ item.errorCode | json }}: {{ item.message }}",
        "retry": "{{ any(item.errorCode.databaseError | is('CONCURRENT_MODIFICATION'), item.errorCode.internalError | in('INTERNAL_ERROR', 'TRANSIENT_ERROR')) }}"
    }]},
    "retry": {
        "status": [401, 403, 404, 408, 409, 429, "1xx", "3xx", "5xx"],
        "when": "{{ answer.error.details[*].errors[*].errorCode.databaseError | contains('CONCURRENT_MODIFICATION') }}",
        "after": "{{ answer.error.details[*].errors[*].details.quotaErrorDetails.retryDelay | first | before('s') | number }}"
    },
    "refuse": {"reason": "{{ answer.error.status }}: {{ answer.error.details[*].errors[*].message | join | unless_empty | default(answer.error.message) }}"},
    "deletes": {
        "before": [{
            "url": "{{ endpoint }}/{{ options.version }}/customers/{{ options.customer_id }}/offlineUserDataJobs:create",
            "body": {"job": {
                "type": "CUSTOMER_MATCH_USER_LIST",
                "customerMatchUserListMetadata": {"userList": "customers/{{ options.customer_id }}/userLists/{{ options.user_list_id }}"}
            }}
        }],
        "body": {"enablePartialFailure": true, "operations": {"$changes": {"remove": {"userIdentifiers": [
            {"hashedEmail": "{{ field('email') | email | gmail | sha256 }}"},
            {"hashedPhoneNumber": "{{ field('phone') | e164(options.region | default('')) | sha256 }}"},
            {"addressInfo": {"$all": {
                "hashedFirstName": "{{ field('first_name') | trim | lower | unless_empty | sha256 }}",
                "hashedLastName": "{{ field('last_name') | trim | lower | unless_empty | sha256 }}",
                "countryCode": "{{ field('country') | country | upper }}",
                "postalCode": "{{ field('postal_code') | trim | unless_empty }}"
            }}},
            {"thirdPartyUserId": "{{ field('third_party_user_id') | text }}"}
        ]}}}}
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "google_data_manager", "shipped": true,
    "description": "A customer list of Google Ads through the Data Manager API: a request a batch, hashed.",
    "endpoint": "https://datamanager.googleapis.com",
    "url": "{{ endpoint }}/v1/audienceMembers:ingest",
    "auth": {"type": "oauth2", "grant": "refresh_token", "token_url": "{{ options.token_url }}", "secret_env": "CDP_GOOGLE_SECRET"},
    "batch_size": 10000,
    "options": {
        "account_type": {"default": "GOOGLE_ADS", "about": "Of the account."},
        "customer_id": {"required": true, "about": "The account, digits only."},
        "user_list_id": {"required": true, "about": "The customer list."},
        "login_customer_id": {"about": "The manager account that lets in, if one does."},
        "region": {"about": "Where phone numbers without a country code are from (GB)."},
        "ad_user_data": {"default": "CONSENT_GRANTED", "about": "The consent that goes with who enters."},
        "ad_personalization": {"default": "CONSENT_GRANTED", "about": "The consent that goes with who enters."},
        "token_url": {"default": "https://oauth2.googleapis.com/token", "about": "Where access tokens come from."}
    },
    "require": {"nothing that Google knows people by": "{{ any(field('email') | email | gmail, field('phone') | e164(options.region | default('')), all(field('first_name') | name, field('last_name') | name, field('country') | country, field('postal_code') | trim | unless_empty)) }}"},
    "body": {
        "destinations": [{
            "operatingAccount": {"accountType": "{{ options.account_type }}", "accountId": "{{ options.customer_id | text }}"},
            "loginAccount": {"$all": {"accountType": "{{ options.account_type }}", "accountId": "{{ options.login_customer_id | text }}"}},
            "productDestinationId": "{{ options.user_list_id | text }}"
        }],
        "audienceMembers": {"$changes": {"userData": {"userIdentifiers": [
            {"emailAddress": "{{ field('email') | email | gmail | sha256 }}"},
            {"phoneNumber": "{{ field('phone') | e164(options.region | default('')) | sha256 }}"},
            {"address": {"$all": {
                "givenName": "{{ field('first_name') | name | sha256 }}",
                "familyName": "{{ field('last_name') | name | sha256 }}",
                "regionCode": "{{ field('country') | country | upper }}",
                "postalCode": "{{ field('postal_code') | trim | unless_empty }}"
            }}}
        ]}}},
        "consent": {"adUserData": "{{ options.ad_user_data }}", "adPersonalization": "{{ options.ad_personalization }}"},
        "encoding": "HEX",
        "termsOfService": {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
    },
    "success": {"when": "{{ answer.requestId }}", "errors": [{
        "in": "{{ answer.error.details[*].fieldViolations[*] }}",
        "position": "{{ item.field | after('audience_members[') | default(item.field | after('audienceMembers[')) | integer }}",
        "reason": "{{ item.reason | default('INVALID_ARGUMENT') }}: {{ item.field }} {{ item.description }}"
    }]},
    "retry": {
        "status": [401, 403, 404, 408, 409, 429, "1xx", "3xx", "5xx"],
        "after": "{{ answer.error.details[*].retryDelay | first | before('s') | number }}"
    },
    "refuse": {"reason": "{{ answer.error.status }}: {{ answer.error.message }}"},
    "deletes": {
        "url": "{{ endpoint }}/v1/audienceMembers:remove",
        "body": {
            "destinations": [{
                "operatingAccount": {"accountType": "{{ options.account_type }}", "accountId": "{{ options.customer_id | text }}"},
                "loginAccount": {"$all": {"accountType": "{{ options.account_type }}", "accountId": "{{ options.login_customer_id | text }}"}},
                "productDestinationId": "{{ options.user_list_id | text }}"
            }],
            "audienceMembers": {"$changes": {"userData": {"userIdentifiers": [
                {"emailAddress": "{{ field('email') | email | gmail | sha256 }}"},
                {"phoneNumber": "{{ field('phone') | e164(options.region | default('')) | sha256 }}"},
                {"address": {"$all": {
                    "givenName": "{{ field('first_name') | name | sha256 }}",
                    "familyName": "{{ field('last_name') | name | sha256 }}",
                    "regionCode": "{{ field('country') | country | upper }}",
                    "postalCode": "{{ field('postal_code') | trim | unless_empty }}"
                }}}
            ]}}},
            "encoding": "HEX"
        }
    }
} $json$);

INSERT INTO cdp.connector SELECT * FROM pg_catalog.jsonb_populate_record(NULL::cdp.connector, $json$ {
    "name": "meta_custom_audiences", "shipped": true,
    "description": "A customer file audience of Meta: add, remove, hashed.",
    "endpoint": "https://graph.facebook.com",
    "url": "{{ endpoint }}/{{ options.version }}/{{ options.audience_id }}/users",
    "auth": {"type": "bearer", "secret_env": "CDP_META_TOKEN"},
    "batch_size": 10000,
    "options": {
        "audience_id": {"required": true, "about": "The audience."},
        "version": {"default": "v25.0", "about": "Of the Graph API."},
        "region": {"about": "Where phone numbers without a country code are from (GB)."}
    },
    "require": {"nothing that Meta knows people by": "{{ any(field('email') | email, field('phone') | e164(options.region | default('')), field('extern_id'), all(field('first_name') | name, field('last_name') | name)) }}"},
    "body": {"payload": {
        "schema": ["EMAIL", "PHONE", "FN", "LN", "CT", "ST", "ZIP", "COUNTRY", "GEN", "DOBY", "DOBM", "DOBD", "EXTERN_ID"],
        "data": {"$changes": [
            "{{ field('email') | email | sha256 | default('') }}",
            "{{ field('phone') | e164(options.region | default('')) | digits | sha256 | default('') }}",
            "{{ field('first_name') | name | sha256 | default('') }}",
            "{{ field('last_name') | name | sha256 | default('') }}",
            "{{ field('city') | place | sha256 | default('') }}",
            "{{ field('state') | place | sha256 | default('') }}",
            "{{ field('postal_code') | postal_code | sha256 | default('') }}",
            "{{ field('country') | country | sha256 | default('') }}",
            "{{ field('gender') | gender | sha256 | default('') }}",
            "{{ field('birth_date') | year | sha256 | default('') }}",
            "{{ field('birth_date') | month | sha256 | default('') }}",
            "{{ field('birth_date') | day | sha256 | default('') }}",
            "{{ field('extern_id') | text | default('') }}"
        ]}
    }},
    "success": {"when": "{{ answer.num_received | above(0) }}", "errors": [{
        "in": "{{ list(answer) }}",
        "where": "{{ item.num_invalid_entries | above(0) }}",
        "reason": "Meta takes {{ item.num_invalid_entries }} of {{ count }} rows as invalid: {{ item.invalid_entry_samples | json | beginning(200) }}"
    }]},
    "retry": {
        "status": [401, 403, 404, 408, 429, "1xx", "3xx", "5xx"],
        "when": "{{ any(answer.error.is_transient, answer.error.code | in(1, 2, 4, 10, 17, 32, 102, 190, 200, 294, 341, 368, 613, 80000, 80003, 80004, 80014)) }}",
        "after": "{{ parse_json(headers['x-business-use-case-usage'])[*][*].estimated_time_to_regain_access | max | times(60) }}"
    },
    "refuse": {"reason": "{{ answer.error.code }}: {{ answer.error.error_user_msg | default(answer.error.message) }}"},
    "deletes": {"method": "DELETE"}
} $json$);
-- govern.sql: who sees what of a person, and how a dump comes back.

-- What is personal ----------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.sees_personal() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_sees_personal';
COMMENT ON FUNCTION cdp.sees_personal() IS
    'Whether you may see personal data: as a member of cdp_pii or cdp_admin, or a superuser.';

CREATE FUNCTION cdp.looks_personal(name text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_looks_personal';
COMMENT ON FUNCTION cdp.looks_personal(text) IS
    'Whether a field of that name (or dotted path) looks like personal data: a contact, a name, an address, a date of birth, a number of an account or a document, an identifier.';

CREATE FUNCTION cdp.profile_columns(
        OUT attnum smallint, OUT name name, OUT type text, OUT is_text boolean, OUT personal boolean) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    -- A trait is personal as somebody said, else as its names look, or where identifiers are read from; of computed
    -- ones only those can be that hold values as they came. A column that is nobody's trait holds who knows what.
    SELECT a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid = 'text'::regtype,
           CASE WHEN a.attname IN ('profile_id', 'first_seen_at', 'last_seen_at', 'event_count', 'traits') THEN false
                WHEN t.name IS NULL THEN true
                WHEN t.personal IS NOT NULL THEN t.personal
                WHEN t.kind = 'declared' THEN
                    cdp.looks_personal(t.name) OR cdp.looks_personal(t.path)
                    OR EXISTS (SELECT FROM cdp.identifier_type i WHERE 'traits.' || t.path = ANY (i.paths))
                WHEN t.aggregate IN ('first', 'last', 'most_frequent', 'unique_list') THEN
                    cdp.looks_personal(t.path)
                    OR EXISTS (SELECT FROM cdp.identifier_type i WHERE 'properties.' || t.path = ANY (i.paths))
                ELSE false
           END
    FROM pg_attribute a LEFT JOIN cdp.trait t ON t.name = a.attname
    WHERE a.attrelid = to_regclass('cdp.profile') AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'state'
$$;
COMMENT ON FUNCTION cdp.profile_columns() IS
    'Internal: the columns of cdp.profile that readers see, and which of them are personal.';

-- As init-plans of the views below these are computed once a query.
CREATE FUNCTION cdp.masked_keys(OUT open_traits text[], OUT closed_traits text[], OUT closed_properties text[], OUT closed_context text[])
    RETURNS record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(array_agg(t.path) FILTER (WHERE NOT c.personal), '{}'),
           coalesce(array_agg(t.path) FILTER (WHERE c.personal), '{}') || i.traits,
           i.properties, i.context
    FROM (cdp.trait t JOIN cdp.profile_columns() c ON c.name = t.name AND t.kind = 'declared')
         RIGHT JOIN (SELECT coalesce(array_agg(substring(p FROM 8)) FILTER (WHERE p LIKE 'traits.%'), '{}'),
                            coalesce(array_agg(substring(p FROM 12)) FILTER (WHERE p LIKE 'properties.%'), '{}'),
                            coalesce(array_agg(substring(p FROM 9)) FILTER (WHERE p LIKE 'context.%'), '{}')
                     FROM cdp.identifier_type, unnest(paths) p) i (traits, properties, context) ON true
    GROUP BY i.traits, i.properties, i.context
$$;
COMMENT ON FUNCTION cdp.masked_keys() IS
    'Internal: the keys in JSON that are personal, or not, by configuration and not by name: those of declared traits, and those that identifiers are read from.';

CREATE FUNCTION cdp.mask_traits(traits jsonb, open text[], closed text[]) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_mask_traits';
COMMENT ON FUNCTION cdp.mask_traits(jsonb, text[], text[]) IS
    'Internal: traits as those see them who may not see personal data. Keys in open stay; of the others only numbers and booleans do whose key does not look personal.';

CREATE FUNCTION cdp.mask_properties(properties jsonb, closed text[]) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_mask_properties';
COMMENT ON FUNCTION cdp.mask_properties(jsonb, text[]) IS
    'Internal: properties as those see them who may not see personal data: without what is closed, or looks personal by its key, or holds an e-mail address.';

CREATE FUNCTION cdp.mask_context(context jsonb, closed text[]) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_mask_context';
COMMENT ON FUNCTION cdp.mask_context(jsonb, text[]) IS
    'Internal: a context as those see it who may not see personal data: active, app, campaign, library, locale, network, os, page, screen and timezone, masked as properties are; nothing of the rest.';

CREATE FUNCTION cdp.set_personal(trait text, personal boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    UPDATE cdp.trait t SET personal = set_personal.personal WHERE t.name = trait;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'trait "%" does not exist', trait USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM cdp.refresh_views();
    PERFORM cdp.touch_configuration();
    PERFORM cdp.check_definitions();  -- a segment of somebody who may not read it any more
END $$;
COMMENT ON FUNCTION cdp.set_personal(text, boolean) IS
    'Says whether a trait is personal: then who may not see personal data sees it masked, and makes no segments of it. NULL: its name and path decide, and a computed trait is not personal unless it holds such values as they came. Refused while a segment reads the trait whose owner may then not.';

-- The views -----------------------------------------------------------------------------------------------------
--
-- cdp.profile_masked and the views in cdp_segment follow the columns of cdp.profile, so they are made as those come
-- and go, and are no members of the extension: a dump has them as they are. To change a column of your own, call
-- drop_views(), alter the table, call refresh_views().

CREATE TABLE cdp.kept_grant (
    view      text NOT NULL,
    grantee   oid NOT NULL,
    grantable boolean NOT NULL
);
COMMENT ON TABLE cdp.kept_grant IS 'Internal: who could read a view that drop_views() dropped, until refresh_views() makes it again.';

CREATE FUNCTION cdp.view_shape(view regclass) RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(array_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum), '{}')
    FROM pg_attribute a WHERE a.attrelid = view AND a.attnum > 0
$$;
COMMENT ON FUNCTION cdp.view_shape(regclass) IS 'Internal: the columns of a view and their types; none if it is not there.';

CREATE FUNCTION cdp.grant_view(view text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kept record;
BEGIN
    EXECUTE format('GRANT SELECT ON %s TO cdp_marketer, cdp_analyst, cdp_pii, cdp_admin', view);
    FOR kept IN DELETE FROM cdp.kept_grant g WHERE g.view = grant_view.view RETURNING g.grantee, g.grantable LOOP
        CONTINUE WHEN kept.grantee <> 0 AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = kept.grantee);
        EXECUTE format('GRANT SELECT ON %s TO %s%s', view,
                       CASE kept.grantee WHEN 0 THEN 'PUBLIC' ELSE kept.grantee::regrole::text END,
                       CASE WHEN kept.grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.grant_view(text) IS 'Internal: lets those read a view that was just made who may.';

CREATE FUNCTION cdp.grant_profile_columns() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    role_name text;
    change record;
BEGIN
    EXECUTE 'GRANT SELECT ON cdp.profile TO cdp_pii';
    EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES ON cdp.profile TO cdp_admin';
    -- What segments of theirs may read. Not traits, since it holds what is personal too.
    FOREACH role_name IN ARRAY ARRAY['cdp_marketer', 'cdp_analyst'] LOOP
        FOR change IN
            SELECT c.wanted, string_agg(quote_ident(c.name), ', ' ORDER BY c.attnum) AS columns
            FROM (SELECT a.attname AS name, a.attnum, NOT coalesce(p.personal OR p.name = 'traits', true) AS wanted,
                         EXISTS (SELECT FROM aclexplode(a.attacl) g
                                 WHERE g.grantee = role_name::regrole AND g.privilege_type = 'SELECT') AS granted
                  FROM pg_attribute a LEFT JOIN cdp.profile_columns() p USING (attnum)
                  WHERE a.attrelid = 'cdp.profile'::regclass AND a.attnum > 0 AND NOT a.attisdropped) c
            WHERE c.wanted <> c.granted GROUP BY c.wanted
        LOOP
            EXECUTE format(CASE WHEN change.wanted THEN 'GRANT SELECT (%s) ON cdp.profile TO %I'
                                ELSE 'REVOKE SELECT (%s) ON cdp.profile FROM %I' END, change.columns, role_name);
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.grant_profile_columns() IS
    'Internal: lets cdp_marketer and cdp_analyst read exactly the columns of cdp.profile that are not personal.';

CREATE FUNCTION cdp.refresh_views() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    expressions text;
    shape text[];
    remark text;
    masked regclass := to_regclass('cdp.profile_masked');
    segment record;
    view text;
BEGIN
    SELECT string_agg(CASE WHEN c.name = 'traits' THEN
                          'CASE WHEN (SELECT cdp.sees_personal()) THEN p.traits ELSE cdp.mask_traits(p.traits, '
                          '(SELECT k.open_traits FROM cdp.masked_keys() k), (SELECT k.closed_traits FROM cdp.masked_keys() k)) END AS traits'
                      WHEN NOT c.personal THEN format('p.%I', c.name)
                      ELSE format('CAST(CASE WHEN (SELECT cdp.sees_personal()) THEN p.%1$I%3$s END AS %2$s) AS %1$I', c.name, c.type,
                                  CASE WHEN c.is_text THEN format(' WHEN p.%I IS NOT NULL THEN ''***''', c.name) ELSE '' END)
                      END, ', ' ORDER BY c.attnum),
           array_agg(quote_ident(c.name) || ' ' || c.type ORDER BY c.attnum),
           'The profiles as you may see them: with personal data masked unless you are a member of cdp_pii or cdp_admin. Masked: '
               || coalesce(string_agg(quote_ident(c.name), ', ' ORDER BY c.attnum) FILTER (WHERE c.personal), 'no column')
               || ', and in traits.'
    INTO expressions, shape, remark
    FROM cdp.profile_columns() c;

    -- Made again only if they change, since that waits for their readers. Its comment says the rest of its definition.
    IF cdp.view_shape(masked) <> shape[:cardinality(cdp.view_shape(masked))] THEN
        PERFORM cdp.drop_views();
    END IF;
    IF to_regclass('cdp.profile_masked') IS NULL OR cdp.view_shape(masked) <> shape OR obj_description(masked, 'pg_class') IS DISTINCT FROM remark THEN
        masked := to_regclass('cdp.profile_masked');
        EXECUTE 'CREATE OR REPLACE VIEW cdp.profile_masked AS SELECT ' || expressions || ' FROM cdp.profile p';
        EXECUTE format('COMMENT ON VIEW cdp.profile_masked IS %L', remark);
        IF masked IS NULL THEN
            PERFORM cdp.grant_view('cdp.profile_masked');
        END IF;
    END IF;

    FOR segment IN
        SELECT s.segment_id, s.name, s.description, c.oid IS NULL AS is_new, c.relkind <> 'v' AS in_the_way
        FROM cdp.segment s LEFT JOIN pg_class c ON c.relname = s.name AND c.relnamespace = 'cdp_segment'::regnamespace
        WHERE c.oid IS NULL OR c.relkind <> 'v' OR cdp.view_shape(c.oid) <> shape
    LOOP
        view := format('cdp_segment.%I', segment.name);
        IF segment.in_the_way THEN
            RAISE EXCEPTION '% is no view', view USING ERRCODE = 'wrong_object_type',
                HINT = 'It is in the way of the segment''s view of its members. Drop it, or move it to another schema.';
        END IF;
        EXECUTE format('CREATE OR REPLACE VIEW %s AS SELECT p.* FROM cdp.segment_member m JOIN cdp.profile_masked p'
                       ' ON p.profile_id = m.profile_id WHERE m.segment_id = %s', view, segment.segment_id);
        EXECUTE format('COMMENT ON VIEW %s IS %L', view, segment.description);
        IF segment.is_new THEN
            PERFORM cdp.grant_view(view);
        END IF;
    END LOOP;

    PERFORM cdp.grant_profile_columns();
END $$;
COMMENT ON FUNCTION cdp.refresh_views() IS
    'Makes cdp.profile_masked and the views of segments follow the columns of cdp.profile, and lets cdp_marketer and cdp_analyst read those that are not personal.';

CREATE FUNCTION cdp.drop_views() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    views text[];
    dependents text;
BEGIN
    SELECT array_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname)) INTO views
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'v' AND (n.nspname = 'cdp' AND c.relname = 'profile_masked'
                               OR n.nspname = 'cdp_segment' AND c.relname IN (SELECT s.name FROM cdp.segment s));
    IF views IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM cdp.kept_grant;
    INSERT INTO cdp.kept_grant (view, grantee, grantable)
    SELECT v, g.grantee, g.is_grantable
    FROM unnest(views) v JOIN pg_class c ON c.oid = v::regclass, aclexplode(c.relacl) g
    WHERE g.privilege_type = 'SELECT' AND g.grantee <> c.relowner
      AND g.grantee NOT IN (SELECT r.oid FROM pg_roles r WHERE r.rolname IN ('cdp_marketer', 'cdp_analyst', 'cdp_pii', 'cdp_admin'));
    EXECUTE 'DROP VIEW ' || array_to_string(views, ', ');
EXCEPTION WHEN dependent_objects_still_exist THEN
    GET STACKED DIAGNOSTICS dependents = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION 'other objects depend on the views of profiles' USING ERRCODE = 'dependent_objects_still_exist',
        DETAIL = dependents, HINT = 'Drop them first, and make them again afterwards.';
END $$;
COMMENT ON FUNCTION cdp.drop_views() IS
    'Drops cdp.profile_masked and the views of segments, so that columns of cdp.profile can be dropped or changed; refresh_views() makes them again.';

CREATE VIEW cdp.identifier_masked AS
    SELECT i.identifier_id, i.type, CASE WHEN (SELECT cdp.sees_personal()) THEN i.value ELSE '***' END AS value,
           i.profile_id, i.first_seen_at, i.last_seen_at
    FROM cdp.identifier i;
COMMENT ON VIEW cdp.identifier_masked IS
    'The identifiers as you may see them: values masked unless you are a member of cdp_pii or cdp_admin.';

-- The join costs only those who ask for profile_id.
CREATE VIEW cdp.event_masked AS
    SELECT i.profile_id, e.event_id, e.message_id, e.type, e.event, e.source, e.identifier_id, e.occurred_at, e.received_at, e.sent_at,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.user_id WHEN e.user_id IS NOT NULL THEN '***' END AS user_id,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.anonymous_id WHEN e.anonymous_id IS NOT NULL THEN '***' END AS anonymous_id,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.previous_id WHEN e.previous_id IS NOT NULL THEN '***' END AS previous_id,
           e.group_id, e.linked_ids,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.properties
                ELSE cdp.mask_properties(e.properties, (SELECT k.closed_properties FROM cdp.masked_keys() k)) END AS properties,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.traits
                ELSE cdp.mask_traits(e.traits, (SELECT k.open_traits FROM cdp.masked_keys() k),
                                     (SELECT k.closed_traits FROM cdp.masked_keys() k)) END AS traits,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.context
                ELSE cdp.mask_context(e.context, (SELECT k.closed_context FROM cdp.masked_keys() k)) END AS context
    FROM cdp.event e LEFT JOIN cdp.identifier i ON i.identifier_id = e.identifier_id;
COMMENT ON VIEW cdp.event_masked IS
    'The events as you may see them, each with the profile it belongs to now. Unless you are a member of cdp_pii or cdp_admin: user_id, anonymous_id and previous_id are masked; of traits what masks them in cdp.profile_masked; of context all that describes a person or a device; of properties the keys that look personal or that identifiers are read from, and texts that hold an e-mail address.';

-- Restoring a dump ----------------------------------------------------------------------------------------------
--
-- A dump begins with CREATE EXTENSION, which makes a blank cdp.profile, and then has CREATE TABLE cdp.profile with
-- all the columns that it had gained, its indexes, its grants and its publications: a table that is no member of the
-- extension comes back whole. So the blank one has to go out of the way first. What has a row, or a trait, is not blank.
--
-- The restored table has no primary key until the end, and until then nothing may be processed, though restoring the
-- inbox wakes the worker: Traits::Load refuses. Under pg_restore --jobs the key may come before the last rows of
-- other tables, therefore the mark below: while it is there and a pg_restore is connected, it refuses as well.

CREATE TABLE cdp.restored (
    since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cdp.restored IS
    'Internal: cdp.profile is being put back from a dump since then; emptied by the first batch afterwards.';

CREATE FUNCTION cdp.drop_blank_profile() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    IF EXISTS (SELECT FROM cdp.profile) OR EXISTS (SELECT FROM cdp.trait) THEN
        RETURN;  -- CREATE TABLE will say that it exists.
    END IF;
    PERFORM cdp.drop_views();
    DROP TABLE cdp.profile;
    INSERT INTO cdp.restored DEFAULT VALUES;
END $$;
COMMENT ON FUNCTION cdp.drop_blank_profile() IS
    'Internal: drops cdp.profile if nothing was ever put into it.';

CREATE FUNCTION cdp.replace_blank_profile() RETURNS event_trigger
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_replace_blank_profile';
COMMENT ON FUNCTION cdp.replace_blank_profile() IS
    'Internal: before CREATE TABLE cdp.profile, which a dump has, drops the blank one that CREATE EXTENSION made.';
CREATE EVENT TRIGGER cdp_replace_blank_profile ON ddl_command_start WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION cdp.replace_blank_profile();

CREATE FUNCTION cdp.being_restored() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_index x
                                 WHERE x.indrelid = to_regclass('cdp.profile') AND x.indisprimary AND x.indisvalid)
                THEN 'cdp.profile has no primary key'
                WHEN EXISTS (SELECT FROM cdp.restored) AND EXISTS (
                         SELECT FROM pg_stat_activity s
                         WHERE s.datname = current_database() AND s.application_name = 'pg_restore' AND s.pid <> pg_backend_pid())
                THEN 'the database is being restored'
                -- Between its parallel jobs and the granting of rights, which comes last, pg_restore is not connected for a moment.
                WHEN EXISTS (SELECT FROM cdp.restored) AND NOT has_table_privilege('cdp_pii', to_regclass('cdp.profile'), 'SELECT')
                THEN 'the rights on cdp.profile are not restored yet' END
$$;
COMMENT ON FUNCTION cdp.being_restored() IS
    'Internal: why nothing can be processed until pg_restore is done; NULL if it can.';

CREATE FUNCTION cdp.check_definitions() RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_check_definitions';
COMMENT ON FUNCTION cdp.check_definitions() IS
    'Internal: reads all definitions of identifier types, traits and segments as the pipeline does, and raises what keeps it from running, or one of them from being kept current, unless that is known.';

CREATE FUNCTION cdp.library_version() RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_library_version';
COMMENT ON FUNCTION cdp.library_version() IS
    'Internal, for cdp.check(): the version of the library cdp.so that is loaded, which should be that of the extension.';
-- consent.sql: purposes, what people said of them, what holds now, and whom nothing is sent to.

CREATE TABLE cdp.purpose (
    name        text PRIMARY KEY CHECK (name <> '' AND length(name) <= 200),
    description text,
    mode        text NOT NULL CHECK (mode IN ('opt_in', 'opt_out')),
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cdp.purpose IS 'What people may consent to.';
COMMENT ON COLUMN cdp.purpose.mode IS 'opt_in: only an explicit yes covers it; opt_out: all but an explicit no does.';

-- Of contact points, not of people: who has one may change, and nobody may have it yet.
CREATE SEQUENCE cdp.consent_record_id_seq;
CREATE TABLE cdp.consent_record (
    record_id   bigint PRIMARY KEY,
    type        text NOT NULL,
    value       text COLLATE "C" NOT NULL,
    purpose     text NOT NULL,
    channel     text CHECK (channel <> ''),
    granted     boolean NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    source      text,
    proof       jsonb,
    event_id    bigint,
    actor       text
);
CREATE INDEX consent_record_type_value ON cdp.consent_record (type, value);
COMMENT ON TABLE cdp.consent_record IS
    'The ledger of every statement about consent, append-only: who has the identifier said yes or no to the purpose. What holds now is in cdp.consent.';
COMMENT ON COLUMN cdp.consent_record.channel IS 'The channel that it was said of; NULL: all channels.';
COMMENT ON COLUMN cdp.consent_record.event_id IS 'The event that said so (context.consent.categoryPreferences); NULL: cdp.set_consent did.';
COMMENT ON COLUMN cdp.consent_record.actor IS 'The role that called cdp.set_consent; NULL: a message said so.';

CREATE FUNCTION cdp.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Record another statement with cdp.set_consent.';
END $$;
COMMENT ON FUNCTION cdp.refuse_change() IS 'Internal: keeps a ledger append-only.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cdp.consent_record
    FOR EACH STATEMENT EXECUTE FUNCTION cdp.refuse_change();

CREATE TABLE cdp.consent (
    profile_id  bigint NOT NULL,
    purpose     text NOT NULL,
    channel     text,
    granted     boolean NOT NULL,
    occurred_at timestamptz NOT NULL,
    record_id   bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (profile_id, purpose, channel)
) WITH (fillfactor = 70);
COMMENT ON TABLE cdp.consent IS
    'What holds now: of what was said with any of a person''s identifiers, the most recent statement per purpose and channel (NULL: all channels); at the same instant the refusal.';
COMMENT ON COLUMN cdp.consent.record_id IS 'The statement in cdp.consent_record.';

CREATE TABLE cdp.suppression (
    type          text NOT NULL,
    value         text COLLATE "C" NOT NULL,
    reason        text,
    suppressed_at timestamptz NOT NULL DEFAULT now(),
    actor         text NOT NULL,
    PRIMARY KEY (type, value)
);
COMMENT ON TABLE cdp.suppression IS
    'Identifiers that nothing is sent to, whatever their people consent to: whoever has one is out of every destination.';

CREATE TABLE cdp.suppressed_profile (
    profile_id bigint PRIMARY KEY
);
COMMENT ON TABLE cdp.suppressed_profile IS 'Who has an identifier that is suppressed.';

SELECT pg_extension_config_dump('cdp.purpose', '');
SELECT pg_extension_config_dump('cdp.consent_record', '');
SELECT pg_extension_config_dump('cdp.consent_record_id_seq', '');
SELECT pg_extension_config_dump('cdp.consent', '');
SELECT pg_extension_config_dump('cdp.suppression', '');
SELECT pg_extension_config_dump('cdp.suppressed_profile', '');

-- The ledger and the list as those may see them who may not see personal data.
CREATE VIEW cdp.consent_record_masked AS
    SELECT r.record_id, r.type, CASE WHEN (SELECT cdp.sees_personal()) THEN r.value ELSE '***' END AS value, r.purpose, r.channel,
           r.granted, r.occurred_at, r.recorded_at, r.source, CASE WHEN (SELECT cdp.sees_personal()) THEN r.proof END AS proof,
           r.event_id, r.actor, i.profile_id
    FROM cdp.consent_record r LEFT JOIN cdp.identifier i ON i.value = r.value AND i.type = r.type;
COMMENT ON VIEW cdp.consent_record_masked IS
    'The ledger of consent as you may see it, each statement with the profile that it is of now: values and proofs masked unless you are a member of cdp_pii or cdp_admin.';
-- activate_doors.sql: making and dropping destinations, and putting them right.

CREATE FUNCTION cdp.create_destination(name text, segment text DEFAULT NULL, key text DEFAULT 'profile_id',
                                       columns jsonb DEFAULT NULL, purpose text DEFAULT NULL,
                                       table_name text DEFAULT NULL, channel text DEFAULT NULL) RETURNS regclass
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_destination';
COMMENT ON FUNCTION cdp.create_destination(text, text, text, jsonb, text, text, text) IS
    'Makes the table (default: cdp_out.<name>), one row per member of the segment, or per profile; fills it, keeps it current, and publishes it as cdp_<name>. columns: column → SQL expression over the profile row, which may call cdp.segment_names() and cdp.consented(purpose, channel); by default first_seen_at, last_seen_at, event_count and every trait there is now. key: profile_id, or an identifier type. purpose: only people whose consent covers it, on channel (NULL: on every channel), are ever in it. Whoever is suppressed is in none.';
REVOKE ALL ON FUNCTION cdp.create_destination(text, text, text, jsonb, text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.drop_destination(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_destination';
COMMENT ON FUNCTION cdp.drop_destination(text) IS
    'Drops the destination with its table and its publication.';
REVOKE ALL ON FUNCTION cdp.drop_destination(text) FROM PUBLIC;

CREATE FUNCTION cdp.suppressed_count(destination text) RETURNS bigint
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_suppressed_count';
COMMENT ON FUNCTION cdp.suppressed_count(text) IS
    'How many people would be in the destination but for their consent or a suppression.';
REVOKE ALL ON FUNCTION cdp.suppressed_count(text) FROM PUBLIC;

CREATE FUNCTION cdp.segment_names() RETURNS text[]
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_segment_names';
COMMENT ON FUNCTION cdp.segment_names() IS
    'In the columns of a destination: the names of the person''s segments, sorted. An error anywhere else.';
REVOKE ALL ON FUNCTION cdp.segment_names() FROM PUBLIC;

CREATE FUNCTION cdp.destination_columns_used() RETURNS TABLE (destination text, column_name text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT d.name, r::text FROM cdp.destination d, unnest(d.reads) r $$;
COMMENT ON FUNCTION cdp.destination_columns_used() IS
    'Internal: which destinations need which columns of cdp.profile.';
REVOKE ALL ON FUNCTION cdp.destination_columns_used() FROM PUBLIC;

CREATE FUNCTION cdp.destination_difference(repair boolean DEFAULT false)
    RETURNS TABLE (table_name text, differing bigint)
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_destination_difference';
COMMENT ON FUNCTION cdp.destination_difference(boolean) IS
    'Internal, for cdp.rebuild: how many rows of each destination''s table are not what its definition gives now (NULL: it cannot be computed); with repair, puts them right.';
REVOKE ALL ON FUNCTION cdp.destination_difference(boolean) FROM PUBLIC;

CREATE FUNCTION cdp.refresh_destinations(segment text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_refresh_destinations';
COMMENT ON FUNCTION cdp.refresh_destinations(text) IS
    'Internal: brings the destinations that depend on the segment in line with its members.';
REVOKE ALL ON FUNCTION cdp.refresh_destinations(text) FROM PUBLIC;

-- Publications are in no schema, and tables may be outside of ours: DROP EXTENSION … CASCADE would leave them behind.
CREATE FUNCTION cdp.drop_destinations_first() RETURNS event_trigger
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_destinations_first';
COMMENT ON FUNCTION cdp.drop_destinations_first() IS
    'Internal: before DROP EXTENSION cdp CASCADE, drops the destinations with their tables and publications.';
REVOKE ALL ON FUNCTION cdp.drop_destinations_first() FROM PUBLIC;
CREATE EVENT TRIGGER cdp_drop_destinations_first ON ddl_command_start WHEN TAG IN ('DROP EXTENSION')
    EXECUTE FUNCTION cdp.drop_destinations_first();
-- delivery_doors.sql: giving destinations to cdp-relay, what became of their rows, and putting that right.

CREATE FUNCTION cdp.delivery_slot(destination text) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS $$
    -- The names of slots are the cluster's: a second database with a destination of that name has another.
    WITH names AS (
        SELECT left('cdp_relay_' || regexp_replace(lower(destination), '[^a-z0-9_]', '_', 'g'), 52)
               || CASE WHEN destination ~ '^[a-z0-9_]{1,42}$' THEN '' ELSE '_' || left(md5(destination), 10) END AS plain,
               'cdp_relay_' || left(md5(destination), 12) || '_' || d.oid AS own
        FROM pg_database d WHERE d.datname = current_database()
    )
    SELECT CASE WHEN EXISTS (SELECT FROM pg_replication_slots s WHERE s.slot_name = n.own)
                  OR EXISTS (SELECT FROM pg_replication_slots s WHERE s.slot_name = n.plain AND s.database IS DISTINCT FROM current_database())
                THEN n.own ELSE n.plain END
    FROM names n
$$;
COMMENT ON FUNCTION cdp.delivery_slot(text) IS 'Internal, for cdp-relay: the replication slot that it reads a destination''s changes from.';

CREATE FUNCTION cdp.drop_delivery_slot(destination text) RETURNS void
    LANGUAGE sql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT pg_drop_replication_slot(s.slot_name) FROM pg_replication_slots s
    WHERE s.slot_name = cdp.delivery_slot(destination) AND s.database = current_database() AND NOT s.active
$$;
COMMENT ON FUNCTION cdp.drop_delivery_slot(text) IS
    'Internal: drops the slot, unless a relay holds it; that drops it by itself when it sees that the delivery is gone.';

CREATE FUNCTION cdp.set_delivery(destination text, connector text, endpoint text DEFAULT NULL,
                                 secret_env text DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    IF NOT EXISTS (SELECT FROM cdp.destination d WHERE d.name = set_delivery.destination) THEN
        RAISE EXCEPTION 'destination "%" does not exist', coalesce(destination, 'NULL') USING ERRCODE = 'undefined_object',
            HINT = 'Create it with cdp.create_destination.';
    END IF;
    IF NOT EXISTS (SELECT FROM cdp.connector c WHERE c.name = set_delivery.connector) THEN
        RAISE EXCEPTION 'connector "%" does not exist', coalesce(connector, 'NULL') USING ERRCODE = 'undefined_object',
            HINT = 'SELECT name FROM cdp.connector lists them; put in rows of your own.';
    END IF;
    IF endpoint !~* '^https?://[^[:space:]]+$' THEN
        RAISE EXCEPTION 'endpoint "%" is no URL of http or https', endpoint USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF secret_env !~ '^[A-Za-z_][A-Za-z0-9_]*$' THEN
        RAISE EXCEPTION 'secret_env is no name of an environment variable' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Name the variable in cdp-relay''s environment that holds the secret. The secret itself must not be in the database.';
    END IF;
    IF jsonb_typeof(options) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'options must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- Another connector or endpoint is another place, which holds nothing of what was sent to this one.
    IF EXISTS (SELECT FROM cdp.delivery_target t WHERE t.destination = set_delivery.destination
               AND (t.connector, t.endpoint) IS DISTINCT FROM (set_delivery.connector, set_delivery.endpoint)) THEN
        DELETE FROM cdp.delivery_target t WHERE t.destination = set_delivery.destination;
        DELETE FROM cdp.delivery d WHERE d.destination = set_delivery.destination;
        DELETE FROM cdp.delivery_failure f WHERE f.destination = set_delivery.destination;
    END IF;
    INSERT INTO cdp.delivery_target AS t (destination, connector, endpoint, secret_env, options)
    VALUES (set_delivery.destination, set_delivery.connector, set_delivery.endpoint, set_delivery.secret_env, set_delivery.options)
    ON CONFLICT ON CONSTRAINT delivery_target_pkey DO UPDATE
        SET secret_env = EXCLUDED.secret_env, options = EXCLUDED.options, generation = EXCLUDED.generation,
            last_error = NULL, last_error_at = NULL;
END $$;
COMMENT ON FUNCTION cdp.set_delivery(text, text, text, text, jsonb) IS
    'Gives a destination to cdp-relay, which sends its rows and their changes over HTTP as the connector says. secret_env names the environment variable of the relay that holds the secret. options are the connector''s, and the relay''s: in_flight, timeout, rate_limit, max_lag (docs/relay.md). Another connector or endpoint than before is sent everything anew.';

CREATE FUNCTION cdp.forget_delivery(destination text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM cdp.delivery_target t WHERE t.destination = forget_delivery.destination;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    DELETE FROM cdp.delivery d WHERE d.destination = forget_delivery.destination;
    DELETE FROM cdp.delivery_failure f WHERE f.destination = forget_delivery.destination;
    PERFORM cdp.drop_delivery_slot(destination);
END $$;
COMMENT ON FUNCTION cdp.forget_delivery(text) IS 'Internal: cdp.remove_delivery, for a destination that may have none.';

CREATE FUNCTION cdp.expect_delivery(destination text) RETURNS void
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM cdp.delivery_target t WHERE t.destination = expect_delivery.destination) THEN
        RAISE EXCEPTION 'destination "%" has no delivery', destination USING ERRCODE = 'undefined_object', HINT = 'Give it one with cdp.set_delivery.';
    END IF;
END $$;
COMMENT ON FUNCTION cdp.expect_delivery(text) IS 'Internal: an error if the destination has no delivery.';

CREATE FUNCTION cdp.remove_delivery(destination text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    PERFORM cdp.expect_delivery(destination);
    PERFORM cdp.forget_delivery(destination);
END $$;
COMMENT ON FUNCTION cdp.remove_delivery(text) IS
    'Takes the destination from cdp-relay again, with its replication slot and all that is known of what was delivered. What was sent stays where it is.';

-- What became of the rows -----------------------------------------------------------------------------------------

-- The settings are those that the relay has in its sessions: what a row is as text must not depend on who asks.
CREATE FUNCTION cdp.delivery_rows(destination text, keys text[] DEFAULT NULL, OUT key text, OUT hash uuid) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, MDY'
    SET intervalstyle = 'postgres'
    SET timezone = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = 'hex'
    SET lc_monetary = 'C'
    AS $$
DECLARE
    d record;
    columns text;
BEGIN
    SELECT t.table_name, t.key, CASE t.key WHEN 'profile_id' THEN 'bigint' ELSE 'text' END AS key_type INTO STRICT d
    FROM cdp.destination t WHERE t.name = delivery_rows.destination;
    SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attnum) INTO columns
    FROM pg_attribute a WHERE a.attrelid = d.table_name::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    RETURN QUERY EXECUTE format('SELECT t.%I::text, md5(convert_to(ROW(%s)::text, ''UTF8''))::uuid FROM ONLY %s t%s',
        d.key, columns, d.table_name, CASE WHEN keys IS NULL THEN '' ELSE format(' WHERE t.%I = ANY ($1::%s[])', d.key, d.key_type) END)
        USING keys;
END $$;
COMMENT ON FUNCTION cdp.delivery_rows(text, text[]) IS
    'Internal, for cdp-relay: the rows of a destination''s table (of these keys): key, and a hash of all that it sends.';

CREATE FUNCTION cdp.count_deliveries(OUT destination text, OUT members bigint, OUT delivered bigint, OUT pending bigint,
                                     OUT refused bigint, OUT suppressed bigint) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    FOR destination IN SELECT t.destination FROM cdp.delivery_target t ORDER BY 1 LOOP
        SELECT count(*), count(*) FILTER (WHERE s.state = 'delivered'), count(*) FILTER (WHERE s.state = 'pending'),
               count(*) FILTER (WHERE s.state = 'refused')
        INTO members, delivered, pending, refused
        -- The last answer to this very row counts: it may have been confirmed before, kept against a removal, and refused now.
        FROM (SELECT CASE WHEN v.refused = r.hash THEN CASE v.status WHEN 'refused' THEN 'refused' ELSE 'pending' END
                          WHEN v.held = r.hash THEN 'delivered' ELSE 'pending' END AS state
              FROM cdp.delivery_rows(count_deliveries.destination) r
                   LEFT JOIN cdp.delivery v ON v.destination = count_deliveries.destination AND v.key = r.key) s;
        suppressed := 0;
        IF to_regprocedure('cdp.suppressed_count(text)') IS NOT NULL THEN
            EXECUTE 'SELECT cdp.suppressed_count($1)' INTO suppressed USING destination;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.count_deliveries() IS 'Internal, for cdp.delivery_report.';

CREATE VIEW cdp.delivery_report AS
    SELECT destination, members, delivered, pending, refused, suppressed FROM cdp.count_deliveries();
COMMENT ON VIEW cdp.delivery_report IS
    'Per destination that cdp-relay delivers: members = delivered + pending + refused, exactly. Reads and hashes every row: some two seconds a million.';
COMMENT ON COLUMN cdp.delivery_report.members IS 'Rows of the destination''s table.';
COMMENT ON COLUMN cdp.delivery_report.delivered IS 'Those that the destination has confirmed as they are now, and not refused since.';
COMMENT ON COLUMN cdp.delivery_report.pending IS 'Those that it has not been asked to take yet as they are now, or has not answered.';
COMMENT ON COLUMN cdp.delivery_report.refused IS 'Those that it refused as they are now when it was last asked: cdp.delivery_failure.';
COMMENT ON COLUMN cdp.delivery_report.suppressed IS 'People of the segment whom consent or a suppression keeps out of the table.';
GRANT SELECT ON cdp.delivery_report TO cdp_marketer, cdp_analyst, cdp_pii;
GRANT EXECUTE ON FUNCTION cdp.count_deliveries() TO cdp_marketer, cdp_analyst, cdp_pii;

CREATE FUNCTION cdp.why_not_sent(destination text, type text, value text, OUT reason text, OUT detail text, OUT since timestamptz)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    d record;
    t record;
    v record;
    person bigint;
    person_key text;
    row_hash uuid;
BEGIN
    SELECT * INTO d FROM cdp.destination x WHERE x.name = why_not_sent.destination;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'destination "%" does not exist', destination USING ERRCODE = 'undefined_object';
    END IF;
    IF type = 'profile_id' THEN
        person := CASE WHEN value ~ '^[0-9]{1,18}$' THEN value::bigint END;
        person := coalesce((SELECT a.profile_id FROM cdp.profile_alias a WHERE a.alias_id = person), person);
        person := (SELECT p.profile_id FROM cdp.profile p WHERE p.profile_id = person);
    ELSE
        person := cdp.resolve(type, value);
    END IF;
    IF person IS NULL THEN
        reason := 'unknown person';
        detail := format('no profile has the %s "%s"', type, value);
        RETURN NEXT;
        RETURN;
    END IF;

    -- Of who left, the key that the destination still holds.
    person_key := CASE d.key WHEN 'profile_id' THEN person::text
                             ELSE coalesce((SELECT m.key FROM cdp.destination_member m
                                            WHERE m.destination_id = d.destination_id AND m.profile_id = person),
                                           (SELECT x.key FROM cdp.identifier i JOIN cdp.delivery x ON x.key = i.value
                                            WHERE i.profile_id = person AND i.type = d.key AND x.destination = d.name AND x.held IS NOT NULL
                                            ORDER BY x.wanted_lsn DESC LIMIT 1)) END;
    SELECT r.hash INTO row_hash FROM cdp.delivery_rows(d.name, ARRAY[person_key]) r;
    SELECT * INTO v FROM cdp.delivery x WHERE x.destination = d.name AND x.key = person_key;
    IF row_hash IS NULL THEN
        IF d.segment IS NOT NULL AND NOT EXISTS (SELECT FROM cdp.segment_member m JOIN cdp.segment s USING (segment_id)
                                                 WHERE s.name = d.segment AND m.profile_id = person) THEN
            reason := 'not a member';
            detail := format('profile %s is not in segment "%s"', person, d.segment);
        ELSIF d.key <> 'profile_id' AND NOT EXISTS (SELECT FROM cdp.identifier i WHERE i.profile_id = person AND i.type = d.key) THEN
            reason := 'no identifier';
            detail := format('profile %s has no %s, which is the key of the destination', person, d.key);
        ELSIF d.problem IS NOT NULL THEN
            reason := 'destination stands still';
            detail := d.problem;
        ELSIF EXISTS (SELECT FROM cdp.suppressed_profile s WHERE s.profile_id = person) THEN
            reason := 'suppressed';
            detail := format('profile %s has an identifier that is suppressed', person);
        ELSIF d.purpose IS NOT NULL THEN
            reason := 'no consent';
            detail := format('the consent of profile %s does not cover "%s"%s', person, d.purpose, ' through ' || d.channel);
        ELSE
            reason := 'not a member';
            detail := format('profile %s has no row in %s', person, d.table_name);
        END IF;
        IF v.held IS NOT NULL THEN
            detail := detail || CASE WHEN v.status = 'refused' AND v.refused IS NULL THEN '; its removal was refused: ' || concat_ws(' ', v.http_status, v.reason)
                                     ELSE '; its removal is pending' END;
        END IF;
        RETURN NEXT;
        RETURN;
    END IF;

    SELECT * INTO t FROM cdp.delivery_target x WHERE x.destination = d.name;
    IF NOT FOUND THEN
        reason := 'no delivery';
        detail := format('the row is in %s, for subscribers of publication cdp_%s; cdp.set_delivery would send it', d.table_name, d.name);
        RETURN NEXT;
        RETURN;
    END IF;
    -- As cdp.count_deliveries has it.
    reason := CASE WHEN v.refused = row_hash THEN CASE v.status WHEN 'refused' THEN 'refused' ELSE 'pending' END
                   WHEN v.held = row_hash THEN 'delivered' ELSE 'pending' END;
    CASE reason
        WHEN 'delivered' THEN
            IF v.status = 'delivered' THEN
                detail := format('answered with %s', v.http_status);
                since := v.answered_at;
            ELSIF v.status = 'refused' THEN  -- the last answer is to another change
                detail := format('the destination holds it as it is; a change in between was refused: %s', concat_ws(' ', v.http_status, v.reason));
            ELSE
                detail := 'the destination holds it as it is; a change in between is on its way';
            END IF;
        WHEN 'refused' THEN
            detail := concat_ws(' ', v.http_status, v.reason);
            since := v.answered_at;
        ELSE
            detail := coalesce(t.last_error, CASE WHEN t.started_lsn IS NOT NULL THEN 'on its way' ELSE 'cdp-relay has not begun to deliver this destination' END);
            since := CASE v.status WHEN 'pending' THEN v.wanted_at END;  -- what is read from the log is known once it is answered
    END CASE;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION cdp.why_not_sent(text, text, text) IS
    'Whether the row of the person with that identifier (or type profile_id, one that was merged away included) has reached the destination, and if not, why: unknown person, not a member, no identifier, destination stands still, suppressed, no consent, no delivery, refused, pending; or delivered.';

-- Putting it right --------------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.retry_deliveries(destination text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    retried bigint;
BEGIN
    PERFORM cdp.expect_delivery(destination);
    UPDATE cdp.delivery d SET status = 'pending', wanted = d.refused
    WHERE d.destination = retry_deliveries.destination AND d.status = 'refused';
    GET DIAGNOSTICS retried = ROW_COUNT;
    DELETE FROM cdp.delivery_failure f WHERE f.destination = retry_deliveries.destination;
    RETURN retried;
END $$;
COMMENT ON FUNCTION cdp.retry_deliveries(text) IS
    'Sends what the destination refused once more, as it is now and under the same idempotency keys; returns how many.';

CREATE FUNCTION cdp.resync_destination(name text, everything boolean DEFAULT false) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    position_ pg_lsn;
    differing bigint;
BEGIN
    -- What is wanted is what the table holds where the log stands now: nobody may be writing to it.
    PERFORM cdp.lock_pipeline();
    PERFORM cdp.expect_delivery(name);
    position_ := pg_current_wal_insert_lsn() - 1::numeric;  -- the next change may stand exactly there

    IF everything THEN
        UPDATE cdp.delivery d SET held = NULL, status = 'pending'
        FROM cdp.delivery_rows(name) r WHERE d.destination = resync_destination.name AND d.key = r.key;
    END IF;
    INSERT INTO cdp.delivery AS d (destination, key, status, wanted_lsn, wanted)
    SELECT resync_destination.name, coalesce(r.key, v.key), 'pending', position_, r.hash
    FROM cdp.delivery_rows(name) r
         FULL JOIN (SELECT * FROM cdp.delivery x WHERE x.destination = resync_destination.name) v ON v.key = r.key
    WHERE v.held IS DISTINCT FROM r.hash AND NOT (v.status IS NOT DISTINCT FROM 'refused' AND v.refused IS NOT DISTINCT FROM r.hash)
    ORDER BY coalesce(r.key, v.key) COLLATE "C"
    ON CONFLICT (destination, key) DO UPDATE
        SET status = 'pending', wanted_lsn = EXCLUDED.wanted_lsn, wanted = EXCLUDED.wanted, wanted_at = EXCLUDED.wanted_at;
    GET DIAGNOSTICS differing = ROW_COUNT;
    RETURN differing;
END $$;
COMMENT ON FUNCTION cdp.resync_destination(text, boolean) IS
    'Compares the destination''s table with what was delivered, and has cdp-relay send what differs (what was refused as it is now excepted: cdp.retry_deliveries); returns how many rows. everything: sends all rows again, for a destination that has lost them.';

-- Health --------------------------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.check_deliveries(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(p.problem) = 0,
           coalesce(string_agg(format('%s: %s', t.destination, p.problem), '; ' ORDER BY t.destination) FILTER (WHERE p.problem IS NOT NULL),
                    CASE count(*) WHEN 0 THEN 'no destination is delivered by cdp-relay' ELSE 'every delivery goes on' END)
    FROM cdp.delivery_target t
         LEFT JOIN pg_replication_slots s ON s.slot_name = cdp.delivery_slot(t.destination) AND s.database = current_database()
         LEFT JOIN LATERAL (SELECT count(*) FROM cdp.delivery_failure f WHERE f.destination = t.destination) f (n) ON true
         LEFT JOIN LATERAL (SELECT CASE WHEN s.active IS NOT TRUE THEN concat_ws('; at last: ', 'no cdp-relay is delivering it', t.last_error)
                                        WHEN t.last_error IS NOT NULL THEN t.last_error
                                        WHEN f.n > 0 THEN format('%s rows were refused: see cdp.delivery_failure, then cdp.retry_deliveries', f.n) END) p (problem) ON true
$$;
COMMENT ON FUNCTION cdp.check_deliveries() IS 'Internal, for cdp.check().';
-- relay_doors.sql: what cdp-relay calls: its generation, the answers it got, what is wanted and waits.

CREATE FUNCTION cdp.start_delivery(destination text, generation bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    differing bigint;
BEGIN
    PERFORM cdp.lock_pipeline();
    PERFORM cdp.expect_generation(destination, generation);
    -- Positions are those of a slot that is no more, perhaps of another cluster.
    DELETE FROM cdp.delivery d WHERE d.destination = start_delivery.destination AND d.status = 'removed';
    UPDATE cdp.delivery d SET answered_lsn = NULL, wanted = NULL,
        wanted_lsn = CASE d.status WHEN 'pending' THEN pg_current_wal_insert_lsn() - 1::numeric ELSE '0/0' END
    WHERE d.destination = start_delivery.destination;
    differing := cdp.resync_destination(destination);
    UPDATE cdp.delivery_target t SET started_lsn = pg_current_wal_insert_lsn() WHERE t.destination = start_delivery.destination;
    RETURN differing;
END $$;
COMMENT ON FUNCTION cdp.start_delivery(text, bigint) IS
    'Internal, for cdp-relay, once it has made the replication slot: what is in the table and not delivered is wanted; how many rows that is.';

CREATE FUNCTION cdp.expect_generation(destination text, generation bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM FROM cdp.delivery_target t
    WHERE t.destination = expect_generation.destination AND t.generation = expect_generation.generation FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the delivery of destination "%" has been changed', destination USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;
COMMENT ON FUNCTION cdp.expect_generation(text, bigint) IS
    'Internal, for cdp-relay: keeps the settings of a delivery as they are until the transaction ends; an error if they are others.';

CREATE FUNCTION cdp.record_answers(destination text, generation bigint, answers jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan
    AS $$
BEGIN
    PERFORM cdp.expect_generation(destination, generation);
    -- A later change that waits in this table stays pending, unless this is what it was about.
    INSERT INTO cdp.delivery AS d (destination, key, status, wanted_lsn, wanted_at, held, refused, sent_at, answered_at, answered_lsn, http_status, reason)
    SELECT record_answers.destination, a.key, a.status, a.lsn, coalesce(to_timestamp(a.sent_at), now()), CASE a.status WHEN 'delivered' THEN a.hash END,
           CASE a.status WHEN 'refused' THEN a.hash END, to_timestamp(a.sent_at), now(), a.lsn, a.http_status, a.reason
    FROM jsonb_to_recordset(answers) AS a (key text, status text, lsn pg_lsn, hash uuid, sent_at double precision, http_status int, reason text)
    ORDER BY a.key COLLATE "C"
    ON CONFLICT ON CONSTRAINT delivery_pkey DO UPDATE
        SET status = CASE WHEN d.status = 'pending' AND d.wanted_lsn > EXCLUDED.wanted_lsn
                               AND NOT (EXCLUDED.status = 'delivered' AND EXCLUDED.held IS NOT DISTINCT FROM d.wanted)
                          THEN 'pending' ELSE EXCLUDED.status END,
            wanted_at = CASE WHEN d.wanted_lsn < EXCLUDED.wanted_lsn THEN EXCLUDED.wanted_at ELSE d.wanted_at END,
            wanted_lsn = greatest(d.wanted_lsn, EXCLUDED.wanted_lsn),
            held = CASE EXCLUDED.status WHEN 'refused' THEN d.held ELSE EXCLUDED.held END,
            refused = EXCLUDED.refused, sent_at = EXCLUDED.sent_at, answered_at = EXCLUDED.answered_at,
            answered_lsn = EXCLUDED.answered_lsn, http_status = EXCLUDED.http_status, reason = EXCLUDED.reason;
    DELETE FROM cdp.delivery_failure f USING jsonb_to_recordset(answers) AS a (key text)
    WHERE f.destination = record_answers.destination AND f.key = a.key;
    INSERT INTO cdp.delivery_failure (destination, key, lsn, id, type, "row", http_status, reason)
    SELECT record_answers.destination, a.key, a.lsn, a.id, a.type, a."row", a.http_status, a.reason
    FROM jsonb_to_recordset(answers) AS a (key text, status text, lsn pg_lsn, id text, type text, "row" jsonb, http_status int, reason text)
    WHERE a.status = 'refused';
END $$;
COMMENT ON FUNCTION cdp.record_answers(text, bigint, jsonb) IS
    'Internal, for cdp-relay: what the destination answered, each key once.';

CREATE FUNCTION cdp.record_wanted(destination text, generation bigint, wanted jsonb, only_waiting boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan
    AS $$
BEGIN
    PERFORM cdp.expect_generation(destination, generation);
    IF only_waiting THEN
        UPDATE cdp.delivery d SET wanted_lsn = w.lsn, wanted = w.hash
        FROM jsonb_to_recordset(record_wanted.wanted) AS w (key text, lsn pg_lsn, hash uuid)
        WHERE d.destination = record_wanted.destination AND d.key = w.key AND d.status = 'pending' AND d.wanted_lsn < w.lsn;
        RETURN;
    END IF;
    INSERT INTO cdp.delivery AS d (destination, key, status, wanted_lsn, wanted)
    SELECT record_wanted.destination, w.key, 'pending', w.lsn, w.hash
    FROM jsonb_to_recordset(record_wanted.wanted) AS w (key text, lsn pg_lsn, hash uuid)
    ORDER BY w.key COLLATE "C"
    ON CONFLICT ON CONSTRAINT delivery_pkey DO UPDATE
        SET status = 'pending', wanted_lsn = EXCLUDED.wanted_lsn, wanted = EXCLUDED.wanted, wanted_at = EXCLUDED.wanted_at,
            after = CASE d.status WHEN 'pending' THEN d.after END
        WHERE d.wanted_lsn < EXCLUDED.wanted_lsn;
    -- What a key follows, and what that follows, as far as it is not settled.
    UPDATE cdp.delivery d SET after = (
        SELECT array_agg(DISTINCT f.key) FROM cdp.delivery f
        WHERE f.destination = record_wanted.destination AND f.status = 'pending' AND f.key <> d.key
          AND f.key = ANY (ARRAY(SELECT unnest(d.after || w.after) UNION
                                 SELECT unnest(x.after) FROM cdp.delivery x WHERE x.destination = record_wanted.destination AND x.key = ANY (w.after))))
    FROM jsonb_to_recordset(record_wanted.wanted) AS w (key text, after text[])
    WHERE w.after IS NOT NULL AND d.destination = record_wanted.destination AND d.key = w.key AND d.status = 'pending';
END $$;
COMMENT ON FUNCTION cdp.record_wanted(text, bigint, jsonb, boolean) IS
    'Internal, for cdp-relay: changes that will be sent from the destination''s table, each key once, so that the write-ahead log need not be kept for them; only_waiting: of keys that wait here already.';

-- A row is sent as it is when it is taken. If it is not what was wanted then, it is another change: at a position that has
-- all of the row's changes before it and those to come behind it, since nobody can be writing to a row that we have locked.
CREATE FUNCTION cdp.take_wanted(destination text, generation bigint, after text, most int, busy jsonb,
                                OUT key text, OUT lsn pg_lsn, OUT held boolean, OUT taken boolean, OUT fields jsonb) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, MDY'
    SET intervalstyle = 'postgres'
    SET timezone = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = 'hex'
    SET lc_monetary = 'C'
    SET enable_seqscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET plan_cache_mode = force_generic_plan
    AS $$
DECLARE
    d record;
    columns text;
    texts text;
    keys text[];
    followed text[];
    present jsonb;
    found_fields jsonb;
    found_hashes jsonb;
    position_ pg_lsn;
BEGIN
    PERFORM cdp.expect_generation(destination, generation);
    keys := ARRAY(SELECT v.key FROM cdp.delivery v WHERE v.destination = take_wanted.destination AND v.status = 'pending'
                  AND v.key > take_wanted.after COLLATE "C" ORDER BY v.key LIMIT most);
    followed := ARRAY(SELECT DISTINCT a FROM unnest(keys) k (key) JOIN cdp.delivery v ON v.destination = take_wanted.destination AND v.key = k.key
                      CROSS JOIN LATERAL unnest(v.after) a);
    SELECT t.table_name, t.key, CASE t.key WHEN 'profile_id' THEN 'bigint' ELSE 'text' END AS key_type INTO STRICT d
    FROM cdp.destination t WHERE t.name = take_wanted.destination;
    SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attnum),
           string_agg(format('CASE WHEN t.%1$I IS NULL THEN NULL ELSE format(''%%s'', t.%1$I) END', a.attname), ', ' ORDER BY a.attnum)
    INTO columns, texts
    FROM pg_attribute a WHERE a.attrelid = d.table_name::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    EXECUTE format('SELECT coalesce(jsonb_object_agg(r.key, r.fields), ''{}''), coalesce(jsonb_object_agg(r.key, r.hash), ''{}'') FROM'
                   ' (SELECT t.%1$I::text AS key, jsonb_build_array(%2$s) AS fields, md5(convert_to(ROW(%3$s)::text, ''UTF8''))::uuid AS hash'
                   '  FROM unnest($1::%5$s[]) k JOIN ONLY %4$s t ON t.%1$I = k FOR SHARE OF t SKIP LOCKED) r',
                   d.key, texts, columns, d.table_name, d.key_type)
        INTO found_fields, found_hashes USING keys;
    EXECUTE format('SELECT coalesce(jsonb_object_agg(t.%1$I::text, 1), ''{}'') FROM unnest($1::%3$s[]) k JOIN ONLY %2$s t ON t.%1$I = k', d.key, d.table_name, d.key_type)
        INTO present USING keys || followed;
    position_ := pg_current_wal_insert_lsn() - 1::numeric;
    -- Each row is looked up by its key, whatever the planner knows of the table.
    UPDATE cdp.delivery v SET wanted_lsn = greatest(v.wanted_lsn, position_), wanted = (found_hashes ->> v.key)::uuid
    FROM unnest(keys) k (key)
         CROSS JOIN LATERAL (SELECT x.ctid AS place FROM cdp.delivery x
                             WHERE x.destination = take_wanted.destination AND x.key = k.key OFFSET 0) x
    WHERE v.ctid = x.place AND found_hashes ? k.key AND NOT busy ? k.key AND v.wanted IS DISTINCT FROM (found_hashes ->> k.key)::uuid;
    -- A row that was wanted and is gone has its DELETE on the way. Nobody waits for a key that is somebody's again.
    RETURN QUERY
        SELECT v.key, v.wanted_lsn, v.held IS NOT NULL,
               CASE WHEN present ? v.key THEN found_hashes ? v.key AND NOT EXISTS (
                        SELECT FROM unnest(v.after) a (key) WHERE NOT present ? a.key
                        AND (busy ? a.key OR EXISTS (SELECT FROM cdp.delivery f WHERE f.destination = take_wanted.destination AND f.key = a.key AND f.status = 'pending')))
                    ELSE v.wanted IS NULL END,
               found_fields -> v.key
        FROM unnest(keys) WITH ORDINALITY AS k (key, n)
             CROSS JOIN LATERAL (SELECT * FROM cdp.delivery x WHERE x.destination = take_wanted.destination AND x.key = k.key OFFSET 0) v
        ORDER BY k.n;
END $$;
COMMENT ON FUNCTION cdp.take_wanted(text, bigint, text, int, jsonb) IS
    'Internal, for cdp-relay: what waits in cdp.delivery, by key, with the values of its row as texts (none: a removal). Those that somebody is writing to, or that have to follow others, are not taken. busy: an object of the keys that are on their way already, whose position must stay.';
-- attach_doors.sql: tables of the user's as sources.
--
-- Their settings make values read the same in whatever session they are written.

CREATE FUNCTION cdp.send_inserted_rows() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'cdp_send_inserted_rows';
COMMENT ON FUNCTION cdp.send_inserted_rows() IS
    'Internal: the trigger that cdp.attach_table puts on a table.';
REVOKE ALL ON FUNCTION cdp.send_inserted_rows() FROM PUBLIC;

CREATE FUNCTION cdp.send_applied_row() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'cdp_send_applied_row';
COMMENT ON FUNCTION cdp.send_applied_row() IS
    'Internal: the same for rows that a subscription applies.';
REVOKE ALL ON FUNCTION cdp.send_applied_row() FROM PUBLIC;

CREATE FUNCTION cdp.attach_table(relation regclass, event text, identifiers jsonb, occurred_at name DEFAULT NULL,
                                 properties name[] DEFAULT NULL, backfill boolean DEFAULT true,
                                 type text DEFAULT 'track', updates boolean DEFAULT false) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
    SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'cdp_attach_table';
COMMENT ON FUNCTION cdp.attach_table(regclass, text, jsonb, name, name[], boolean, text, boolean) IS
    'Makes a table a source: each row inserted from now on becomes a track message, and with backfill each row that is there, in the order of the primary key; returns how many those were. identifiers: {identifier type: column}; properties: columns, all others if NULL; nulls are left out. Columns that get other names are followed; without those that are dropped later, messages go on, and a WARNING once a session says so. type: track, or identify, whose traits are then the properties (and event NULL). updates: a row that is changed becomes another message. What a subscription applies counts as well. DELETE and TRUNCATE send nothing, nor does what is inserted straight into a partition or an inheriting table. For the table''s owner.';
REVOKE ALL ON FUNCTION cdp.attach_table(regclass, text, jsonb, name, name[], boolean, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.attach_table(regclass, text, jsonb, name, name[], boolean, text, boolean) TO cdp_admin;

CREATE FUNCTION cdp.detach_table(relation regclass) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_detach_table';
COMMENT ON FUNCTION cdp.detach_table(regclass) IS
    'Makes a table no source any more. Messages that it has sent stay. Returns whether it was attached.';
REVOKE ALL ON FUNCTION cdp.detach_table(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.detach_table(regclass) TO cdp_admin;

CREATE FUNCTION cdp.attached_table_lacks(relation regclass, config text) RETURNS text[]
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_attached_table_lacks';
COMMENT ON FUNCTION cdp.attached_table_lacks(regclass, text) IS
    'Internal: the columns that a table was attached with and has no longer.';
REVOKE ALL ON FUNCTION cdp.attached_table_lacks(regclass, text) FROM PUBLIC;

CREATE FUNCTION cdp.check_attached_tables(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) FILTER (WHERE l.columns <> '{}') = 0,
           coalesce(string_agg(format('%s is sent without %s', t.tgrelid::regclass, array_to_string(l.columns, ', ')), '; ' ORDER BY t.tgrelid)
                        FILTER (WHERE l.columns <> '{}') || ': call cdp.detach_table and cdp.attach_table again',
                    format('%s attached', count(*)))
    FROM pg_trigger t
         CROSS JOIN LATERAL (SELECT cdp.attached_table_lacks(t.tgrelid, convert_from(substring(t.tgargs FROM 1 FOR length(t.tgargs) - 1),
                                                                                    getdatabaseencoding()))) l (columns)
    WHERE t.tgfoid = 'cdp.send_inserted_rows()'::regprocedure AND t.tgnargs = 1 AND t.tgtype & 4 <> 0  -- of INSERT
$$;
COMMENT ON FUNCTION cdp.check_attached_tables() IS 'Internal, for cdp.check().';
REVOKE ALL ON FUNCTION cdp.check_attached_tables() FROM PUBLIC;

-- The trigger's argument says it all; a trigger is dumped, renamed and dropped with its table.
CREATE VIEW cdp.attached_table AS
    SELECT t.tgrelid::regclass AS relation, c.config ->> 'event' AS event, c.config -> 'identifiers' AS identifiers,
           (c.config ->> 'occurred_at')::name AS occurred_at,
           CASE WHEN c.config ? 'properties' THEN ARRAY (SELECT jsonb_array_elements_text(c.config -> 'properties'))::name[] END
               AS properties,
           t.tgenabled <> 'D' AS enabled, coalesce(c.config ->> 'type', 'track') AS type, c.config ? 'updates' AS updates
    FROM pg_catalog.pg_trigger t
         CROSS JOIN LATERAL (SELECT convert_from(substring(t.tgargs FROM 1 FOR length(t.tgargs) - 1),
                                                 getdatabaseencoding())::jsonb) c (config)
    WHERE t.tgfoid = 'cdp.send_inserted_rows()'::regprocedure AND t.tgnargs = 1 AND t.tgtype & 4 <> 0;  -- of INSERT
COMMENT ON VIEW cdp.attached_table IS
    'The tables that are sources, as cdp.attach_table was told. properties: NULL means all other columns.';
GRANT SELECT ON cdp.attached_table TO cdp_admin, cdp_analyst;
-- collect_doors.sql: how messages get in, and how those that were refused get another chance.

-- Messages as JSON ----------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.ingest(messages jsonb, source text DEFAULT 'default')
    RETURNS TABLE (message_id text, status text, reason text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_ingest';
COMMENT ON FUNCTION cdp.ingest(jsonb, text) IS
    'Takes a Segment message, an array of them, or a {"batch": […]} body. Each is accepted into cdp.inbox or rejected into cdp.rejected_message, in the order given, whatever becomes of the others. Of a batch, sentAt, context and integrations hold for its messages. A field that the spec does not know is kept in the context under its name.';
REVOKE ALL ON FUNCTION cdp.ingest(jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.ingest(jsonb, text) TO cdp_ingest;

CREATE FUNCTION cdp.retry_rejected() RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_retry_rejected';
COMMENT ON FUNCTION cdp.retry_rejected() IS
    'Sends every rejected message through again, as received when it was, and returns how many. Those that are still bad are rejected anew.';
REVOKE ALL ON FUNCTION cdp.retry_rejected() FROM PUBLIC;

-- One message ---------------------------------------------------------------------------------------------------
--
-- They write with the rights of the extension's owner, so that EXECUTE is all that a sender needs.

CREATE FUNCTION cdp.track(event text, user_id text DEFAULT NULL, anonymous_id text DEFAULT NULL,
                          properties jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
                          occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                          source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, event, user_id, anonymous_id, properties, context, occurred_at, message_id, source)
    VALUES ('track', event, user_id, anonymous_id, properties, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.track(text, text, text, jsonb, jsonb, timestamptz, text, text) IS
    'Sends a track message: somebody did something. Returns its message_id.';

CREATE FUNCTION cdp.identify(user_id text, traits jsonb DEFAULT NULL, anonymous_id text DEFAULT NULL,
                             context jsonb DEFAULT NULL, occurred_at timestamptz DEFAULT NULL,
                             message_id text DEFAULT NULL, source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, user_id, traits, anonymous_id, context, occurred_at, message_id, source)
    VALUES ('identify', user_id, traits, anonymous_id, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.identify(text, jsonb, text, jsonb, timestamptz, text, text) IS
    'Sends an identify message: who somebody is, and what is known of them. Returns its message_id.';

CREATE FUNCTION cdp.page(name text, user_id text DEFAULT NULL, anonymous_id text DEFAULT NULL,
                         properties jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
                         occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                         source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, event, user_id, anonymous_id, properties, context, occurred_at, message_id, source)
    VALUES ('page', name, user_id, anonymous_id, properties, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.page(text, text, text, jsonb, jsonb, timestamptz, text, text) IS
    'Sends a page message: somebody saw a page of a website. Returns its message_id.';

CREATE FUNCTION cdp.screen(name text, user_id text DEFAULT NULL, anonymous_id text DEFAULT NULL,
                           properties jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
                           occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                           source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, event, user_id, anonymous_id, properties, context, occurred_at, message_id, source)
    VALUES ('screen', name, user_id, anonymous_id, properties, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.screen(text, text, text, jsonb, jsonb, timestamptz, text, text) IS
    'Sends a screen message: somebody saw a screen of an app. Returns its message_id.';

CREATE FUNCTION cdp.join_group(group_id text, user_id text DEFAULT NULL, traits jsonb DEFAULT NULL,
                               anonymous_id text DEFAULT NULL, context jsonb DEFAULT NULL,
                               occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                               source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, group_id, user_id, traits, anonymous_id, context, occurred_at, message_id, source)
    VALUES ('group', group_id, user_id, traits, anonymous_id, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.join_group(text, text, jsonb, text, jsonb, timestamptz, text, text) IS
    'Sends a group message: somebody belongs to an account, and what is known of that account. Returns its message_id.';

CREATE FUNCTION cdp.alias(previous_id text, user_id text DEFAULT NULL, context jsonb DEFAULT NULL,
                          occurred_at timestamptz DEFAULT NULL, message_id text DEFAULT NULL,
                          source text DEFAULT 'default') RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO cdp.inbox (type, previous_id, user_id, context, occurred_at, message_id, source)
    VALUES ('alias', previous_id, user_id, context, coalesce(occurred_at, now()),
            CASE WHEN message_id ~ '\S' THEN message_id ELSE gen_random_uuid()::text END, coalesce(source, 'default'))
    RETURNING inbox.message_id INTO message_id;
    RETURN message_id;
END $$;
COMMENT ON FUNCTION cdp.alias(text, text, jsonb, timestamptz, text, text) IS
    'Sends an alias message: previous_id, an anonymous_id, is the person user_id. Returns its message_id.';

REVOKE ALL ON FUNCTION cdp.track(text, text, text, jsonb, jsonb, timestamptz, text, text),
                       cdp.identify(text, jsonb, text, jsonb, timestamptz, text, text),
                       cdp.page(text, text, text, jsonb, jsonb, timestamptz, text, text),
                       cdp.screen(text, text, text, jsonb, jsonb, timestamptz, text, text),
                       cdp.join_group(text, text, jsonb, text, jsonb, timestamptz, text, text),
                       cdp.alias(text, text, jsonb, timestamptz, text, text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.track(text, text, text, jsonb, jsonb, timestamptz, text, text),
                          cdp.identify(text, jsonb, text, jsonb, timestamptz, text, text),
                          cdp.page(text, text, text, jsonb, jsonb, timestamptz, text, text),
                          cdp.screen(text, text, text, jsonb, jsonb, timestamptz, text, text),
                          cdp.join_group(text, text, jsonb, text, jsonb, timestamptz, text, text),
                          cdp.alias(text, text, jsonb, timestamptz, text, text)
    TO cdp_ingest;
-- check_doors.sql: cdp.check(), whether all is as it should be, in words.
--
-- Each check is a function cdp.check_<name>() that says whether it holds and how things are. cdp.check() calls them
-- all, on a standby too; one that fails does not keep the others from answering.

CREATE FUNCTION cdp.check(OUT check_name text, OUT ok boolean, OUT detail text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    part name;
BEGIN
    FOR part IN
        SELECT p.proname FROM pg_proc p
        WHERE p.pronamespace = 'cdp'::regnamespace AND p.proname LIKE 'check\_%' AND p.pronargs = 0 AND p.prorettype = 'record'::regtype
        ORDER BY p.oid
    LOOP
        check_name := substring(part FROM 7);
        BEGIN
            EXECUTE format('SELECT c.ok, c.detail FROM cdp.%I() c', part) INTO ok, detail;
        EXCEPTION WHEN OTHERS THEN
            ok := false;
            detail := 'could not be checked: ' || SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.check() IS
    'Configuration and health, in words. Where ok is false, detail says what is the matter and what to do.';

-- Installation ----------------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.check_version(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT e.extversion = cdp.library_version(),
           format('extension %s, library %s%s', e.extversion, cdp.library_version(),
                  CASE WHEN e.extversion <> cdp.library_version()
                       THEN ': run ALTER EXTENSION cdp UPDATE, or restart the server if the new library is installed' ELSE '' END)
    FROM pg_extension e WHERE e.extname = 'cdp'
$$;
COMMENT ON FUNCTION cdp.check_version() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_roles(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) = 0,
           coalesce('missing: ' || string_agg(n, ', ' ORDER BY n) || '; CREATE ROLE … NOLOGIN, and grant as the install script does',
                    'cdp_admin, cdp_analyst, cdp_ingest, cdp_marketer and cdp_pii are there')
    FROM unnest('{cdp_admin, cdp_analyst, cdp_ingest, cdp_marketer, cdp_pii}'::text[]) n
    WHERE to_regrole(n) IS NULL
$$;
COMMENT ON FUNCTION cdp.check_roles() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_masking(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) = 0,
           coalesce(string_agg(format('%s may read %s', r, c.name), ', ' ORDER BY r, c.attnum) || ' of cdp.profile, which is personal',
                    'nobody but members of cdp_pii and cdp_admin reads personal data')
    FROM unnest('{cdp_marketer, cdp_analyst, cdp_ingest, public}'::text[]) r, cdp.profile_columns() c
    WHERE (c.personal OR c.name = 'traits') AND (r = 'public' OR to_regrole(r) IS NOT NULL)
      AND has_column_privilege(r, 'cdp.profile', c.attnum, 'SELECT')
$$;
COMMENT ON FUNCTION cdp.check_masking() IS 'Internal, for cdp.check().';

-- The server ------------------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.check_preload(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT p.loaded, CASE WHEN p.loaded THEN 'cdp is in shared_preload_libraries: the worker starts by itself'
                          ELSE 'cdp is not in shared_preload_libraries: after a restart no worker runs until cdp.start_worker()' END
    FROM (SELECT EXISTS (SELECT FROM string_to_table(current_setting('shared_preload_libraries'), ',') l
                         WHERE trim(both ' "' FROM l) IN ('cdp', '$libdir/cdp')) AS loaded) p
$$;
COMMENT ON FUNCTION cdp.check_preload() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_worker_processes(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    -- Parallel workers come and go, and give way.
    SELECT w.most > w.used,
           format('%s of max_worker_processes (%s) in use%s', w.used, w.most,
                  CASE WHEN w.most > w.used THEN '' ELSE ': raise it, every database with cdp needs one' END)
    FROM (SELECT current_setting('max_worker_processes')::int AS most,
                 (SELECT count(*) FROM pg_stat_activity a
                  WHERE a.backend_type NOT IN ('client backend', 'parallel worker', 'autovacuum launcher', 'autovacuum worker', 'background writer',
                                               'checkpointer', 'walwriter', 'walsender', 'walreceiver', 'startup', 'archiver',
                                               'walsummarizer', 'slotsync worker', 'io worker')) AS used) w
$$;
COMMENT ON FUNCTION cdp.check_worker_processes() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_autovacuum(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    -- The partitions of the inbox are truncated, not vacuumed.
    SELECT a.active AND a.tables IS NULL,
           CASE WHEN NOT a.active THEN 'autovacuum or track_counts is off: profiles bloat, and plans go by old statistics'
                WHEN a.tables IS NOT NULL THEN 'autovacuum is off for ' || a.tables
                ELSE 'autovacuum is on' END
    FROM (SELECT current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean AS active,
                 (SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text)
                  FROM pg_class c WHERE c.relnamespace IN ('cdp'::regnamespace, 'cdp_out'::regnamespace) AND c.relkind = 'r'
                    AND c.relname !~ '^inbox_[0-3]$' AND c.reloptions && '{autovacuum_enabled=false,autovacuum_enabled=off}') AS tables) a
$$;
COMMENT ON FUNCTION cdp.check_autovacuum() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_old_transactions(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) = 0,
           CASE count(*) WHEN 0 THEN 'no transaction is open for over an hour'
                         ELSE format('open for over an hour: process %s since %s; nothing that died since can be vacuumed away',
                                     string_agg(a.pid::text, ', ' ORDER BY a.xact_start), min(a.xact_start)) END
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.xact_start < now() - interval '1 hour' AND a.backend_type <> 'autovacuum worker'
$$;
COMMENT ON FUNCTION cdp.check_old_transactions() IS 'Internal, for cdp.check().';

-- Processing ------------------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.check_worker(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    state text;
    error text;
BEGIN
    IF to_regprocedure('cdp.worker_status()') IS NULL THEN
        ok := true;
        detail := 'there is no worker in this version';
        RETURN;
    END IF;
    EXECUTE 'SELECT w.state, w.last_error FROM cdp.worker_status() w' INTO state, error;
    ok := pg_is_in_recovery() OR state IN ('idle', 'running', 'starting');
    detail := 'the worker is ' || coalesce(state, 'unknown') ||
        CASE WHEN ok THEN ''
             WHEN state = 'backing off' THEN ': ' || coalesce(error, 'it failed')
             ELSE ': messages wait for cdp.start_worker(), cdp.process() or cdp.flush()' END;
END $$;
COMMENT ON FUNCTION cdp.check_worker() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_backlog(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    pending bigint;
    oldest timestamptz;
BEGIN
    IF to_regprocedure('cdp.pending_messages()') IS NOT NULL THEN
        EXECUTE 'SELECT p.messages, p.oldest FROM cdp.pending_messages() p' INTO pending, oldest;
    ELSE
        SELECT count(*), min(i.received_at) INTO pending, oldest FROM cdp.inbox i WHERE cdp.is_pending(i.inbox_xid, i.inbox_id);
    END IF;
    ok := pending = 0 OR oldest > clock_timestamp() - interval '1 minute';
    detail := CASE WHEN pending = 0 THEN 'nothing waits to be processed'
                   ELSE format('%s messages wait to be processed, the oldest since %s', pending, oldest) END;
END $$;
COMMENT ON FUNCTION cdp.check_backlog() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_last_error(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT p.last_error IS NULL OR p.last_batch_at >= p.last_error_at,
           CASE WHEN p.last_error IS NULL THEN 'the pipeline never failed'
                ELSE format('the pipeline failed at %s: %s%s', p.last_error_at, p.last_error,
                            CASE WHEN p.last_batch_at >= p.last_error_at THEN '; it has gone on since' ELSE '' END) END
    FROM cdp.pipeline p
$$;
COMMENT ON FUNCTION cdp.check_last_error() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_rejected_messages(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT r.count = 0,
           CASE r.count WHEN 0 THEN 'no message was rejected'
                        ELSE format('%s messages in cdp.rejected_message, the last: %s; cdp.retry_rejected() sends them through again',
                                    CASE WHEN r.count > 10000 THEN 'over 10000' ELSE r.count::text END,
                                    (SELECT m.reason FROM cdp.rejected_message m ORDER BY m.rejection_id DESC LIMIT 1)) END
    FROM (SELECT count(*) FROM (SELECT FROM cdp.rejected_message LIMIT 10001) m) r
$$;
COMMENT ON FUNCTION cdp.check_rejected_messages() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_inbox_rotation(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    -- One is written to, one is being read; a third is left only as long as somebody still may see its rows.
    SELECT count(*) FILTER (WHERE s.bytes > 0) < 4,
           format('%s of 4 partitions of the inbox hold rows, %s%s', count(*) FILTER (WHERE s.bytes > 0), pg_size_pretty(sum(s.bytes)),
                  CASE WHEN count(*) FILTER (WHERE s.bytes > 0) < 4 THEN ''
                       ELSE ': they are emptied once all is processed and no transaction is older' END)
    FROM (SELECT pg_relation_size(i.inhrelid) AS bytes FROM pg_inherits i WHERE i.inhparent = 'cdp.inbox'::regclass) s
$$;
COMMENT ON FUNCTION cdp.check_inbox_rotation() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_event_partitions(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    -- Each batch makes those of this month and of next week.
    SELECT p.missing IS NULL OR NOT p.any_there OR p.last_batch_at IS NULL OR p.last_batch_at < now() - interval '1 day',
           CASE WHEN p.missing IS NULL THEN 'the partitions of cdp.event for now and next week are there'
                ELSE 'not there yet: ' || p.missing || '; the next batch makes them' END
    FROM (SELECT string_agg(DISTINCT n.name, ', ') FILTER (WHERE to_regclass('cdp.' || n.name) IS NULL) AS missing,
                 EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = 'cdp.event'::regclass) AS any_there,
                 (SELECT l.last_batch_at FROM cdp.pipeline l) AS last_batch_at
          FROM unnest(ARRAY[now(), now() + interval '7 days']) t,
               LATERAL (SELECT to_char(t AT TIME ZONE 'UTC', '"event_"YYYY_MM')) n (name)) p
$$;
COMMENT ON FUNCTION cdp.check_event_partitions() IS 'Internal, for cdp.check().';

-- Definitions and what is derived from them -----------------------------------------------------------------------

CREATE FUNCTION cdp.check_profile_key(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT r.why IS NULL, coalesce(r.why || ': nothing is processed', 'cdp.profile has its primary key') FROM cdp.being_restored() r (why) $$;
COMMENT ON FUNCTION cdp.check_profile_key() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_trait_columns(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) FILTER (WHERE a.attname IS NULL) = 0,
           coalesce('without a column of its type in cdp.profile: ' || string_agg(quote_ident(t.name), ', ' ORDER BY t.name) FILTER (WHERE a.attname IS NULL),
                    format('%s traits, each with its column', count(*)))
    FROM cdp.trait t LEFT JOIN pg_attribute a
         ON a.attrelid = to_regclass('cdp.profile') AND a.attname = t.name AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = t.type
$$;
COMMENT ON FUNCTION cdp.check_trait_columns() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_segment_definitions(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    problems text;
    by_itself boolean;
BEGIN
    SELECT string_agg(format('%s "%s" stands still: %s', s.kind, s.name, s.problem), '; ' ORDER BY s.kind, s.name), bool_and(s.by_itself)
      INTO problems, by_itself
      FROM (SELECT 'trait', t.name, t.problem, false FROM cdp.trait t
            UNION ALL SELECT 'segment', g.name, g.problem, g.unreadable FROM cdp.segment g) s (kind, name, problem, by_itself)
     WHERE s.problem IS NOT NULL;
    ok := problems IS NULL;
    IF ok THEN
        SELECT format('%s traits and %s segments are well defined', (SELECT count(*) FROM cdp.trait), (SELECT count(*) FROM cdp.segment)) INTO detail;
        PERFORM cdp.check_definitions();
    ELSE
        detail := problems || CASE WHEN by_itself THEN '; it is computed afresh once the cause is removed' ELSE '; remove the cause, then call cdp.rebuild(true)' END;
    END IF;
EXCEPTION WHEN OTHERS THEN
    ok := false;
    detail := SQLERRM;
END $$;
COMMENT ON FUNCTION cdp.check_segment_definitions() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_segment_sizes(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    -- A sample: counting everybody everywhere would take long.
    SELECT coalesce(bool_and(c.counted = c.size), true),
           coalesce(string_agg(format('segment "%s" has %s members but says %s', c.name, c.counted, c.size), '; ') FILTER (WHERE c.counted <> c.size)
                    || '; cdp.rebuild(true) puts it right', format('%s segments counted, as many members as they say', count(*)))
    FROM (SELECT s.name, s.size, (SELECT count(*) FROM cdp.segment_member m WHERE m.segment_id = s.segment_id) AS counted
          FROM (SELECT * FROM cdp.segment WHERE size < 1000000 ORDER BY random() LIMIT 3) s) c
$$;
COMMENT ON FUNCTION cdp.check_segment_sizes() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_sequences(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) = 0, coalesce('behind what was handed out: ' || string_agg(s.name, ', '), 'no id is handed out twice')
    FROM (SELECT 'cdp.profile_id_seq', last_value, (SELECT max(profile_id) FROM cdp.profile) FROM cdp.profile_id_seq
          UNION ALL SELECT 'cdp.identifier_id_seq', last_value, (SELECT max(identifier_id) FROM cdp.identifier) FROM cdp.identifier_id_seq
          UNION ALL SELECT 'cdp.identity_link_id_seq', last_value, (SELECT max(link_id) FROM cdp.identity_link) FROM cdp.identity_link_id_seq)
         s (name, last_value, highest)
    WHERE s.highest > s.last_value
$$;
COMMENT ON FUNCTION cdp.check_sequences() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_default_region(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    -- Normalised phone numbers begin with +.
    SELECT r.region <> '' OR NOT r.phones,
           CASE WHEN r.region <> '' THEN 'phone numbers without a country code are taken to be of ' || r.region
                WHEN r.phones THEN 'cdp.default_region is not set: phone numbers without a country code identify nobody'
                ELSE 'no phone number identifies anybody' END
    FROM (SELECT coalesce(current_setting('cdp.default_region', true), '') AS region,
                 EXISTS (SELECT FROM cdp.identifier_type t WHERE t.normalizer = 'phone' AND t.dropped_at IS NULL)
                 AND EXISTS (SELECT FROM cdp.identifier i JOIN cdp.identifier_type t ON t.name = i.type AND t.normalizer = 'phone'
                             WHERE i.value LIKE '+%') AS phones) r
$$;
COMMENT ON FUNCTION cdp.check_default_region() IS 'Internal, for cdp.check().';

-- Delivery --------------------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.check_wal_level(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    destinations bigint := 0;
BEGIN
    IF to_regclass('cdp.destination') IS NOT NULL THEN
        EXECUTE 'SELECT count(*) FROM cdp.destination' INTO destinations;
    END IF;
    ok := destinations = 0 OR current_setting('wal_level') = 'logical';
    detail := format('wal_level is %s, with %s destinations%s', current_setting('wal_level'), destinations,
                     CASE WHEN ok THEN '' ELSE ': nobody can subscribe to them; set wal_level = logical' END);
END $$;
COMMENT ON FUNCTION cdp.check_wal_level() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_destinations(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    total bigint := 0;
    problems text;
BEGIN
    IF to_regclass('cdp.destination') IS NOT NULL THEN
        EXECUTE $q$ SELECT count(*), string_agg(CASE WHEN to_regclass(d.table_name) IS NULL THEN d.name || ': its table is gone'
                                                     WHEN NOT EXISTS (SELECT FROM pg_publication p WHERE p.pubname = 'cdp_' || d.name)
                                                     THEN d.name || ': its publication is gone'
                                                     WHEN d.problem IS NOT NULL THEN d.name || ': ' || d.problem END, '; ' ORDER BY d.name)
                    FROM cdp.destination d $q$ INTO total, problems;
    END IF;
    ok := problems IS NULL;
    detail := coalesce(problems, format('%s destinations are kept current', total));
END $$;
COMMENT ON FUNCTION cdp.check_destinations() IS 'Internal, for cdp.check().';

CREATE FUNCTION cdp.check_replication_slots(OUT ok boolean, OUT detail text) RETURNS record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) FILTER (WHERE s.trouble IS NOT NULL) = 0,
           coalesce(string_agg(format('slot "%s" %s', s.slot_name, s.trouble), '; ' ORDER BY s.slot_name) FILTER (WHERE s.trouble IS NOT NULL),
                    format('%s logical replication slots of this database, none behind', count(*)))
    FROM (SELECT r.slot_name,
                 CASE WHEN r.wal_status = 'lost' THEN 'has lost its WAL: drop it, and copy its subscriber afresh'
                      WHEN r.behind > 1024 ^ 3 OR NOT r.active AND r.behind > 64 * 1024 ^ 2
                      THEN format('is %s and keeps %s of WAL', CASE WHEN r.active THEN 'slow' ELSE 'not connected' END, pg_size_pretty(r.behind)) END AS trouble
          FROM (SELECT slot_name, wal_status, active,
                       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                                       confirmed_flush_lsn) AS behind
                FROM pg_replication_slots WHERE database = current_database() AND slot_type = 'logical') r) s
$$;
COMMENT ON FUNCTION cdp.check_replication_slots() IS 'Internal, for cdp.check().';
-- consent_doors.sql: making purposes, recording what people say of them, and suppressing.

CREATE FUNCTION cdp.create_purpose(name text, description text DEFAULT NULL, mode text DEFAULT 'opt_in') RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    PERFORM cdp.check_purpose(name, mode);
    IF EXISTS (SELECT FROM cdp.purpose p WHERE p.name = create_purpose.name) THEN
        RAISE EXCEPTION 'purpose "%" already exists', name
            USING ERRCODE = 'duplicate_object', HINT = 'Change it with cdp.alter_purpose.';
    END IF;
    INSERT INTO cdp.purpose (name, description, mode) VALUES (name, description, mode);
    -- What messages said of it before.
    INSERT INTO cdp.consent_record (record_id, type, value, purpose, granted, occurred_at, source, proof, event_id)
    SELECT nextval('cdp.consent_record_id_seq'), i.type, i.value, create_purpose.name, e.granted, e.occurred_at, e.source,
           jsonb_build_object('message_id', e.message_id), e.event_id
    FROM (SELECT o.event_id, o.message_id, o.identifier_id, o.occurred_at, o.source,
                 (o.context -> 'consent' -> 'categoryPreferences' -> create_purpose.name)::boolean AS granted
          FROM cdp.event o
          WHERE o.context -> 'consent' -> 'categoryPreferences' -> create_purpose.name IN ('true', 'false')
          ORDER BY o.event_id) e
         JOIN cdp.identifier i ON i.identifier_id = e.identifier_id
    WHERE NOT EXISTS (SELECT FROM cdp.consent_record r WHERE r.event_id = e.event_id AND r.purpose = create_purpose.name)
    ORDER BY e.event_id;
    INSERT INTO cdp.consent (profile_id, purpose, channel, granted, occurred_at, record_id)
    SELECT DISTINCT ON (i.profile_id, r.channel) i.profile_id, r.purpose, r.channel, r.granted, r.occurred_at, r.record_id
    FROM cdp.consent_record r JOIN cdp.identifier i ON i.value = r.value AND i.type = r.type
    WHERE r.purpose = create_purpose.name
    ORDER BY i.profile_id, r.channel, r.occurred_at DESC, r.granted, r.record_id;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.create_purpose(text, text, text) IS
    'Makes a purpose that people may consent to. mode: opt_in: only an explicit yes covers it; opt_out: all but an explicit no does. What messages said of it before counts.';
REVOKE ALL ON FUNCTION cdp.create_purpose(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.check_purpose(name text, mode text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF name IS NULL OR btrim(name) = '' OR length(name) > 200 THEN
        RAISE EXCEPTION 'invalid name of a purpose: "%"', name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It has 1 to 200 characters.';
    END IF;
    IF mode IS NULL OR mode NOT IN ('opt_in', 'opt_out') THEN
        RAISE EXCEPTION 'mode "%" does not exist', mode
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is opt_in (only an explicit yes covers) or opt_out (all but an explicit no).';
    END IF;
END $$;
COMMENT ON FUNCTION cdp.check_purpose(text, text) IS 'Internal: raises an error unless a purpose can be so.';
REVOKE ALL ON FUNCTION cdp.check_purpose(text, text) FROM PUBLIC;

CREATE FUNCTION cdp.alter_purpose(name text, description text DEFAULT NULL, mode text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    old_mode text;
BEGIN
    PERFORM cdp.lock_pipeline();
    SELECT p.mode INTO old_mode FROM cdp.purpose p WHERE p.name = alter_purpose.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'purpose "%" does not exist', name USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM cdp.check_purpose(name, coalesce(mode, old_mode));
    UPDATE cdp.purpose p
       SET description = coalesce(alter_purpose.description, p.description), mode = coalesce(alter_purpose.mode, p.mode)
     WHERE p.name = alter_purpose.name;
    PERFORM cdp.touch_configuration();
    IF mode <> old_mode THEN
        PERFORM cdp.refresh_consented(name);
    END IF;
END $$;
COMMENT ON FUNCTION cdp.alter_purpose(text, text, text) IS
    'Changes what is given of a purpose. Another mode at once changes who is in the segments and destinations that use it.';
REVOKE ALL ON FUNCTION cdp.alter_purpose(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.drop_purpose(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER STRICT
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    user_of text;
BEGIN
    PERFORM cdp.lock_pipeline();
    SELECT d.name INTO user_of FROM cdp.destination d
    WHERE d.purpose = drop_purpose.name OR drop_purpose.name = ANY (d.asks_purposes)
    ORDER BY d.name LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'purpose "%" is in use', name
            USING ERRCODE = 'dependent_objects_still_exist', DETAIL = format('Destination "%s" asks for it.', user_of), HINT = 'Drop that first.';
    END IF;
    DELETE FROM cdp.purpose p WHERE p.name = drop_purpose.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'purpose "%" does not exist', name USING ERRCODE = 'undefined_object';
    END IF;
    DELETE FROM cdp.consent c WHERE c.purpose = drop_purpose.name;
    PERFORM cdp.touch_configuration();
    PERFORM cdp.check_definitions();  -- a segment that asks for it
END $$;
COMMENT ON FUNCTION cdp.drop_purpose(text) IS
    'Drops a purpose. Refused while a destination or a segment uses it. What people said of it stays in the ledger, and counts again if it is made again.';
REVOKE ALL ON FUNCTION cdp.drop_purpose(text) FROM PUBLIC;

CREATE FUNCTION cdp.refresh_consented(purpose text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_refresh_consented';
COMMENT ON FUNCTION cdp.refresh_consented(text) IS
    'Internal: brings the segments and destinations that ask for consent to a purpose in line with it.';
REVOKE ALL ON FUNCTION cdp.refresh_consented(text) FROM PUBLIC;

CREATE FUNCTION cdp.set_consent(type text, value text, purpose text, granted boolean, channel text DEFAULT NULL,
                                source text DEFAULT NULL, proof jsonb DEFAULT NULL, occurred_at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_set_consent';
COMMENT ON FUNCTION cdp.set_consent(text, text, text, boolean, text, text, jsonb, timestamptz) IS
    'Records that whoever has the identifier, now or later, said yes or no to the purpose, on a channel (NULL: on all); returns the statement''s record_id. The latest by occurred_at holds, at the same instant the refusal. Segments and destinations follow in the same transaction.';
REVOKE ALL ON FUNCTION cdp.set_consent(text, text, text, boolean, text, text, jsonb, timestamptz) FROM PUBLIC;

CREATE FUNCTION cdp.suppress(type text, value text, reason text DEFAULT NULL) RETURNS boolean
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_suppress';
COMMENT ON FUNCTION cdp.suppress(text, text, text) IS
    'Takes whoever has the identifier, now or later, out of every destination, whatever they consent to, in the same transaction; false if it was suppressed already.';
REVOKE ALL ON FUNCTION cdp.suppress(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.unsuppress(type text, value text) RETURNS boolean
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_unsuppress';
COMMENT ON FUNCTION cdp.unsuppress(text, text) IS 'Takes a suppression back; false if there was none.';
REVOKE ALL ON FUNCTION cdp.unsuppress(text, text) FROM PUBLIC;
-- changing_rules_doors.sql: what identity rules that change would do, and doing it; importing links.

CREATE FUNCTION cdp.propose_identity_rules(types jsonb, blocked jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    type record;
    paths text[];
BEGIN
    IF jsonb_typeof(types) <> 'object' THEN
        RAISE EXCEPTION 'types must be a JSON object'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"device_id": {"max_per_profile": 3}}.';
    END IF;
    IF jsonb_typeof(blocked) <> 'array' OR EXISTS (
            SELECT FROM jsonb_array_elements(CASE WHEN jsonb_typeof(blocked) = 'array' THEN blocked ELSE '[]' END) b
            WHERE jsonb_typeof(b -> 'type') IS DISTINCT FROM 'string' OR jsonb_typeof(b -> 'pattern') IS DISTINCT FROM 'string'
               OR b - '{type,pattern}'::text[] <> '{}') THEN
        RAISE EXCEPTION 'blocked must be a JSON array of types and patterns'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example [{"type": "*", "pattern": "^test$"}].';
    END IF;
    FOR type IN SELECT key, value, EXISTS (SELECT FROM cdp.identifier_type t WHERE t.name = key AND t.dropped_at IS NULL) AS known FROM jsonb_each(types) LOOP
        IF jsonb_typeof(type.value) <> 'object' OR type.value - '{priority,max_per_profile,normalizer,paths}'::text[] <> '{}'
           OR jsonb_typeof(type.value -> 'paths') NOT IN ('array', 'null') THEN
            RAISE EXCEPTION 'invalid rule for identifier type "%"', type.key
                USING ERRCODE = 'invalid_parameter_value', HINT = 'A type may have priority, max_per_profile, normalizer and paths, which is an array.';
        END IF;
        paths := CASE WHEN jsonb_typeof(type.value -> 'paths') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text(type.value -> 'paths')) END;
        IF type.known THEN
            PERFORM cdp.alter_identifier_type(type.key, (type.value ->> 'priority')::int, (type.value ->> 'max_per_profile')::int,
                                              type.value ->> 'normalizer', paths);
        ELSE
            PERFORM cdp.create_identifier_type(type.key, (type.value ->> 'priority')::int, (type.value ->> 'max_per_profile')::int,
                                               coalesce(type.value ->> 'normalizer', 'none'), coalesce(paths, '{}'));
        END IF;
    END LOOP;
    PERFORM cdp.block_identifier(b ->> 'type', b ->> 'pattern') FROM jsonb_array_elements(blocked) b;
END $$;
COMMENT ON FUNCTION cdp.propose_identity_rules(jsonb, jsonb) IS 'Internal: puts proposed rules in place; cdp.preview_identity_rules takes that back.';
REVOKE ALL ON FUNCTION cdp.propose_identity_rules(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION cdp.preview_identity_rules(
        types jsonb DEFAULT '{}', blocked jsonb DEFAULT '[]',
        OUT change text, OUT profile_id bigint, OUT profiles bigint[], OUT number bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_preview_identity_rules';
COMMENT ON FUNCTION cdp.preview_identity_rules(jsonb, jsonb) IS
    'What would change if the rules, with those proposed, had always held; changes nothing, but puts the proposed ones in place for a moment and keeps the pipeline waiting, so a standby cannot. types: {"device_id": {"priority": 4, "max_per_profile": 3, "normalizer": "none", "paths": [...]}}, what is not named stays; blocked: [{"type": "*", "pattern": "^test$"}]. A row for each profile that would come of several (merge: profiles are those, number its identifiers), fall into several (split: profiles are those of its parts that have an id, number its parts) or get identifiers that nobody has (grow: number of them); profile_id NULL: a new one.';
REVOKE ALL ON FUNCTION cdp.preview_identity_rules(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION cdp.apply_identity_rules(OUT change text, OUT profile_id bigint, OUT profiles bigint[], OUT number bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_apply_identity_rules';
COMMENT ON FUNCTION cdp.apply_identity_rules() IS
    'Makes everybody who they were if the rules had always been those of now: all kept events again, in their order, with links by hand and matches, and what was taken back and taken apart. A profile_id stays with the profile''s strongest identifier. Returns what changed, as cdp.preview_identity_rules does. Keeps the pipeline waiting meanwhile.';
REVOKE ALL ON FUNCTION cdp.apply_identity_rules() FROM PUBLIC;

CREATE FUNCTION cdp.import_links(relation regclass, reason text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_import_links';
COMMENT ON FUNCTION cdp.import_links(regclass, text) IS
    'Joins pairs of identifiers, all at once: each row of a table or view with the columns type_a, value_a, type_b, value_b, in its order, as a message that carries the two would, subject to limits and separations. Returns how many links were made; rows that are left out are kept in cdp.refused_link with the reason, and a NOTICE says how many they are. Keeps all identifiers in memory, and the pipeline waiting, meanwhile.';
REVOKE ALL ON FUNCTION cdp.import_links(regclass, text) FROM PUBLIC;
-- identity_doors.sql: configuring identifier types, finding people, merging them by hand.

CREATE FUNCTION cdp.resolve(type text, value text) RETURNS bigint
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_resolve';
COMMENT ON FUNCTION cdp.resolve(text, text) IS
    'The profile that an identifier belongs to now, or NULL. The value is normalised as its type says.';
REVOKE ALL ON FUNCTION cdp.resolve(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.resolve(text, text) TO cdp_marketer, cdp_analyst, cdp_pii;

CREATE FUNCTION cdp.merge_profiles(a bigint, b bigint, reason text) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_merge_profiles';
COMMENT ON FUNCTION cdp.merge_profiles(bigint, bigint, text) IS
    'Makes two profiles one because you say so, whatever the limits of identifiers; returns the survivor, the one with the lower id. Ids that were merged away are understood.';
REVOKE ALL ON FUNCTION cdp.merge_profiles(bigint, bigint, text) FROM PUBLIC;

CREATE FUNCTION cdp.create_identifier_type(
        name text, priority int, max_per_profile int DEFAULT NULL, normalizer text DEFAULT 'none', paths text[] DEFAULT '{}')
    RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    PERFORM cdp.check_identifier_type(name, priority, max_per_profile, normalizer, paths);
    IF EXISTS (SELECT FROM cdp.identifier_type t WHERE t.name = create_identifier_type.name AND t.dropped_at IS NULL) THEN
        RAISE EXCEPTION 'identifier type "%" already exists', name
            USING ERRCODE = 'duplicate_object', HINT = 'Change it with cdp.alter_identifier_type.';
    END IF;
    -- A type that was dropped comes back: identifiers of it may still be there.
    UPDATE cdp.identifier_type t
       SET priority = create_identifier_type.priority, max_per_profile = create_identifier_type.max_per_profile,
           normalizer = create_identifier_type.normalizer, paths = coalesce(create_identifier_type.paths, '{}'), dropped_at = NULL
     WHERE t.name = create_identifier_type.name;
    IF NOT FOUND THEN
        INSERT INTO cdp.identifier_type (type_id, name, priority, max_per_profile, normalizer, paths)
        VALUES (nextval('cdp.identifier_type_id_seq'), name, priority, max_per_profile, normalizer, coalesce(paths, '{}'));
    END IF;
    PERFORM cdp.refresh_views();  -- what identifies is personal
    PERFORM cdp.touch_configuration();
    PERFORM cdp.check_definitions();
END $$;
COMMENT ON FUNCTION cdp.create_identifier_type(text, int, int, text, text[]) IS
    'Declares a type of identifiers. priority: 1 is strongest; max_per_profile: NULL is no limit; normalizer: none, trim, lower, email or phone; paths: where messages carry it, e.g. context.ids.loyalty, traits.tax_id (of identify), properties.order_email.';
REVOKE ALL ON FUNCTION cdp.create_identifier_type(text, int, int, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.alter_identifier_type(
        name text, priority int DEFAULT NULL, max_per_profile int DEFAULT NULL, normalizer text DEFAULT NULL, paths text[] DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    old record;
BEGIN
    PERFORM cdp.lock_pipeline();
    SELECT * INTO old FROM cdp.identifier_type t WHERE t.name = alter_identifier_type.name AND t.dropped_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'identifier type "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'cdp.identifier_type lists them.';
    END IF;
    old.priority := coalesce(priority, old.priority);
    -- NULL leaves the limit as it is; 0 takes it away.
    old.max_per_profile := CASE WHEN max_per_profile = 0 THEN NULL ELSE coalesce(max_per_profile, old.max_per_profile) END;
    old.normalizer := coalesce(normalizer, old.normalizer);
    old.paths := coalesce(paths, old.paths);
    PERFORM cdp.check_identifier_type(old.name, old.priority, old.max_per_profile, old.normalizer, old.paths);
    UPDATE cdp.identifier_type t
       SET priority = old.priority, max_per_profile = old.max_per_profile, normalizer = old.normalizer, paths = old.paths
     WHERE t.type_id = old.type_id;
    PERFORM cdp.refresh_views();  -- what identifies is personal
    PERFORM cdp.touch_configuration();
    PERFORM cdp.check_definitions();
END $$;
COMMENT ON FUNCTION cdp.alter_identifier_type(text, int, int, text, text[]) IS
    'Changes a type of identifiers for messages from now on; what is NULL stays as it is, max_per_profile 0 is no limit.';
REVOKE ALL ON FUNCTION cdp.alter_identifier_type(text, int, int, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.drop_identifier_type(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    IF name IN ('user_id', 'anonymous_id') THEN
        RAISE EXCEPTION 'identifier type "%" cannot be dropped', name
            USING ERRCODE = 'dependent_objects_still_exist', DETAIL = 'It is a field of every message.',
                  HINT = 'cdp.block_identifier(''' || name || ''', ''.*'') makes its values identify nobody.';
    END IF;
    UPDATE cdp.identifier_type t SET dropped_at = now() WHERE t.name = drop_identifier_type.name AND t.dropped_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'identifier type "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'cdp.identifier_type lists them.';
    END IF;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.drop_identifier_type(text) IS
    'Messages from now on carry no identifiers of this type. Those known stay with their profiles.';
REVOKE ALL ON FUNCTION cdp.drop_identifier_type(text) FROM PUBLIC;

CREATE FUNCTION cdp.check_identifier_type(name text, priority int, max_per_profile int, normalizer text, paths text[]) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    path text;
BEGIN
    IF name IS NULL OR name !~ '^[A-Za-z_][A-Za-z0-9_.-]{0,62}$' THEN
        RAISE EXCEPTION 'invalid name of an identifier type: "%"', name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Up to 63 letters, digits and _ . -, not beginning with a digit.';
    END IF;
    IF name = 'profile_id' THEN
        RAISE EXCEPTION 'an identifier type cannot be named "profile_id"' USING ERRCODE = 'reserved_name', HINT = 'Destinations and others name the profile itself so.';
    END IF;
    IF priority IS NULL OR priority < 1 THEN
        RAISE EXCEPTION 'priority must be at least 1' USING ERRCODE = 'invalid_parameter_value', HINT = '1 is strongest.';
    END IF;
    IF max_per_profile < 1 THEN
        RAISE EXCEPTION 'max_per_profile must be at least 1' USING ERRCODE = 'invalid_parameter_value', HINT = 'Without a limit: NULL when it is created, 0 when it is altered.';
    END IF;
    IF normalizer IS NULL OR normalizer NOT IN ('none', 'trim', 'lower', 'email', 'phone') THEN
        RAISE EXCEPTION 'normalizer "%" does not exist', normalizer
            USING ERRCODE = 'undefined_object', HINT = 'There are none, trim, lower, email and phone.';
    END IF;
    FOREACH path IN ARRAY coalesce(paths, '{}') LOOP
        IF path IS NULL OR path !~ '^(traits|context|properties)(\.[^.]+)+$' THEN
            RAISE EXCEPTION 'invalid path of identifier type "%": "%"', name, path
                USING ERRCODE = 'invalid_parameter_value', HINT = 'It begins with traits., context. or properties.';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.check_identifier_type(text, int, int, text, text[]) IS 'Internal: raises what is wrong with an identifier type.';
REVOKE ALL ON FUNCTION cdp.check_identifier_type(text, int, int, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.block_identifier(type text, pattern text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    IF type IS DISTINCT FROM '*' AND NOT EXISTS (SELECT FROM cdp.identifier_type t WHERE t.name = type AND t.dropped_at IS NULL) THEN
        RAISE EXCEPTION 'identifier type "%" does not exist', type
            USING ERRCODE = 'undefined_object', HINT = 'Type * blocks the pattern for all types.';
    END IF;
    IF pattern IS NULL THEN
        RAISE EXCEPTION 'pattern must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM '' ~ pattern;  -- raises invalid_regular_expression
    INSERT INTO cdp.blocked_identifier AS b (type, pattern) VALUES (type, pattern) ON CONFLICT DO NOTHING;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.block_identifier(text, text) IS
    'From now on, values of the type (* is all) that match the regular expression identify nobody. Anchor it with ^ and $ to block whole values only.';
REVOKE ALL ON FUNCTION cdp.block_identifier(text, text) FROM PUBLIC;
-- matching_doors.sql: finding records that are one person.

CREATE FUNCTION cdp.create_matcher(name text, comparisons jsonb DEFAULT NULL, blocking text[] DEFAULT NULL, source regclass DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_create_matcher';
COMMENT ON FUNCTION cdp.create_matcher(text, jsonb, text[], regclass) IS
    'Makes a matcher, which finds records that are one person. comparisons: [{"column": …, "kind": …, "levels": […], "term_frequency": …, "swapped_with": …}, …], all but column optional; kinds: exact, jaro_winkler, levenshtein, damerau, date, numeric, email, phone, postcode, array, phonetic. blocking: SQL conditions over l and r, the two records; pairs that meet one are looked at. What is NULL is chosen from the data when it is trained. source: a table with a primary key; NULL: the profiles, where a column is one of cdp.profile, an identifier type, or a key of traits.';
REVOKE ALL ON FUNCTION cdp.create_matcher(text, jsonb, text[], regclass) FROM PUBLIC;

CREATE FUNCTION cdp.alter_matcher(name text, comparisons jsonb DEFAULT NULL, blocking text[] DEFAULT NULL, model jsonb DEFAULT NULL, review double precision DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_alter_matcher';
COMMENT ON FUNCTION cdp.alter_matcher(text, jsonb, text[], jsonb, double precision) IS
    'Changes a matcher; what is NULL stays as it is. Empty comparisons or blocking are chosen from the data. New comparisons or blocking make it forget its model; a model of the form that cdp.matcher.model has can be put in its place. review: pairs of a lower probability are not kept. The matcher belongs to the caller from then on.';
REVOKE ALL ON FUNCTION cdp.alter_matcher(text, jsonb, text[], jsonb, double precision) FROM PUBLIC;

CREATE FUNCTION cdp.drop_matcher(name text) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_drop_matcher';
COMMENT ON FUNCTION cdp.drop_matcher(text) IS
    'Drops a matcher with the matches it found. Links that these became stay.';
REVOKE ALL ON FUNCTION cdp.drop_matcher(text) FROM PUBLIC;

CREATE FUNCTION cdp.train_matcher(name text) RETURNS jsonb
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_train_matcher';
COMMENT ON FUNCTION cdp.train_matcher(text) IS
    'Learns from the records themselves, without labels, how much each level of agreement says; returns the model and keeps it in cdp.matcher. The next cdp.find_matches looks at all records again.';
REVOKE ALL ON FUNCTION cdp.train_matcher(text) FROM PUBLIC;

CREATE FUNCTION cdp.find_matches(name text, threshold double precision DEFAULT 0.9) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_find_matches';
COMMENT ON FUNCTION cdp.find_matches(text, double precision) IS
    'Looks at the pairs that blocking finds, at first all of them, then those of records that are new or have changed; keeps in cdp.match those that are probable enough for a review (cdp.matcher.review); trains the matcher if it is not. Returns how many that nobody rejected reach the threshold.';
REVOKE ALL ON FUNCTION cdp.find_matches(text, double precision) FROM PUBLIC;

CREATE FUNCTION cdp.cluster_matches(name text, threshold double precision DEFAULT 0.9) RETURNS TABLE (id text, cluster_id text)
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_cluster_matches';
COMMENT ON FUNCTION cdp.cluster_matches(text, double precision) IS
    'Every record with the person it belongs to, who is named by the first record of his. Pairs from the threshold on join, where the evidence between the two groups speaks for it on the whole; what somebody rejected stays apart.';
REVOKE ALL ON FUNCTION cdp.cluster_matches(text, double precision) FROM PUBLIC;

CREATE FUNCTION cdp.explain_match(name text, id_a text, id_b text) RETURNS TABLE (comparison text, level text, weight double precision)
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_explain_match';
COMMENT ON FUNCTION cdp.explain_match(text, text, text) IS
    'Why two records weigh what they do: the prior, what each comparison comes to, what its term frequency adds, and the sum; in bits, log2 of the odds.';
REVOKE ALL ON FUNCTION cdp.explain_match(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.accept_match(match_id bigint) RETURNS text
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_accept_match';
COMMENT ON FUNCTION cdp.accept_match(bigint) IS
    'Says that a match is right, and makes the two profiles one. Returns the status: applied; refused, where that would break a limit or undo a separation; accepted, where the records are no profiles.';
REVOKE ALL ON FUNCTION cdp.accept_match(bigint) FROM PUBLIC;

CREATE FUNCTION cdp.reject_match(match_id bigint) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_reject_match';
COMMENT ON FUNCTION cdp.reject_match(bigint) IS
    'Says that a match is wrong: the two records are never made one by matching. One that was applied has to be taken back first, with cdp.revoke_link.';
REVOKE ALL ON FUNCTION cdp.reject_match(bigint) FROM PUBLIC;

CREATE FUNCTION cdp.apply_matches(name text, threshold double precision DEFAULT 0.9) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    AS 'MODULE_PATHNAME', 'cdp_apply_matches';
COMMENT ON FUNCTION cdp.apply_matches(text, double precision) IS
    'Makes profiles one that cdp.cluster_matches finds to be one person, within the limits of identifiers; what is refused is in cdp.identity_conflict. Returns how many profiles went into others. Where the source is a table, accepts the matches within each person.';
REVOKE ALL ON FUNCTION cdp.apply_matches(text, double precision) FROM PUBLIC;
-- taking_back_doors.sql: taking people apart again, and explaining why they are one.

CREATE FUNCTION cdp.split_identifier(type text, value text, reason text) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_split_identifier';
COMMENT ON FUNCTION cdp.split_identifier(text, text, text) IS
    'Takes an identifier out of its profile into a new one of its own, which is returned, with the events that it was the strongest identifier of. What messages carried beside it stays together; what hung together by it alone comes apart too; the part with the strongest identifier keeps the profile_id. No message links it with the others again; cdp.merge_profiles does. An only identifier stays where it is.';
REVOKE ALL ON FUNCTION cdp.split_identifier(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.revoke_link(link_id bigint, reason text) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_revoke_link';
COMMENT ON FUNCTION cdp.revoke_link(bigint, text) IS
    'Takes back one link of cdp.identity_link, whatever made it: message, match or person. What hung together by it alone comes apart and is kept apart; the part with the strongest identifier keeps the profile_id. If other links hold it together, nobody changes.';
REVOKE ALL ON FUNCTION cdp.revoke_link(bigint, text) FROM PUBLIC;

CREATE FUNCTION cdp.living_profile(profile_id bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    living bigint;
BEGIN
    SELECT p.profile_id INTO living FROM cdp.profile p WHERE p.profile_id = living_profile.profile_id
    UNION ALL SELECT a.profile_id FROM cdp.profile_alias a WHERE a.alias_id = living_profile.profile_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'profile % does not exist', living_profile.profile_id
            USING ERRCODE = 'undefined_object', HINT = 'cdp.resolve(type, value) finds the profile of an identifier.';
    END IF;
    RETURN living;
END $$;
COMMENT ON FUNCTION cdp.living_profile(bigint) IS 'Internal: the profile that an id means now; raises if there is none.';
REVOKE ALL ON FUNCTION cdp.living_profile(bigint) FROM PUBLIC;

CREATE FUNCTION cdp.explain_identity(
        profile_id bigint, OUT link_id bigint, OUT type_a text, OUT value_a text, OUT type_b text, OUT value_b text, OUT cause text,
        OUT message_id text, OUT event_id bigint, OUT matcher text, OUT score double precision, OUT reason text, OUT actor text,
        OUT linked_at timestamptz, OUT revoked_at timestamptz, OUT revoked_by text, OUT revoked_reason text)
    RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    WITH own AS MATERIALIZED (
        SELECT i.identifier_id FROM cdp.living_profile(explain_identity.profile_id) p (id) JOIN cdp.identifier i ON i.profile_id = p.id)
    SELECT l.link_id, a.type, a.value, b.type, b.value, l.cause, l.message_id, l.event_id, l.matcher, l.score, l.reason, l.actor,
           l.linked_at, l.revoked_at, l.revoked_by, l.revoked_reason
    FROM (SELECT l.* FROM own JOIN cdp.identity_link l ON l.identifier_a = own.identifier_id
          UNION SELECT l.* FROM own JOIN cdp.identity_link l ON l.identifier_b = own.identifier_id) l
         JOIN cdp.identifier a ON a.identifier_id = l.identifier_a JOIN cdp.identifier b ON b.identifier_id = l.identifier_b
    ORDER BY l.link_id
$$;
COMMENT ON FUNCTION cdp.explain_identity(bigint) IS
    'Every link of the profile''s identifiers, in the order in which they were made: which two identifiers (the stronger first), by which cause: message (message_id, event_id: the first that carried both), manual (actor, reason), match (matcher, score) or rule; when; and who took it back, if somebody did. Then one of the two may be somebody else''s by now. An id that was merged away is understood; an unknown one is an error.';
REVOKE ALL ON FUNCTION cdp.explain_identity(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_identity(bigint) TO cdp_pii;

CREATE FUNCTION cdp.explain_merge(
        type_a text, value_a text, type_b text, value_b text, OUT step int, OUT from_type text, OUT from_value text, OUT to_type text,
        OUT to_value text, OUT link_id bigint, OUT cause text, OUT message_id text, OUT event_id bigint, OUT score double precision,
        OUT reason text, OUT actor text, OUT linked_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_merge';
COMMENT ON FUNCTION cdp.explain_merge(text, text, text, text) IS
    'The shortest chain of links in force that makes two identifiers one person, step by step. No row if they are two people (a NOTICE says which), or the same identifier.';
REVOKE ALL ON FUNCTION cdp.explain_merge(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_merge(text, text, text, text) TO cdp_pii;

CREATE VIEW cdp.suspicious_profile AS
    WITH counted AS (
        SELECT i.profile_id, i.type, count(*) AS identifiers,
               count(*) FILTER (WHERE i.first_seen_at > now() - interval '7 days' AND i.first_seen_at < 'infinity') AS recent
        FROM cdp.identifier i GROUP BY i.profile_id, i.type),
    person AS (
        SELECT c.profile_id, sum(c.identifiers)::bigint AS identifiers, sum(c.recent)::bigint AS recent,
               string_agg(format('%s of at most %s %s', c.identifiers, t.max_per_profile, c.type), ', ' ORDER BY t.priority, c.type)
                   FILTER (WHERE c.identifiers > t.max_per_profile OR (c.identifiers = t.max_per_profile AND t.max_per_profile > 2)) AS full_types
        FROM counted c JOIN cdp.identifier_type t ON t.name = c.type GROUP BY c.profile_id),
    usual AS (
        SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY p.identifiers) AS identifiers,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY p.recent) FILTER (WHERE p.recent > 0) AS recent
        FROM person p),
    refused AS (
        SELECT i.profile_id, count(DISTINCT (c.type, c.value)) AS identifiers, sum(c.refusals)::bigint AS refusals
        FROM cdp.identity_conflict c JOIN cdp.identifier i USING (identifier_id) GROUP BY i.profile_id),
    judged AS (
        SELECT p.profile_id, p.identifiers, p.recent, coalesce(r.refusals, 0) AS refusals,
               array_remove(ARRAY[
                   p.full_types,
                   CASE WHEN p.identifiers >= greatest(20, 10 * u.identifiers)
                        THEN format('%s identifiers, where half of all profiles have at most %s', p.identifiers, u.identifiers) END,
                   CASE WHEN r.identifiers >= 5
                        THEN format('%s identifiers of other people came with its own, in %s messages', r.identifiers, r.refusals) END,
                   CASE WHEN p.recent >= greatest(10, 10 * u.recent)
                        THEN format('%s identifiers in the last 7 days, where half of those that grew got at most %s', p.recent, u.recent) END], NULL) AS reasons
        FROM person p CROSS JOIN usual u LEFT JOIN refused r USING (profile_id))
    SELECT j.profile_id, j.identifiers, j.recent AS recent_identifiers, j.refusals, j.reasons FROM judged j WHERE j.reasons <> '{}';
COMMENT ON VIEW cdp.suspicious_profile IS
    'Profiles that may be several people, and why: a type of identifiers at its limit (if that is over 2) or beyond; 20 identifiers or more that are ten times the median; 5 or more identifiers that were refused (cdp.identity_conflict); 10 or more new in the last 7 days that are ten times the median of those that grew. Reads all identifiers.';
-- rebuild_doors.sql: the law of equality, checked and repaired.

CREATE FUNCTION cdp.rebuild(repair boolean DEFAULT false, OUT table_name text, OUT differing bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_rebuild';
COMMENT ON FUNCTION cdp.rebuild(boolean) IS
    'Computes all derived state afresh from events, links and definitions, beside the live one, and reports how many rows of each table differ; NULL where that cannot be computed. With repair, puts the fresh one in place. Keeps the pipeline waiting meanwhile.';
REVOKE ALL ON FUNCTION cdp.rebuild(boolean) FROM PUBLIC;
-- status_doors.sql: the worker, waiting for it, and how things stand.

CREATE FUNCTION cdp.start_worker() RETURNS boolean
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_start_worker';
COMMENT ON FUNCTION cdp.start_worker() IS
    'Starts the background worker of this database, without a restart; true once it is up, also if it was. If it backs off from a failure, it tries again now. In the transaction of CREATE EXTENSION it starts at commit.';
REVOKE ALL ON FUNCTION cdp.start_worker() FROM PUBLIC;

CREATE FUNCTION cdp.stop_worker() RETURNS boolean
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_stop_worker';
COMMENT ON FUNCTION cdp.stop_worker() IS
    'Stops the background worker of this database and waits until it is gone; whether there was one. It stays away until start_worker() or a restart of the server.';
REVOKE ALL ON FUNCTION cdp.stop_worker() FROM PUBLIC;

CREATE FUNCTION cdp.flush(timeout interval DEFAULT '30 s') RETURNS boolean
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    -- As for cdp.process(): where no worker runs it processes by itself.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET enable_material = off
    SET jit = off
    SET max_parallel_workers_per_gather = 0
    SET plan_cache_mode = force_generic_plan
    AS 'MODULE_PATHNAME', 'cdp_flush';
COMMENT ON FUNCTION cdp.flush(interval) IS
    'True as soon as everything committed before the call is reflected in every derived table; false on timeout. Where no worker runs it processes the messages itself, in this transaction.';
REVOKE ALL ON FUNCTION cdp.flush(interval) FROM PUBLIC;

CREATE FUNCTION cdp.worker_status(OUT pid int, OUT state text, OUT started_at timestamptz, OUT batches bigint,
                                  OUT messages bigint, OUT messages_per_second double precision,
                                  OUT last_error text, OUT last_error_at timestamptz) RETURNS record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_worker_status';
COMMENT ON FUNCTION cdp.worker_status() IS
    'Internal, for cdp.status: what shared memory knows of the worker of this database, since the server started.';
REVOKE ALL ON FUNCTION cdp.worker_status() FROM PUBLIC;

CREATE FUNCTION cdp.pending_messages(OUT messages bigint, OUT oldest timestamptz) RETURNS record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
    AS $$
        SELECT count(i.inbox_xid), min(i.received_at)
        FROM cdp.pipeline p
        JOIN cdp.inbox i ON i.inbox_xid >= pg_snapshot_xmin(p.done_snapshot)
                        AND NOT pg_visible_in_snapshot(i.inbox_xid, p.done_snapshot)
                        AND NOT coalesce(pg_visible_in_snapshot(i.inbox_xid, p.tick_snapshot)
                                         AND (i.inbox_xid, i.inbox_id) <= (p.tick_xid, p.tick_inbox_id), false)
    $$;
COMMENT ON FUNCTION cdp.pending_messages() IS
    'Internal, for cdp.status: how many messages are committed and not processed, and when the oldest was received. Reads only those.';
REVOKE ALL ON FUNCTION cdp.pending_messages() FROM PUBLIC;

-- A function, since a view over cdp.profile would keep pg_restore from putting the restored table in its place.
CREATE FUNCTION cdp.count_profiles() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT count(*) FROM cdp.profile $$;
COMMENT ON FUNCTION cdp.count_profiles() IS 'Internal, for cdp.status: how many profiles there are.';
REVOKE ALL ON FUNCTION cdp.count_profiles() FROM PUBLIC;

CREATE VIEW cdp.status AS
    SELECT b.messages AS backlog,
           coalesce(greatest(clock_timestamp() - b.oldest, interval '0'), interval '0') AS lag,
           w.pid AS worker_pid,
           w.state AS worker_state,
           w.started_at AS worker_started_at,
           CASE WHEN w.last_error_at > coalesce(p.last_error_at, '-infinity') THEN w.last_error ELSE p.last_error END AS last_error,
           greatest(w.last_error_at, p.last_error_at) AS last_error_at,
           p.last_batch_at,
           p.last_batch_size,
           p.last_batch_ms,
           (SELECT count(*) FROM cdp.event) AS events,
           (SELECT cdp.count_profiles()) AS profiles,
           (SELECT count(*) FROM cdp.rejected_message) AS rejected,
           w.batches,
           w.messages,
           w.messages_per_second
    FROM cdp.pipeline p, cdp.worker_status() w, cdp.pending_messages() b;
COMMENT ON VIEW cdp.status IS
    'How things stand, in one row. events, profiles and rejected are counted exactly, row by row, when they are selected: leave them out of what is asked often. batches, messages: since the server started.';
COMMENT ON COLUMN cdp.status.backlog IS 'Messages that are committed and not processed.';
COMMENT ON COLUMN cdp.status.lag IS 'How long ago the oldest of the backlog was received; zero if there is none.';
COMMENT ON COLUMN cdp.status.worker_state IS 'idle, running, backing off (from last_error), starting, stopped, or standby.';
COMMENT ON COLUMN cdp.status.last_error IS 'Why the pipeline last failed as a whole; it may have gone on since. What single messages did wrong is in cdp.rejected_message.';
COMMENT ON COLUMN cdp.status.messages_per_second IS 'Processed, on average of the last minute.';

GRANT SELECT ON cdp.status TO cdp_marketer, cdp_analyst, cdp_pii;
GRANT EXECUTE ON FUNCTION cdp.worker_status(), cdp.pending_messages(), cdp.count_profiles()
    TO cdp_marketer, cdp_analyst, cdp_pii;

-- With shared_preload_libraries the commit of CREATE EXTENSION starts the worker.
DO $$ BEGIN PERFORM cdp.inbox_mark(); END $$;
-- profile_doors.sql: declaring traits, reading people.

CREATE FUNCTION cdp.create_trait(
        name text, type regtype, path text DEFAULT NULL, survivorship text DEFAULT 'last', sources text[] DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_trait';
COMMENT ON FUNCTION cdp.create_trait(text, regtype, text, text, text[]) IS
    'Makes a trait of identify messages a typed column of cdp.profile, filled from history. path: where in the traits, by default name; survivorship: last, first, most_frequent, min, max or source_priority (sources, best first, * for any other; of one source the last). Values that the type refuses do not count (5.0 is an integer, 5.5 is none); null unsets, for last and source_priority. jsonb is the JSON as it was sent. Dates, times and intervals are read as with TimeZone UTC, DateStyle ISO, MDY and IntervalStyle postgres, whoever processes; those that the clock gives (now, today and the like) do not count.';
REVOKE ALL ON FUNCTION cdp.create_trait(text, regtype, text, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.create_computed_trait(
        name text, aggregate text, event text DEFAULT NULL, property text DEFAULT NULL, filter text DEFAULT NULL,
        "window" interval DEFAULT NULL, type regtype DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_computed_trait';
COMMENT ON FUNCTION cdp.create_computed_trait(text, text, text, text, text, interval, regtype) IS
    'Makes an aggregate over a person''s events a column of cdp.profile, filled from history: count, sum, avg, min, max, first, last, distinct_count, most_frequent or unique_list, of the events named event (NULL: all), of a property (a.b for nested ones), of those only that meet filter, an SQL condition over the columns of cdp.event. Numbers are numeric, and of JSON''s numbers only, counts bigint; first, last and most_frequent are text or of the given type, read as cdp.create_trait says. With a window only the events with occurred_at > date_trunc(step, now()) - window count, in UTC, the step being a minute for windows of up to a day and an hour for longer ones; values fall as events grow too old, with no new message.';
REVOKE ALL ON FUNCTION cdp.create_computed_trait(text, text, text, text, text, interval, regtype) FROM PUBLIC;

CREATE FUNCTION cdp.drop_trait(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_trait';
COMMENT ON FUNCTION cdp.drop_trait(text) IS
    'Drops a declared or computed trait and its column. Refused while a segment or a destination uses it.';
REVOKE ALL ON FUNCTION cdp.drop_trait(text) FROM PUBLIC;

CREATE FUNCTION cdp.set_field_owner(field text, owner text, source text DEFAULT 'crm') RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_set_field_owner';
COMMENT ON FUNCTION cdp.set_field_owner(text, text, text) IS
    'Says who wins where the CRM, whose messages have that source, and others give a declared trait different values. owner: crm: the CRM''s last value holds; cdp: the last value of anybody else; NULL: the last value. The loser''s stays in cdp.event, and holds where the winner said nothing: see explain_field. Segments and destinations follow at once.';
REVOKE ALL ON FUNCTION cdp.set_field_owner(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.explain_field(type text, value text, field text, OUT source text, OUT said jsonb, OUT occurred_at timestamptz,
                                  OUT event_id bigint, OUT wins boolean) RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    trait cdp.trait;
BEGIN
    SELECT t.* INTO trait FROM cdp.trait t WHERE t.name = field AND t.kind = 'declared';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'declared trait "%" does not exist', field USING ERRCODE = 'undefined_object';
    END IF;
    RETURN QUERY
    WITH given AS (
        SELECT e.source, e.occurred_at, e.event_id,
               coalesce(e.traits -> trait.path, e.traits #> string_to_array(trait.path, '.'),
                        e.context -> 'traits' -> trait.path, e.context #> ('{traits}' || string_to_array(trait.path, '.'))) AS said
        FROM cdp.identifier i JOIN cdp.event e ON e.identifier_id = i.identifier_id
        WHERE i.profile_id = cdp.resolve(explain_field.type, explain_field.value) AND e.type = 'identify'),
    latest AS (
        SELECT DISTINCT ON (g.source) g.*,
               coalesce(array_position(trait.sources, g.source), array_position(trait.sources, '*'), cardinality(trait.sources) + 1, 0) AS place
        FROM given g WHERE g.said IS NOT NULL ORDER BY g.source, g.occurred_at DESC, g.event_id DESC)
    SELECT l.source, l.said, l.occurred_at, l.event_id,
           CASE WHEN trait.aggregate IN ('last', 'source_priority') THEN row_number() OVER by_rank = 1 END
    FROM latest l WINDOW by_rank AS (ORDER BY l.place, l.occurred_at DESC, l.event_id DESC)
    ORDER BY l.place, l.occurred_at DESC, l.event_id DESC;
END $$;
COMMENT ON FUNCTION cdp.explain_field(text, text, text) IS
    'What each source last said of a declared trait of whoever has the identifier, and whose value holds by the trait''s survivorship (NULL: it is neither last nor source_priority).';
REVOKE ALL ON FUNCTION cdp.explain_field(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.get_profile(type text, value text) RETURNS jsonb
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_get_profile';
COMMENT ON FUNCTION cdp.get_profile(text, text) IS
    'The whole person that an identifier belongs to: profile_id, first_seen_at, last_seen_at, event_count, traits (with those declared and computed), identifiers, segments, accounts, consents, and whether they are suppressed. NULL if nobody has it. Personal data are masked unless the caller is a member of cdp_pii.';
REVOKE ALL ON FUNCTION cdp.get_profile(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.get_profile(text, text) TO cdp_marketer, cdp_analyst, cdp_pii;

CREATE FUNCTION cdp.timeline(
        profile_id bigint, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, max_rows int DEFAULT 100)
    RETURNS SETOF cdp.profile_event
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT i.profile_id, e.*
    FROM cdp.identifier i JOIN cdp.event e USING (identifier_id)
    WHERE i.profile_id = coalesce((SELECT a.profile_id FROM cdp.profile_alias a WHERE a.alias_id = timeline.profile_id), timeline.profile_id)
      AND e.occurred_at >= coalesce(since, '-infinity') AND e.occurred_at < coalesce(until, 'infinity')
    ORDER BY e.occurred_at DESC, e.event_id DESC
    LIMIT max_rows
$$;
COMMENT ON FUNCTION cdp.timeline(bigint, timestamptz, timestamptz, int) IS
    'A person''s events from since (inclusive) until (exclusive), newest first; max_rows NULL is all. An id that was merged away is understood.';
REVOKE ALL ON FUNCTION cdp.timeline(bigint, timestamptz, timestamptz, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.timeline(bigint, timestamptz, timestamptz, int) TO cdp_pii;
-- groups_doors.sql: segments from a list of identifiers, random splits, priority lists.

CREATE FUNCTION cdp.on_list(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.on_list(text) IS
    'Internal: the condition of a segment that cdp.import_segment made. Elsewhere call cdp.in_segment.';

CREATE FUNCTION cdp.import_segment(name text, type text, "values" text[]) RETURNS bigint
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_import_segment';
COMMENT ON FUNCTION cdp.import_segment(text, text, text[]) IS
    'Makes a segment of the people who have these identifiers, or gives one made so before another list, and returns its size. Whoever has one of them later enters then: a NOTICE counts those that nobody has yet.';

CREATE FUNCTION cdp.split_share(split text, profile_id bigint) RETURNS double precision
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_split_share';
COMMENT ON FUNCTION cdp.split_share(text, bigint) IS
    'Where somebody falls in a random split: from 0 up to 100, evenly, independently of other splits, and the same for ever. 100 × h / 2⁵³, h being the upper 53 bits of XXH3-64 of the split''s name in UTF-8 and the profile_id as eight bytes, the least significant first.';

CREATE FUNCTION cdp.split_segment(name text, shares jsonb, split text DEFAULT NULL, OUT segment text, OUT size bigint) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    split_name text := coalesce(split, name);
    bad text;
    total numeric;
    share record;
BEGIN
    IF name IS NULL THEN
        RAISE EXCEPTION 'the name of a segment must not be null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF jsonb_typeof(shares) IS DISTINCT FROM 'object' OR shares = '{}' THEN
        RAISE EXCEPTION 'shares must be an object of names and percentages' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'For example {"a": 50, "control": 50}.';
    END IF;
    SELECT s.key INTO bad FROM jsonb_each(shares) s
    WHERE CASE WHEN jsonb_typeof(s.value) = 'number' THEN s.value::numeric <= 0 ELSE true END ORDER BY s.key COLLATE "C" LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'share "%" must be a number above 0', bad USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT sum(s.value::numeric) INTO total FROM jsonb_each(shares) s;
    IF total > 100 THEN
        RAISE EXCEPTION 'shares must not exceed 100 per cent together' USING ERRCODE = 'invalid_parameter_value',
            DETAIL = format('They are %s.', trim_scale(total));
    ELSIF NOT EXISTS (SELECT FROM cdp.segment s WHERE s.name = split_segment.name) THEN
        RAISE EXCEPTION 'segment "%" does not exist', name USING ERRCODE = 'undefined_object',
            HINT = 'cdp.segment lists them; cdp.create_segment makes others.';
    END IF;
    FOR share IN
        SELECT s.key, s.value::numeric AS part, sum(s.value::numeric) OVER (ORDER BY s.key COLLATE "C") AS upto
        FROM jsonb_each(shares) s ORDER BY s.key COLLATE "C"
    LOOP
        segment := split_name || '_' || share.key;
        size := cdp.create_segment(segment,
            format('cdp.in_segment(%L)', name)
                || CASE WHEN share.upto > share.part
                        THEN format(' AND cdp.split_share(%L, profile_id) >= %s', split_name, trim_scale(share.upto - share.part)) ELSE '' END
                || format(' AND cdp.split_share(%L, profile_id) < %s', split_name, trim_scale(share.upto)),
            format('%s %% of segment %s', trim_scale(share.part), name));
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.split_segment(text, jsonb, text) IS
    'Splits a segment at random, for ever: shares maps names to percentages, and for each a segment <split>_<name> is made (split: that of the segment, if not given). The shares lie one after the other in the order of their names (by bytes), from 0 on; who falls in none is in none. By cdp.split_share of the split''s name: whoever enters the segment again is in the same share again, and people who become one are in that of the profile_id that survives.';

CREATE FUNCTION cdp.create_priority_list(name text, segments text[], OUT segment text, OUT size bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_priority_list';
COMMENT ON FUNCTION cdp.create_priority_list(text, text[]) IS
    'Makes for each of these segments another, named <list>_<segment>, of those who are in it and in none before it: everybody is in the first of the list that fits only. They stay so, live.';

CREATE FUNCTION cdp.drop_priority_list(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_priority_list';
COMMENT ON FUNCTION cdp.drop_priority_list(text) IS
    'Drops a priority list with the segments that it made. Refused while another segment or a destination uses one of them.';

REVOKE ALL ON FUNCTION cdp.on_list(text), cdp.import_segment(text, text, text[]), cdp.split_share(text, bigint), cdp.split_segment(text, jsonb, text),
    cdp.create_priority_list(text, text[]), cdp.drop_priority_list(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.on_list(text), cdp.import_segment(text, text, text[]), cdp.split_share(text, bigint), cdp.split_segment(text, jsonb, text),
    cdp.create_priority_list(text, text[]), cdp.drop_priority_list(text) TO cdp_marketer, cdp_admin;
-- history_doors.sql: how segments went, how they overlap, and how fresh they are.

CREATE FUNCTION cdp.segment_overlap(a text, b text, OUT in_a bigint, OUT in_b bigint, OUT in_both bigint, OUT only_a bigint, OUT only_b bigint,
                                    OUT similarity double precision) RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    id_a bigint;
    id_b bigint;
    missing text;
BEGIN
    SELECT s.segment_id, s.size INTO id_a, in_a FROM cdp.segment s WHERE s.name = a;
    SELECT s.segment_id, s.size INTO id_b, in_b FROM cdp.segment s WHERE s.name = b;
    missing := CASE WHEN id_a IS NULL THEN a WHEN id_b IS NULL THEN b END;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'segment "%" does not exist', missing USING ERRCODE = 'undefined_object',
            HINT = 'cdp.segment lists them; cdp.create_segment makes others.';
    END IF;
    SELECT count(*) INTO in_both
    FROM cdp.segment_member x JOIN cdp.segment_member y ON y.profile_id = x.profile_id
    WHERE x.segment_id = id_a AND y.segment_id = id_b;
    only_a := in_a - in_both;
    only_b := in_b - in_both;
    similarity := in_both::double precision / nullif(in_a + in_b - in_both, 0);
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION cdp.segment_overlap(text, text) IS
    'How many people are in each of two segments, in both, and in one only; similarity: of those in either, the part that is in both (NULL: nobody is in either).';

-- Each segment by its index on transitions. Reckoned back from the size now, so that it holds where old transitions are gone.
CREATE VIEW cdp.segment_day AS
    SELECT s.name AS segment, d.day, d.entered, d.left_,
           s.size - coalesce(sum(d.entered - d.left_) OVER (PARTITION BY s.name ORDER BY d.day DESC
                                                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS size
    FROM cdp.segment s CROSS JOIN LATERAL (
        SELECT t.at::date AS day, count(*) FILTER (WHERE t.entered) AS entered, count(*) FILTER (WHERE NOT t.entered) AS left_
        FROM cdp.segment_transition t WHERE t.segment_id = s.segment_id GROUP BY 1) d;
COMMENT ON VIEW cdp.segment_day IS
    'How segments went: how often people entered and left on each day (of your TimeZone) on which somebody did, and the segment''s size at its end.';

-- What was filled at once when the segment was made or altered is no message's doing, and is not looked through.
CREATE VIEW cdp.segment_freshness AS
    SELECT s.name AS segment, f.p50, f.p99, f.changes, f.measured_over
    FROM cdp.segment s CROSS JOIN LATERAL (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY c.visible_at - c.since) AS p50,
               percentile_cont(0.99) WITHIN GROUP (ORDER BY c.visible_at - c.since) AS p99,
               count(*) AS changes,
               CASE WHEN count(*) > 0 THEN tstzrange(min(c.visible_at), max(c.visible_at), '[]') END AS measured_over
        FROM (SELECT coalesce(t.due_at, t.received_at) AS since,
                     CASE current_setting('track_commit_timestamp')
                          WHEN 'on' THEN coalesce(pg_xact_commit_timestamp(t.xmin), t.written_at) ELSE t.written_at END AS visible_at
              FROM cdp.segment_transition t
              WHERE t.segment_id = s.segment_id AND t.written_at IS NOT NULL AND t.at > greatest(s.created_at, s.altered_at)
              ORDER BY t.at DESC LIMIT 1000) c) f;
COMMENT ON VIEW cdp.segment_freshness IS
    'How long segments take to follow: the median and the 99th percentile of the last changes (1,000 at most) by messages or the clock since the segment was made or altered, how many these are, and when they were. From the commit of the oldest of the person''s messages in the batch (received_at, where track_commit_timestamp is off), or the instant that was due, to the batch''s commit (where that is off: to when it wrote the change, before destinations and the commit).';

REVOKE ALL ON FUNCTION cdp.segment_overlap(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.segment_overlap(text, text) TO cdp_marketer, cdp_analyst, cdp_admin;
-- live_doors.sql: following the users' own tables.

CREATE FUNCTION cdp.follow_rows() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_follow_rows';
COMMENT ON FUNCTION cdp.follow_rows() IS
    'Internal: the trigger that live segments put on the tables that their subqueries read: says whom changed rows concern.';
REVOKE ALL ON FUNCTION cdp.follow_rows() FROM PUBLIC;

CREATE FUNCTION cdp.follow_applied_row() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_follow_applied_row';
COMMENT ON FUNCTION cdp.follow_applied_row() IS
    'Internal: the same for rows that a subscription applies.';
REVOKE ALL ON FUNCTION cdp.follow_applied_row() FROM PUBLIC;

-- A trigger's argument says what is followed; it is dumped, renamed and dropped with its table.
CREATE VIEW cdp.followed_table AS
    SELECT t.tgrelid::regclass AS relation, c.config -> 'identifiers' AS identifiers, c.config -> 'profiles' AS profiles, c.config -> 'columns' AS columns
    FROM pg_catalog.pg_trigger t
         CROSS JOIN LATERAL (SELECT convert_from(substring(t.tgargs FROM 1 FOR length(t.tgargs) - 1), getdatabaseencoding())::jsonb) c (config)
    WHERE t.tgfoid = 'cdp.follow_applied_row()'::regprocedure AND t.tgnargs = 1;
COMMENT ON VIEW cdp.followed_table IS
    'The tables whose changed rows live segments follow: identifiers, profiles: what of a row is the value of an identifier, or the profile_id, of those whom it concerns; columns: what matters of a row, with its type.';
GRANT SELECT ON cdp.followed_table TO cdp_admin, cdp_marketer, cdp_analyst;
-- segment_doors.sql: making, changing, trying and explaining segments.

-- What a condition may call. They are never executed: conditions have their values put in their place.
CREATE FUNCTION cdp.in_segment(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.in_segment(text) IS 'In a segment''s condition: whether the person is in that other segment.';

CREATE FUNCTION cdp.has_identifier(type text) RETURNS boolean
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.has_identifier(text) IS 'In a segment''s condition: whether the person has an identifier of that type.';

CREATE FUNCTION cdp.did(
        event text, within interval DEFAULT NULL, at_least int DEFAULT 1, at_most int DEFAULT NULL, filter text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.did(text, interval, int, int, text) IS
    'In a segment''s condition: whether the person did event at_least to at_most times (NULL: without limit) within a rolling window (NULL: ever; its edge moves as that of a computed trait). filter: an SQL condition over the columns of cdp.event.';

CREATE FUNCTION cdp.times_did(event text, within interval DEFAULT NULL, filter text DEFAULT NULL) RETURNS bigint
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.times_did(text, interval, text) IS 'In a segment''s condition: how many times the person did event within a rolling window (NULL: ever).';

CREATE FUNCTION cdp.days_did(event text, within interval DEFAULT NULL, filter text DEFAULT NULL) RETURNS bigint
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.days_did(text, interval, text) IS 'In a segment''s condition: on how many days (of UTC) the person did event within a rolling window (NULL: ever).';

CREATE FUNCTION cdp.first_did(event text, filter text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.first_did(text, text) IS 'In a segment''s condition: when the person first did event, by occurred_at; NULL: never.';

CREATE FUNCTION cdp.last_did(event text, filter text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.last_did(text, text) IS 'In a segment''s condition: when the person last did event, by occurred_at; NULL: never.';

CREATE FUNCTION cdp.did_sequence(events text[], within interval DEFAULT NULL, same text DEFAULT NULL) RETURNS boolean
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.did_sequence(text[], interval, text) IS
    'In a segment''s condition: whether the person did these events (1 to 20) one after the other, each strictly later than the one before, the last at most within after the first (NULL: whenever); same: a property (a path with dots) that has the same value in all of them.';

CREATE FUNCTION cdp.consented(purpose text, channel text DEFAULT NULL) RETURNS boolean
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.consented(text, text) IS
    'In a segment''s condition, and in the columns of a destination: whether the person consents to the purpose on that channel; without one, on every channel.';
REVOKE ALL ON FUNCTION cdp.consented(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.consented(text, text) TO cdp_marketer, cdp_admin;

CREATE FUNCTION cdp.create_segment(
        name text, definition text, description text DEFAULT NULL, refresh interval DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_segment';
COMMENT ON FUNCTION cdp.create_segment(text, text, text, interval) IS
    'Makes a segment of the people whose row of cdp.profile meets an SQL condition, fills it and keeps it from then on; returns its size. The condition runs with your rights. It may call cdp.in_segment, cdp.has_identifier, cdp.did, cdp.times_did, cdp.days_did, cdp.first_did, cdp.last_did, cdp.did_sequence, cdp.consented, and compare with now(). It may hold subqueries over your own tables, if each is joined with cdp.identifier of the person: then changed rows are followed, for which you need the right to put a trigger on the table. With refresh, any subqueries; then its members are computed afresh that often.';

CREATE FUNCTION cdp.alter_segment(name text, definition text, refresh interval DEFAULT NULL, OUT entered bigint, OUT left_ bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_alter_segment';
COMMENT ON FUNCTION cdp.alter_segment(text, text, interval) IS
    'Gives a segment another condition; how many people entered and left by that. Segments that refer to it follow. refresh: how often it is computed afresh from now on; 0: it is live; NULL: as before.';

CREATE FUNCTION cdp.drop_segment(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_segment';
COMMENT ON FUNCTION cdp.drop_segment(text) IS
    'Drops a segment with its members, transitions and view. Refused while another segment or a destination uses it.';

CREATE FUNCTION cdp.preview_segment(definition text, exact boolean DEFAULT true, OUT size bigint, OUT sample bigint[], OUT error bigint)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_preview_segment';
COMMENT ON FUNCTION cdp.preview_segment(text, boolean) IS
    'How many people meet a condition now, and the profile ids of up to ten of them. Changes nothing. Not exact: estimated from 20,000 profile ids spread over all (exactly, where there are not many more); size is then not further off than error, in 95 of 100 cases.';

CREATE FUNCTION cdp.explain_segment(name text, profile_id bigint, OUT condition text, OUT value text, OUT holds boolean)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_segment';
COMMENT ON FUNCTION cdp.explain_segment(text, bigint) IS
    'Why a person is in a segment or not: its condition part by part (split at AND, OR and NOT), with the values it reads; last the whole. Where a part fails by itself, holds is NULL and value says why.';

REVOKE ALL ON FUNCTION cdp.did(text, interval, int, int, text), cdp.times_did(text, interval, text), cdp.days_did(text, interval, text),
    cdp.first_did(text, text), cdp.last_did(text, text), cdp.did_sequence(text[], interval, text), cdp.in_segment(text), cdp.has_identifier(text), cdp.create_segment(text, text, text, interval),
    cdp.alter_segment(text, text, interval), cdp.drop_segment(text), cdp.preview_segment(text, boolean), cdp.explain_segment(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.did(text, interval, int, int, text), cdp.times_did(text, interval, text), cdp.days_did(text, interval, text),
    cdp.first_did(text, text), cdp.last_did(text, text), cdp.did_sequence(text[], interval, text), cdp.in_segment(text), cdp.has_identifier(text), cdp.create_segment(text, text, text, interval),
    cdp.alter_segment(text, text, interval), cdp.drop_segment(text), cdp.preview_segment(text, boolean), cdp.explain_segment(text, bigint)
    TO cdp_marketer, cdp_admin;
-- pipeline.sql: processing what is in the inbox.

-- A row, not a sequence: others see it change when they see the change, a rollback takes it back, a standby has it.
CREATE TABLE cdp.configuration (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE cdp.configuration IS
    'Internal, one row: another random number after every change of the configuration.';
INSERT INTO cdp.configuration (version) VALUES (hashtextextended(gen_random_uuid()::text, 0));

CREATE FUNCTION cdp.lock_pipeline() RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_lock_pipeline';
COMMENT ON FUNCTION cdp.lock_pipeline() IS
    'Internal: keeps every other processor out until the transaction ends; waits for them. Whatever changes configuration or derived state takes it first. Throws at isolation levels above READ COMMITTED.';
REVOKE ALL ON FUNCTION cdp.lock_pipeline() FROM PUBLIC;

CREATE FUNCTION cdp.touch_configuration() RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$ UPDATE cdp.configuration SET version = hashtextextended(gen_random_uuid()::text, 0) $$;
COMMENT ON FUNCTION cdp.touch_configuration() IS
    'Internal: says that traits, segments, identifier types or destinations changed; every session reads them afresh.';
REVOKE ALL ON FUNCTION cdp.touch_configuration() FROM PUBLIC;

CREATE FUNCTION cdp.process(max_messages bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    -- The pipeline's statements probe big tables by key from a few staged rows; these keep a plan that was made
    -- while the tables were small from scanning them when they have grown.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET enable_material = off
    SET jit = off
    SET max_parallel_workers_per_gather = 0
    SET plan_cache_mode = force_generic_plan
    AS 'MODULE_PATHNAME', 'cdp_process';
COMMENT ON FUNCTION cdp.process(bigint) IS
    'Processes committed messages here and now, in this transaction, at most max_messages; returns how many. One processor at a time a database: a second waits.';
REVOKE ALL ON FUNCTION cdp.process(bigint) FROM PUBLIC;
-- roles.sql: what each role may do, and which of our objects are no members of the extension. The last part.

-- Nobody gets anything by being there.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cdp FROM PUBLIC;

DO $$
DECLARE
    role_name text;
    called text[];
    seen text[];
    object text;
    schema_name text;
BEGIN
    -- By name, so that a function's arguments may change.
    FOR role_name, called, seen IN VALUES
        ('cdp_ingest',
         ARRAY['inbox_mark', 'ingest', 'track', 'identify', 'page', 'screen', 'join_group', 'alias'],
         ARRAY[]::text[]),
        ('cdp_marketer',
         ARRAY['create_segment', 'alter_segment', 'drop_segment', 'preview_segment', 'explain_segment', 'segment_overlap',
               'import_segment', 'split_segment', 'split_share', 'create_priority_list', 'drop_priority_list', 'on_list',
               'in_segment', 'has_identifier', 'consented', 'did', 'did_sequence', 'resolve', 'get_profile',
               'sees_personal', 'looks_personal', 'mask_traits', 'masked_keys'],
         ARRAY['segment', 'segment_member', 'segment_transition', 'segment_day', 'segment_freshness', 'listed_identifier', 'priority_list', 'trait', 'identifier_type', 'identifier_masked', 'profile_masked',
               'profile_alias', 'account_member', 'purpose', 'consent', 'suppressed_profile']),
        ('cdp_analyst',
         ARRAY['segment_overlap', 'resolve', 'get_profile', 'sees_personal', 'looks_personal', 'mask_traits', 'mask_properties', 'mask_context', 'masked_keys'],
         ARRAY['segment', 'segment_member', 'segment_transition', 'segment_day', 'segment_freshness', 'listed_identifier', 'priority_list', 'trait', 'identifier_type', 'identifier_masked', 'profile_masked',
               'profile_alias', 'account_member', 'purpose', 'consent', 'suppressed_profile', 'consent_record_masked', 'event_masked', 'identity_link', 'identity_separation', 'suspicious_profile', 'destination']),
        ('cdp_pii',
         ARRAY['resolve', 'get_profile', 'timeline', 'explain_identity', 'explain_merge', 'explain_match', 'explain_segment', 'explain_field',
               'sees_personal', 'looks_personal', 'mask_traits', 'mask_properties', 'mask_context', 'masked_keys'],
         ARRAY[]::text[])
    LOOP
        EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA cdp TO %I', role_name);
        FOR object IN
            SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
            WHERE p.pronamespace OPERATOR(pg_catalog.=) 'cdp'::pg_catalog.regnamespace AND p.proname::text OPERATOR(pg_catalog.=) ANY (called)
        LOOP
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %I', object, role_name);
        END LOOP;
        FOREACH object IN ARRAY seen LOOP
            IF pg_catalog.to_regclass(pg_catalog.format('cdp.%I', object)) IS NOT NULL THEN
                EXECUTE pg_catalog.format('GRANT SELECT ON cdp.%I TO %I', object, role_name);
            END IF;
        END LOOP;
    END LOOP;

    FOREACH schema_name IN ARRAY ARRAY['cdp', 'cdp_segment', 'cdp_out'] LOOP
        CONTINUE WHEN pg_catalog.to_regnamespace(schema_name) IS NULL;
        EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %I TO cdp_admin, cdp_pii', schema_name);
        EXECUTE pg_catalog.format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO cdp_pii', schema_name);
        EXECUTE pg_catalog.format('GRANT ALL ON ALL TABLES IN SCHEMA %I TO cdp_admin', schema_name);
        -- Its owner writes to the tables: a trigger of somebody else's would run with the owner's rights.
        EXECUTE pg_catalog.format('REVOKE TRIGGER ON ALL TABLES IN SCHEMA %I FROM cdp_admin', schema_name);
        EXECUTE pg_catalog.format('GRANT ALL ON ALL SEQUENCES IN SCHEMA %I TO cdp_admin', schema_name);
        EXECUTE pg_catalog.format('GRANT ALL ON ALL FUNCTIONS IN SCHEMA %I TO cdp_admin', schema_name);
    END LOOP;

    -- What a row of these says runs with the rights of the role in it: functions write them, which put in the caller.
    FOR object IN
        SELECT a.attrelid::pg_catalog.regclass::text FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
        WHERE c.relnamespace OPERATOR(pg_catalog.=) 'cdp'::pg_catalog.regnamespace AND c.relkind OPERATOR(pg_catalog.=) 'r'
          AND a.attname OPERATOR(pg_catalog.=) 'owner'
    LOOP
        EXECUTE pg_catalog.format('REVOKE INSERT, UPDATE ON %s FROM cdp_admin', object);
    END LOOP;
END $$;

-- The ledger is written by functions only, and by nobody changed.
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON cdp.consent_record FROM cdp_admin;

GRANT USAGE ON SCHEMA cdp_segment TO cdp_marketer, cdp_analyst;

-- The inbox takes messages from cdp_ingest and gives none away. Where they stand in it is not theirs to say: an inbox_id
-- of their own would put them into a partition that is about to be emptied, or before what others sent.
GRANT INSERT (message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, context,
              occurred_at, sent_at, received_at) ON cdp.inbox TO cdp_ingest;
GRANT USAGE ON SEQUENCE cdp.inbox_id_seq TO cdp_ingest;

-- Segments of theirs may ask whether somebody has an identifier, but not which.
GRANT SELECT (profile_id, identifier_id, type) ON cdp.identifier TO cdp_marketer, cdp_analyst;
GRANT SELECT (group_id, first_seen_at, last_seen_at) ON cdp.account TO cdp_marketer, cdp_analyst;

-- No members: they change as traits come and go, and must come back from pg_dump whole. Last of all, with all grants
-- set, since what was granted to a member in an install script is not dumped.
SELECT cdp.refresh_views();
ALTER EXTENSION cdp DROP VIEW cdp.profile_masked;
ALTER EXTENSION cdp DROP TABLE cdp.profile;
