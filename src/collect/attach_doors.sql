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
