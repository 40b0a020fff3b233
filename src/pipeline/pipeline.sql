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
