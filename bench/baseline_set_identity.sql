-- baseline_set_identity.sql: whose messages they are, for a whole batch at once. Part of baseline_set.sql.

-- Finds the identifiers of the batch; unknown ones get an id and a profile of their own, for now.
CREATE FUNCTION base.find_identifiers() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    CREATE TEMP TABLE batch_value ON COMMIT DROP AS
    SELECT event_id, occurred_at, type, value
    FROM (SELECT inbox_id, occurred_at, 'user_id'::base.identifier_type, user_id, reason
          FROM batch_message WHERE user_id IS NOT NULL
          UNION ALL
          SELECT inbox_id, occurred_at, 'email', lower(btrim(traits ->> 'email')), reason
          FROM batch_message WHERE type = 'identify' AND traits ? 'email'
          UNION ALL
          SELECT inbox_id, occurred_at, 'phone', btrim(traits ->> 'phone'), reason
          FROM batch_message WHERE type = 'identify' AND traits ? 'phone'
          UNION ALL
          SELECT inbox_id, occurred_at, 'device_id', context -> 'device' ->> 'id', reason
          FROM batch_message WHERE context ? 'device'
          UNION ALL
          SELECT inbox_id, occurred_at, 'anonymous_id', anonymous_id, reason
          FROM batch_message WHERE anonymous_id IS NOT NULL) AS said (event_id, occurred_at, type, value, reason)
    WHERE reason IS NULL AND base.identifies(value);
    ANALYZE batch_value;

    INSERT INTO batch_identifier
    SELECT coalesce(known.identifier_id, nextval('base.identifier_identifier_id_seq')), v.type, v.value,
           coalesce(known.profile_id, nextval('base.profile_id')), known.identifier_id IS NULL,
           v.first_seen_at, v.last_seen_at
    FROM (SELECT type, value, min(event_id) AS event_id,
                 min(occurred_at) AS first_seen_at, max(occurred_at) AS last_seen_at
          FROM batch_value
          GROUP BY type, value
          ORDER BY event_id, type) AS v
    LEFT JOIN base.identifier known USING (type, value);
    ANALYZE batch_identifier;

    INSERT INTO batch_use
    SELECT v.event_id, v.occurred_at, row_number() OVER (PARTITION BY v.event_id ORDER BY v.type),
           i.identifier_id, i.profile_id
    FROM batch_value v
    JOIN batch_identifier i USING (type, value);
    ANALYZE batch_use;

    UPDATE batch_message m SET reason = 'no identifier'
    WHERE reason IS NULL AND NOT EXISTS (SELECT FROM batch_use u WHERE u.event_id = m.inbox_id);

    INSERT INTO base.rejected_message
    SELECT message_id, reason, to_jsonb(m) FROM batch_message m WHERE reason IS NOT NULL;
END
$$;

-- Joins profiles along the edges, earliest first, but never two that both have a user_id.
--
-- That is Kruskal's algorithm with all profiles that have a user_id regarded as joined beforehand,
-- so Borůvka's finds the same forest in a few set-based rounds: in each, every tree without a user_id
-- takes its earliest edge.
CREATE FUNCTION base.stitch() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO batch_pair
    SELECT s.identifier_id, w.identifier_id, min(s.profile_id), min(w.profile_id),
           min(w.event_id * 8 + w.position), min(w.occurred_at), count(*)
    FROM batch_use w
    JOIN batch_use s ON s.event_id = w.event_id AND s.position = 1
    WHERE w.position > 1
    GROUP BY s.identifier_id, w.identifier_id;
    ANALYZE batch_pair;

    INSERT INTO batch_edge
    SELECT profile_a, profile_b, precedence FROM batch_pair WHERE profile_a <> profile_b;
    ANALYZE batch_edge;

    INSERT INTO batch_node
    SELECT n.profile_id, n.profile_id, coalesce(p.has_user_id, i.profile_id IS NOT NULL)
    FROM (SELECT a FROM batch_edge UNION SELECT b FROM batch_edge) AS n (profile_id)
    LEFT JOIN base.profile p USING (profile_id)
    LEFT JOIN batch_identifier i ON i.profile_id = n.profile_id AND i.is_new AND i.type = 'user_id';
    ANALYZE batch_node;

    LOOP
        INSERT INTO batch_pick
        SELECT DISTINCT ON (child) child, parent
        FROM (SELECT a AS child, b AS parent, precedence FROM batch_edge
              UNION ALL
              SELECT b, a, precedence FROM batch_edge) AS either
        JOIN batch_node n ON n.profile_id = child AND NOT n.has_user
        ORDER BY child, precedence;
        EXIT WHEN NOT FOUND;
        ANALYZE batch_pick;

        -- Two that picked one another picked the same edge: the lower becomes the root.
        DELETE FROM batch_pick p USING batch_pick q
        WHERE p.parent = q.child AND q.parent = p.child AND p.child < p.parent;

        WITH RECURSIVE tree (root, profile_id) AS (
            SELECT parent, child FROM batch_pick p
            WHERE NOT EXISTS (SELECT FROM batch_pick q WHERE q.child = p.parent)
            UNION ALL
            SELECT tree.root, p.child FROM tree JOIN batch_pick p ON p.parent = tree.profile_id
        )
        UPDATE batch_node n SET root = tree.root FROM tree WHERE n.root = tree.profile_id;

        UPDATE batch_edge e SET a = na.root, b = nb.root
        FROM batch_node na, batch_node nb
        WHERE na.profile_id = e.a AND nb.profile_id = e.b AND (na.root, nb.root) <> (e.a, e.b);
        DELETE FROM batch_edge WHERE a = b;
        DELETE FROM batch_pick;
    END LOOP;

    -- The oldest profile of a tree survives.
    INSERT INTO batch_merge
    SELECT profile_id, survivor_id
    FROM (SELECT profile_id, min(profile_id) OVER (PARTITION BY root) AS survivor_id FROM batch_node) AS node
    WHERE profile_id <> survivor_id;
    ANALYZE batch_merge;

    UPDATE batch_identifier i SET profile_id = m.survivor_id FROM batch_merge m WHERE m.profile_id = i.profile_id;
    UPDATE base.identifier i SET profile_id = m.survivor_id FROM batch_merge m WHERE m.profile_id = i.profile_id;
END
$$;

-- Keeps which pairs were joined, and which were refused: those whose people both have a user_id.
CREATE FUNCTION base.write_links() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO base.identity_link
    SELECT p.identifier_a, p.identifier_b, p.precedence / 8, p.linked_at
    FROM batch_pair p
    JOIN batch_identifier a ON a.identifier_id = p.identifier_a
    JOIN batch_identifier b ON b.identifier_id = p.identifier_b
    WHERE a.profile_id = b.profile_id
    ORDER BY p.identifier_a, p.identifier_b
    ON CONFLICT DO NOTHING;

    INSERT INTO base.identity_conflict AS c
    SELECT p.identifier_a, p.identifier_b, p.precedence / 8, p.messages
    FROM batch_pair p
    JOIN batch_identifier a ON a.identifier_id = p.identifier_a
    JOIN batch_identifier b ON b.identifier_id = p.identifier_b
    WHERE a.profile_id <> b.profile_id
    ON CONFLICT (identifier_a, identifier_b) DO UPDATE SET refusals = c.refusals + excluded.refusals;
END
$$;

CREATE FUNCTION base.write_identifiers() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE base.identifier i
    SET first_seen_at = least(i.first_seen_at, b.first_seen_at),
        last_seen_at = greatest(i.last_seen_at, b.last_seen_at)
    FROM batch_identifier b
    WHERE i.identifier_id = b.identifier_id AND NOT b.is_new;

    INSERT INTO base.identifier
    SELECT identifier_id, type, value, profile_id, first_seen_at, last_seen_at
    FROM batch_identifier
    WHERE is_new
    ORDER BY identifier_id;
END
$$;
