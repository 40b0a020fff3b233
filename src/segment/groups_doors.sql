-- groups_doors.sql: segments from a list of identifiers, random splits, priority lists.

CREATE FUNCTION cdp.on_list(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_only_in_condition';
COMMENT ON FUNCTION cdp.on_list(text) IS
    'Internal: the condition of a segment that cdp.import_segment made. Elsewhere call cdp.in_segment.';

CREATE FUNCTION cdp.import_segment(name text, type text, "values" text[]) RETURNS bigint
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_import_segment';
COMMENT ON FUNCTION cdp.import_segment(text, text, text[]) IS
    'Makes a segment of the people who have these identifiers, or gives one made so before another list, and returns its size. Whoever has one of them later enters then: a NOTICE counts those that nobody has yet.';

CREATE FUNCTION cdp.split_share(split text, profile_id bigint) RETURNS double precision
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_split_share';
COMMENT ON FUNCTION cdp.split_share(text, bigint) IS
    'Where somebody falls in a random split: from 0 up to 100, evenly, independently of other splits, and the same for ever. 100 × h / 2⁵³, h being the upper 53 bits of XXH3-64 of the split''s name in UTF-8 and the profile_id as eight bytes, the least significant first.';

CREATE FUNCTION cdp.split_segment(name text, shares jsonb, split text DEFAULT NULL, OUT segment text, OUT size bigint) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    split_name text := coalesce(split, name);
    bad text;
    total numeric;
    share record;
BEGIN
    IF name IS NULL THEN
        RAISE EXCEPTION 'the name of a segment must not be null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF jsonb_typeof(shares) IS DISTINCT FROM 'object' OR shares = '{}' THEN
        RAISE EXCEPTION 'shares must be an object of names and percentages' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'For example {"a": 50, "control": 50}.';
    END IF;
    SELECT s.key INTO bad FROM jsonb_each(shares) s
    WHERE CASE WHEN jsonb_typeof(s.value) = 'number' THEN s.value::numeric <= 0 ELSE true END ORDER BY s.key COLLATE "C" LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'share "%" must be a number above 0', bad USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT sum(s.value::numeric) INTO total FROM jsonb_each(shares) s;
    IF total > 100 THEN
        RAISE EXCEPTION 'shares must not exceed 100 per cent together' USING ERRCODE = 'invalid_parameter_value',
            DETAIL = format('They are %s.', trim_scale(total));
    ELSIF NOT EXISTS (SELECT FROM cdp.segment s WHERE s.name = split_segment.name) THEN
        RAISE EXCEPTION 'segment "%" does not exist', name USING ERRCODE = 'undefined_object',
            HINT = 'cdp.segment lists them; cdp.create_segment makes others.';
    END IF;
    FOR share IN
        SELECT s.key, s.value::numeric AS part, sum(s.value::numeric) OVER (ORDER BY s.key COLLATE "C") AS upto
        FROM jsonb_each(shares) s ORDER BY s.key COLLATE "C"
    LOOP
        segment := split_name || '_' || share.key;
        size := cdp.create_segment(segment,
            format('cdp.in_segment(%L)', name)
                || CASE WHEN share.upto > share.part
                        THEN format(' AND cdp.split_share(%L, profile_id) >= %s', split_name, trim_scale(share.upto - share.part)) ELSE '' END
                || format(' AND cdp.split_share(%L, profile_id) < %s', split_name, trim_scale(share.upto)),
            format('%s %% of segment %s', trim_scale(share.part), name));
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.split_segment(text, jsonb, text) IS
    'Splits a segment at random, for ever: shares maps names to percentages, and for each a segment <split>_<name> is made (split: that of the segment, if not given). The shares lie one after the other in the order of their names (by bytes), from 0 on; who falls in none is in none. By cdp.split_share of the split''s name: whoever enters the segment again is in the same share again, and people who become one are in that of the profile_id that survives.';

CREATE FUNCTION cdp.create_priority_list(name text, segments text[], OUT segment text, OUT size bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_create_priority_list';
COMMENT ON FUNCTION cdp.create_priority_list(text, text[]) IS
    'Makes for each of these segments another, named <list>_<segment>, of those who are in it and in none before it: everybody is in the first of the list that fits only. They stay so, live.';

CREATE FUNCTION cdp.drop_priority_list(name text) RETURNS void
    LANGUAGE c VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_priority_list';
COMMENT ON FUNCTION cdp.drop_priority_list(text) IS
    'Drops a priority list with the segments that it made. Refused while another segment or a destination uses one of them.';

REVOKE ALL ON FUNCTION cdp.on_list(text), cdp.import_segment(text, text, text[]), cdp.split_share(text, bigint), cdp.split_segment(text, jsonb, text),
    cdp.create_priority_list(text, text[]), cdp.drop_priority_list(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.on_list(text), cdp.import_segment(text, text, text[]), cdp.split_share(text, bigint), cdp.split_segment(text, jsonb, text),
    cdp.create_priority_list(text, text[]), cdp.drop_priority_list(text) TO cdp_marketer, cdp_admin;
