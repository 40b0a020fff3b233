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
