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
