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
