-- profile_doors.sql: declaring traits, reading people.

CREATE FUNCTION cdp.create_trait(
        name text, type regtype, path text DEFAULT NULL, survivorship text DEFAULT 'last', sources text[] DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_trait';
COMMENT ON FUNCTION cdp.create_trait(text, regtype, text, text, text[]) IS
    'Makes a trait of identify messages a typed column of cdp.profile, filled from history. path: where in the traits, by default name; survivorship: last, first, most_frequent, min, max or source_priority (sources, best first, * for any other; of one source the last). Values that the type refuses do not count (5.0 is an integer, 5.5 is none); null unsets, for last and source_priority. jsonb is the JSON as it was sent. Dates, times and intervals are read as with TimeZone UTC, DateStyle ISO, MDY and IntervalStyle postgres, whoever processes; those that the clock gives (now, today and the like) do not count.';
REVOKE ALL ON FUNCTION cdp.create_trait(text, regtype, text, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.create_computed_trait(
        name text, aggregate text, event text DEFAULT NULL, property text DEFAULT NULL, filter text DEFAULT NULL,
        "window" interval DEFAULT NULL, type regtype DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_computed_trait';
COMMENT ON FUNCTION cdp.create_computed_trait(text, text, text, text, text, interval, regtype) IS
    'Makes an aggregate over a person''s events a column of cdp.profile, filled from history: count, sum, avg, min, max, first, last, distinct_count, most_frequent or unique_list, of the events named event (NULL: all), of a property (a.b for nested ones), of those only that meet filter, an SQL condition over the columns of cdp.event. Numbers are numeric, and of JSON''s numbers only, counts bigint; first, last and most_frequent are text or of the given type, read as cdp.create_trait says. With a window only the events with occurred_at > date_trunc(step, now()) - window count, in UTC, the step being a minute for windows of up to a day and an hour for longer ones; values fall as events grow too old, with no new message.';
REVOKE ALL ON FUNCTION cdp.create_computed_trait(text, text, text, text, text, interval, regtype) FROM PUBLIC;

CREATE FUNCTION cdp.drop_trait(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_trait';
COMMENT ON FUNCTION cdp.drop_trait(text) IS
    'Drops a declared or computed trait and its column. Refused while a segment or a destination uses it.';
REVOKE ALL ON FUNCTION cdp.drop_trait(text) FROM PUBLIC;

CREATE FUNCTION cdp.set_field_owner(field text, owner text, source text DEFAULT 'crm') RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_set_field_owner';
COMMENT ON FUNCTION cdp.set_field_owner(text, text, text) IS
    'Says who wins where the CRM, whose messages have that source, and others give a declared trait different values. owner: crm: the CRM''s last value holds; cdp: the last value of anybody else; NULL: the last value. The loser''s stays in cdp.event, and holds where the winner said nothing: see explain_field. Segments and destinations follow at once.';
REVOKE ALL ON FUNCTION cdp.set_field_owner(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.explain_field(type text, value text, field text, OUT source text, OUT said jsonb, OUT occurred_at timestamptz,
                                  OUT event_id bigint, OUT wins boolean) RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    trait cdp.trait;
BEGIN
    SELECT t.* INTO trait FROM cdp.trait t WHERE t.name = field AND t.kind = 'declared';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'declared trait "%" does not exist', field USING ERRCODE = 'undefined_object';
    END IF;
    RETURN QUERY
    WITH given AS (
        SELECT e.source, e.occurred_at, e.event_id,
               coalesce(e.traits -> trait.path, e.traits #> string_to_array(trait.path, '.'),
                        e.context -> 'traits' -> trait.path, e.context #> ('{traits}' || string_to_array(trait.path, '.'))) AS said
        FROM cdp.identifier i JOIN cdp.event e ON e.identifier_id = i.identifier_id
        WHERE i.profile_id = cdp.resolve(explain_field.type, explain_field.value) AND e.type = 'identify'),
    latest AS (
        SELECT DISTINCT ON (g.source) g.*,
               coalesce(array_position(trait.sources, g.source), array_position(trait.sources, '*'), cardinality(trait.sources) + 1, 0) AS place
        FROM given g WHERE g.said IS NOT NULL ORDER BY g.source, g.occurred_at DESC, g.event_id DESC)
    SELECT l.source, l.said, l.occurred_at, l.event_id,
           CASE WHEN trait.aggregate IN ('last', 'source_priority') THEN row_number() OVER by_rank = 1 END
    FROM latest l WINDOW by_rank AS (ORDER BY l.place, l.occurred_at DESC, l.event_id DESC)
    ORDER BY l.place, l.occurred_at DESC, l.event_id DESC;
END $$;
COMMENT ON FUNCTION cdp.explain_field(text, text, text) IS
    'What each source last said of a declared trait of whoever has the identifier, and whose value holds by the trait''s survivorship (NULL: it is neither last nor source_priority).';
REVOKE ALL ON FUNCTION cdp.explain_field(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.get_profile(type text, value text) RETURNS jsonb
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_get_profile';
COMMENT ON FUNCTION cdp.get_profile(text, text) IS
    'The whole person that an identifier belongs to: profile_id, first_seen_at, last_seen_at, event_count, traits (with those declared and computed), identifiers, segments, accounts, consents, and whether they are suppressed. NULL if nobody has it. Personal data are masked unless the caller is a member of cdp_pii.';
REVOKE ALL ON FUNCTION cdp.get_profile(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.get_profile(text, text) TO cdp_marketer, cdp_analyst, cdp_pii;

CREATE FUNCTION cdp.timeline(
        profile_id bigint, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, max_rows int DEFAULT 100)
    RETURNS SETOF cdp.profile_event
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT i.profile_id, e.*
    FROM cdp.identifier i JOIN cdp.event e USING (identifier_id)
    WHERE i.profile_id = coalesce((SELECT a.profile_id FROM cdp.profile_alias a WHERE a.alias_id = timeline.profile_id), timeline.profile_id)
      AND e.occurred_at >= coalesce(since, '-infinity') AND e.occurred_at < coalesce(until, 'infinity')
    ORDER BY e.occurred_at DESC, e.event_id DESC
    LIMIT max_rows
$$;
COMMENT ON FUNCTION cdp.timeline(bigint, timestamptz, timestamptz, int) IS
    'A person''s events from since (inclusive) until (exclusive), newest first; max_rows NULL is all. An id that was merged away is understood.';
REVOKE ALL ON FUNCTION cdp.timeline(bigint, timestamptz, timestamptz, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.timeline(bigint, timestamptz, timestamptz, int) TO cdp_pii;
