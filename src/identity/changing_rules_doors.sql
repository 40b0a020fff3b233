-- changing_rules_doors.sql: what identity rules that change would do, and doing it; importing links.

CREATE FUNCTION cdp.propose_identity_rules(types jsonb, blocked jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    type record;
    paths text[];
BEGIN
    IF jsonb_typeof(types) <> 'object' THEN
        RAISE EXCEPTION 'types must be a JSON object'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example {"device_id": {"max_per_profile": 3}}.';
    END IF;
    IF jsonb_typeof(blocked) <> 'array' OR EXISTS (
            SELECT FROM jsonb_array_elements(CASE WHEN jsonb_typeof(blocked) = 'array' THEN blocked ELSE '[]' END) b
            WHERE jsonb_typeof(b -> 'type') IS DISTINCT FROM 'string' OR jsonb_typeof(b -> 'pattern') IS DISTINCT FROM 'string'
               OR b - '{type,pattern}'::text[] <> '{}') THEN
        RAISE EXCEPTION 'blocked must be a JSON array of types and patterns'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example [{"type": "*", "pattern": "^test$"}].';
    END IF;
    FOR type IN SELECT key, value, EXISTS (SELECT FROM cdp.identifier_type t WHERE t.name = key AND t.dropped_at IS NULL) AS known FROM jsonb_each(types) LOOP
        IF jsonb_typeof(type.value) <> 'object' OR type.value - '{priority,max_per_profile,normalizer,paths}'::text[] <> '{}'
           OR jsonb_typeof(type.value -> 'paths') NOT IN ('array', 'null') THEN
            RAISE EXCEPTION 'invalid rule for identifier type "%"', type.key
                USING ERRCODE = 'invalid_parameter_value', HINT = 'A type may have priority, max_per_profile, normalizer and paths, which is an array.';
        END IF;
        paths := CASE WHEN jsonb_typeof(type.value -> 'paths') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text(type.value -> 'paths')) END;
        IF type.known THEN
            PERFORM cdp.alter_identifier_type(type.key, (type.value ->> 'priority')::int, (type.value ->> 'max_per_profile')::int,
                                              type.value ->> 'normalizer', paths);
        ELSE
            PERFORM cdp.create_identifier_type(type.key, (type.value ->> 'priority')::int, (type.value ->> 'max_per_profile')::int,
                                               coalesce(type.value ->> 'normalizer', 'none'), coalesce(paths, '{}'));
        END IF;
    END LOOP;
    PERFORM cdp.block_identifier(b ->> 'type', b ->> 'pattern') FROM jsonb_array_elements(blocked) b;
END $$;
COMMENT ON FUNCTION cdp.propose_identity_rules(jsonb, jsonb) IS 'Internal: puts proposed rules in place; cdp.preview_identity_rules takes that back.';
REVOKE ALL ON FUNCTION cdp.propose_identity_rules(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION cdp.preview_identity_rules(
        types jsonb DEFAULT '{}', blocked jsonb DEFAULT '[]',
        OUT change text, OUT profile_id bigint, OUT profiles bigint[], OUT number bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_preview_identity_rules';
COMMENT ON FUNCTION cdp.preview_identity_rules(jsonb, jsonb) IS
    'What would change if the rules, with those proposed, had always held; changes nothing, but puts the proposed ones in place for a moment and keeps the pipeline waiting, so a standby cannot. types: {"device_id": {"priority": 4, "max_per_profile": 3, "normalizer": "none", "paths": [...]}}, what is not named stays; blocked: [{"type": "*", "pattern": "^test$"}]. A row for each profile that would come of several (merge: profiles are those, number its identifiers), fall into several (split: profiles are those of its parts that have an id, number its parts) or get identifiers that nobody has (grow: number of them); profile_id NULL: a new one.';
REVOKE ALL ON FUNCTION cdp.preview_identity_rules(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION cdp.apply_identity_rules(OUT change text, OUT profile_id bigint, OUT profiles bigint[], OUT number bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_apply_identity_rules';
COMMENT ON FUNCTION cdp.apply_identity_rules() IS
    'Makes everybody who they were if the rules had always been those of now: all kept events again, in their order, with links by hand and matches, and what was taken back and taken apart. A profile_id stays with the profile''s strongest identifier. Returns what changed, as cdp.preview_identity_rules does. Keeps the pipeline waiting meanwhile.';
REVOKE ALL ON FUNCTION cdp.apply_identity_rules() FROM PUBLIC;

CREATE FUNCTION cdp.import_links(relation regclass, reason text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_import_links';
COMMENT ON FUNCTION cdp.import_links(regclass, text) IS
    'Joins pairs of identifiers, all at once: each row of a table or view with the columns type_a, value_a, type_b, value_b, in its order, as a message that carries the two would, subject to limits and separations. Returns how many links were made; rows that are left out are kept in cdp.refused_link with the reason, and a NOTICE says how many they are. Keeps all identifiers in memory, and the pipeline waiting, meanwhile.';
REVOKE ALL ON FUNCTION cdp.import_links(regclass, text) FROM PUBLIC;
