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

CREATE FUNCTION cdp.did(
        event text, within interval DEFAULT NULL, at_least int DEFAULT 1, at_most int DEFAULT NULL, filter text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.did(text, interval, int, int, text) IS
    'In a segment''s condition: whether the person did event at_least to at_most times (NULL: without limit) within a rolling window (NULL: ever; its edge moves as that of a computed trait). filter: an SQL condition over the columns of cdp.event.';

CREATE FUNCTION cdp.times_did(event text, within interval DEFAULT NULL, filter text DEFAULT NULL) RETURNS bigint
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.times_did(text, interval, text) IS 'In a segment''s condition: how many times the person did event within a rolling window (NULL: ever).';

CREATE FUNCTION cdp.days_did(event text, within interval DEFAULT NULL, filter text DEFAULT NULL) RETURNS bigint
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.days_did(text, interval, text) IS 'In a segment''s condition: on how many days (of UTC) the person did event within a rolling window (NULL: ever).';

CREATE FUNCTION cdp.first_did(event text, filter text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.first_did(text, text) IS 'In a segment''s condition: when the person first did event, by occurred_at; NULL: never.';

CREATE FUNCTION cdp.last_did(event text, filter text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.last_did(text, text) IS 'In a segment''s condition: when the person last did event, by occurred_at; NULL: never.';

CREATE FUNCTION cdp.did_sequence(events text[], within interval DEFAULT NULL, same text DEFAULT NULL) RETURNS boolean
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.did_sequence(text[], interval, text) IS
    'In a segment''s condition: whether the person did these events (1 to 20) one after the other, each strictly later than the one before, the last at most within after the first (NULL: whenever); same: a property (a path with dots) that has the same value in all of them.';

CREATE FUNCTION cdp.consented(purpose text, channel text DEFAULT NULL) RETURNS boolean
    LANGUAGE c STABLE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.consented(text, text) IS
    'In a segment''s condition, and in the columns of a destination: whether the person consents to the purpose on that channel; without one, on every channel.';
REVOKE ALL ON FUNCTION cdp.consented(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.consented(text, text) TO cdp_marketer, cdp_admin;

CREATE FUNCTION cdp.create_segment(
        name text, definition text, description text DEFAULT NULL, refresh interval DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_segment';
COMMENT ON FUNCTION cdp.create_segment(text, text, text, interval) IS
    'Makes a segment of the people whose row of cdp.profile meets an SQL condition, fills it and keeps it from then on; returns its size. The condition runs with your rights. It may call cdp.in_segment, cdp.has_identifier, cdp.did, cdp.times_did, cdp.days_did, cdp.first_did, cdp.last_did, cdp.did_sequence, cdp.consented, and compare with now(). It may hold subqueries over your own tables, if each is joined with cdp.identifier of the person: then changed rows are followed, for which you need the right to put a trigger on the table. With refresh, any subqueries; then its members are computed afresh that often.';

CREATE FUNCTION cdp.alter_segment(name text, definition text, refresh interval DEFAULT NULL, OUT entered bigint, OUT left_ bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_alter_segment';
COMMENT ON FUNCTION cdp.alter_segment(text, text, interval) IS
    'Gives a segment another condition; how many people entered and left by that. Segments that refer to it follow. refresh: how often it is computed afresh from now on; 0: it is live; NULL: as before.';

CREATE FUNCTION cdp.drop_segment(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_segment';
COMMENT ON FUNCTION cdp.drop_segment(text) IS
    'Drops a segment with its members, transitions and view. Refused while another segment or a destination uses it.';

CREATE FUNCTION cdp.preview_segment(definition text, exact boolean DEFAULT true, OUT size bigint, OUT sample bigint[], OUT error bigint)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_preview_segment';
COMMENT ON FUNCTION cdp.preview_segment(text, boolean) IS
    'How many people meet a condition now, and the profile ids of up to ten of them. Changes nothing. Not exact: estimated from 20,000 profile ids spread over all (exactly, where there are not many more); size is then not further off than error, in 95 of 100 cases.';

CREATE FUNCTION cdp.explain_segment(name text, profile_id bigint, OUT condition text, OUT value text, OUT holds boolean)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_segment';
COMMENT ON FUNCTION cdp.explain_segment(text, bigint) IS
    'Why a person is in a segment or not: its condition part by part (split at AND, OR and NOT), with the values it reads; last the whole. Where a part fails by itself, holds is NULL and value says why.';

REVOKE ALL ON FUNCTION cdp.did(text, interval, int, int, text), cdp.times_did(text, interval, text), cdp.days_did(text, interval, text),
    cdp.first_did(text, text), cdp.last_did(text, text), cdp.did_sequence(text[], interval, text), cdp.in_segment(text), cdp.has_identifier(text), cdp.create_segment(text, text, text, interval),
    cdp.alter_segment(text, text, interval), cdp.drop_segment(text), cdp.preview_segment(text, boolean), cdp.explain_segment(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.did(text, interval, int, int, text), cdp.times_did(text, interval, text), cdp.days_did(text, interval, text),
    cdp.first_did(text, text), cdp.last_did(text, text), cdp.did_sequence(text[], interval, text), cdp.in_segment(text), cdp.has_identifier(text), cdp.create_segment(text, text, text, interval),
    cdp.alter_segment(text, text, interval), cdp.drop_segment(text), cdp.preview_segment(text, boolean), cdp.explain_segment(text, bigint)
    TO cdp_marketer, cdp_admin;
