-- rebuild_doors.sql: the law of equality, checked and repaired.

CREATE FUNCTION cdp.rebuild(repair boolean DEFAULT false, OUT table_name text, OUT differing bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_rebuild';
COMMENT ON FUNCTION cdp.rebuild(boolean) IS
    'Computes all derived state afresh from events, links and definitions, beside the live one, and reports how many rows of each table differ; NULL where that cannot be computed. With repair, puts the fresh one in place. Keeps the pipeline waiting meanwhile.';
REVOKE ALL ON FUNCTION cdp.rebuild(boolean) FROM PUBLIC;
