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
