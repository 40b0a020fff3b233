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
