-- baseline_set.sql: the pipeline a good data engineer would write in plain SQL, in batches.
-- The same work as cdp's: one row a message_id, identifiers stitched to people, events, 20 traits
-- and 50 memberships kept incrementally. Batch by batch: CALL base.process(batch_size).
--
-- What it leaves out, in its favour: of the limits on identifiers all but that of one user_id a person
-- (the traffic never reaches the others), phone normalisation, an inbox that is safe against slow
-- transactions and gets emptied. Where a message is refused one identifier, its weaker ones are kept.

\ir baseline_tables.sql
\ir baseline_set_identity.sql
\ir baseline_set_profile.sql

-- How far the inbox is processed. event_id is inbox_id: the order of processing.
CREATE TABLE base.progress AS SELECT 0::bigint AS inbox_id;

CREATE FUNCTION base.create_batch_tables() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    CREATE TEMP TABLE batch_message (
        LIKE base.inbox,
        reason text
    ) ON COMMIT DELETE ROWS;
    -- Every identifier that the batch names, once. profile_id is provisional where it is new.
    CREATE TEMP TABLE batch_identifier (
        identifier_id bigint, type base.identifier_type, value text, profile_id bigint, is_new boolean,
        first_seen_at timestamptz, last_seen_at timestamptz
    ) ON COMMIT DELETE ROWS;
    -- Which message names which of them; position 1 is the strongest.
    CREATE TEMP TABLE batch_use (
        event_id bigint, occurred_at timestamptz, position int, identifier_id bigint, profile_id bigint
    ) ON COMMIT DELETE ROWS;
    -- Two identifiers that a message names together; `precedence` is the order of processing.
    CREATE TEMP TABLE batch_pair (
        identifier_a bigint, identifier_b bigint, profile_a bigint, profile_b bigint, precedence bigint,
        linked_at timestamptz, messages bigint
    ) ON COMMIT DELETE ROWS;
    -- Two profiles, or two trees of them, that are one if a pair is.
    CREATE TEMP TABLE batch_edge (
        a bigint, b bigint, precedence bigint
    ) ON COMMIT DELETE ROWS;
    -- The profiles on either side of an edge, and the root of the tree each is in so far.
    CREATE TEMP TABLE batch_node (
        profile_id bigint PRIMARY KEY, root bigint, has_user boolean
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE batch_pick (
        child bigint PRIMARY KEY, parent bigint
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE batch_merge (
        profile_id bigint PRIMARY KEY, survivor_id bigint
    ) ON COMMIT DELETE ROWS;
    -- The messages as traits need them.
    CREATE TEMP TABLE batch_fact (
        event_id bigint, profile_id bigint, occurred_at timestamptz, source text, event text, coupon boolean,
        currency text, revenue numeric, quantity numeric, category text, campaign text, traits jsonb
    ) ON COMMIT DELETE ROWS;
    -- The touched profiles' rows as they were; several have the same survivor where people became one.
    CREATE TEMP TABLE batch_before (
        survivor_id bigint, LIKE base.profile
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE batch_after (
        LIKE base.profile
    ) ON COMMIT DELETE ROWS;
END
$$;

-- Reads the next messages, each message_id once. Returns how many were read from the inbox.
CREATE FUNCTION base.take_batch(batch_size int) RETURNS bigint
    LANGUAGE plpgsql
AS $$
DECLARE
    since bigint;
    until bigint;
    taken bigint;
BEGIN
    SELECT inbox_id INTO since FROM base.progress;
    SELECT max(inbox_id), count(*) INTO until, taken
    FROM (SELECT inbox_id FROM base.inbox WHERE inbox_id > since ORDER BY inbox_id LIMIT batch_size) AS next;

    INSERT INTO batch_message
    SELECT DISTINCT ON (i.message_id) i.*, base.refusal(i)
    FROM base.inbox i
    WHERE i.inbox_id > since AND i.inbox_id <= until
      AND NOT EXISTS (SELECT FROM base.event e WHERE e.message_id = i.message_id)
    ORDER BY i.message_id, i.inbox_id;
    ANALYZE batch_message (inbox_id);

    UPDATE base.progress SET inbox_id = until WHERE taken > 0;
    RETURN taken;
END
$$;

-- Appends the events, sorted for the sake of the index on (identifier_id, occurred_at).
CREATE FUNCTION base.write_events() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO base.event
    SELECT m.inbox_id, m.message_id, m.type, m.event, m.source, u.identifier_ids[1], m.occurred_at, m.received_at,
           NULL, m.user_id, m.anonymous_id, NULL, NULL, u.identifier_ids[2:], m.properties, m.traits, m.context
    FROM batch_message m
    JOIN (SELECT event_id, array_agg(identifier_id ORDER BY position) AS identifier_ids
          FROM batch_use
          GROUP BY event_id) AS u ON u.event_id = m.inbox_id
    ORDER BY u.identifier_ids[1], m.occurred_at;
END
$$;

-- Processes the whole inbox, a transaction a batch.
CREATE PROCEDURE base.process(batch_size int)
    LANGUAGE plpgsql
AS $$
BEGIN
    -- What a batch job would ask for; the server's default of 4 MB would spill every sort to disk.
    SET work_mem = '256MB';
    SET temp_buffers = '256MB';
    SET jit = off;  -- compiling a batch's queries takes longer than running them
    PERFORM base.create_batch_tables();
    LOOP
        EXIT WHEN base.take_batch(batch_size) = 0;
        PERFORM base.find_identifiers();
        PERFORM base.stitch();
        PERFORM base.write_links();
        PERFORM base.write_identifiers();
        PERFORM base.write_events();
        PERFORM base.collect_facts();
        PERFORM base.compute_profiles();
        PERFORM base.write_profiles();
        PERFORM base.write_memberships();
        COMMIT;
    END LOOP;
END
$$;
