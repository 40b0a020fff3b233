-- segment_doors.sql: making, changing, trying and explaining segments.

-- What a condition may call. They are never executed: conditions have their values put in their place.
CREATE FUNCTION cdp.in_segment(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.in_segment(text) IS 'In a segment''s condition: whether the person is in that other segment.';

CREATE FUNCTION cdp.has_identifier(type text) RETURNS boolean
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.has_identifier(text) IS 'In a segment''s condition: whether the person has an identifier of that type.';

CREATE FUNCTION cdp.create_segment(
        name text, definition text, description text DEFAULT NULL, refresh interval DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_segment';
COMMENT ON FUNCTION cdp.create_segment(text, text, text, interval) IS
    'Makes a segment of the people whose row of cdp.profile meets an SQL condition, fills it and keeps it from then on; returns its size. The condition runs with your rights. It may call cdp.in_segment(name) and cdp.has_identifier(type).';

CREATE FUNCTION cdp.alter_segment(name text, definition text, OUT entered bigint, OUT left_ bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_alter_segment';
COMMENT ON FUNCTION cdp.alter_segment(text, text) IS
    'Gives a segment another condition; how many people entered and left by that. Segments that refer to it follow.';

CREATE FUNCTION cdp.drop_segment(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_segment';
COMMENT ON FUNCTION cdp.drop_segment(text) IS
    'Drops a segment with its members, transitions and view. Refused while another segment or a destination uses it.';

CREATE FUNCTION cdp.preview_segment(definition text, OUT size bigint, OUT sample bigint[]) RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_preview_segment';
COMMENT ON FUNCTION cdp.preview_segment(text) IS
    'How many people meet a condition now, and the profile ids of up to ten of them. Changes nothing.';

CREATE FUNCTION cdp.explain_segment(name text, profile_id bigint, OUT condition text, OUT value text, OUT holds boolean)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_segment';
COMMENT ON FUNCTION cdp.explain_segment(text, bigint) IS
    'Why a person is in a segment or not: its condition part by part (split at AND, OR and NOT), with the values it reads; last the whole. Where a part fails by itself, holds is NULL and value says why.';

REVOKE ALL ON FUNCTION cdp.in_segment(text), cdp.has_identifier(text), cdp.create_segment(text, text, text, interval),
    cdp.alter_segment(text, text), cdp.drop_segment(text), cdp.preview_segment(text), cdp.explain_segment(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.in_segment(text), cdp.has_identifier(text), cdp.create_segment(text, text, text, interval),
    cdp.alter_segment(text, text), cdp.drop_segment(text), cdp.preview_segment(text), cdp.explain_segment(text, bigint)
    TO cdp_marketer, cdp_admin;
