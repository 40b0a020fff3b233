-- live_doors.sql: following the users' own tables.

CREATE FUNCTION cdp.follow_rows() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_follow_rows';
COMMENT ON FUNCTION cdp.follow_rows() IS
    'Internal: the trigger that live segments put on the tables that their subqueries read: says whom changed rows concern.';
REVOKE ALL ON FUNCTION cdp.follow_rows() FROM PUBLIC;

CREATE FUNCTION cdp.follow_applied_row() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_follow_applied_row';
COMMENT ON FUNCTION cdp.follow_applied_row() IS
    'Internal: the same for rows that a subscription applies.';
REVOKE ALL ON FUNCTION cdp.follow_applied_row() FROM PUBLIC;

-- A trigger's argument says what is followed; it is dumped, renamed and dropped with its table.
CREATE VIEW cdp.followed_table AS
    SELECT t.tgrelid::regclass AS relation, c.config -> 'identifiers' AS identifiers, c.config -> 'profiles' AS profiles, c.config -> 'columns' AS columns
    FROM pg_catalog.pg_trigger t
         CROSS JOIN LATERAL (SELECT convert_from(substring(t.tgargs FROM 1 FOR length(t.tgargs) - 1), getdatabaseencoding())::jsonb) c (config)
    WHERE t.tgfoid = 'cdp.follow_applied_row()'::regprocedure AND t.tgnargs = 1;
COMMENT ON VIEW cdp.followed_table IS
    'The tables whose changed rows live segments follow: identifiers, profiles: what of a row is the value of an identifier, or the profile_id, of those whom it concerns; columns: what matters of a row, with its type.';
GRANT SELECT ON cdp.followed_table TO cdp_admin, cdp_marketer, cdp_analyst;
