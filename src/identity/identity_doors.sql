-- identity_doors.sql: configuring identifier types, finding people, merging them by hand.

CREATE FUNCTION cdp.resolve(type text, value text) RETURNS bigint
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_resolve';
COMMENT ON FUNCTION cdp.resolve(text, text) IS
    'The profile that an identifier belongs to now, or NULL. The value is normalised as its type says.';
REVOKE ALL ON FUNCTION cdp.resolve(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.resolve(text, text) TO cdp_marketer, cdp_analyst, cdp_pii;

CREATE FUNCTION cdp.merge_profiles(a bigint, b bigint, reason text) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_merge_profiles';
COMMENT ON FUNCTION cdp.merge_profiles(bigint, bigint, text) IS
    'Makes two profiles one because you say so, whatever the limits of identifiers; returns the survivor, the one with the lower id. Ids that were merged away are understood.';
REVOKE ALL ON FUNCTION cdp.merge_profiles(bigint, bigint, text) FROM PUBLIC;

CREATE FUNCTION cdp.create_identifier_type(
        name text, priority int, max_per_profile int DEFAULT NULL, normalizer text DEFAULT 'none', paths text[] DEFAULT '{}')
    RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    PERFORM cdp.check_identifier_type(name, priority, max_per_profile, normalizer, paths);
    IF EXISTS (SELECT FROM cdp.identifier_type t WHERE t.name = create_identifier_type.name AND t.dropped_at IS NULL) THEN
        RAISE EXCEPTION 'identifier type "%" already exists', name
            USING ERRCODE = 'duplicate_object', HINT = 'Change it with cdp.alter_identifier_type.';
    END IF;
    -- A type that was dropped comes back: identifiers of it may still be there.
    UPDATE cdp.identifier_type t
       SET priority = create_identifier_type.priority, max_per_profile = create_identifier_type.max_per_profile,
           normalizer = create_identifier_type.normalizer, paths = coalesce(create_identifier_type.paths, '{}'), dropped_at = NULL
     WHERE t.name = create_identifier_type.name;
    IF NOT FOUND THEN
        INSERT INTO cdp.identifier_type (type_id, name, priority, max_per_profile, normalizer, paths)
        VALUES (nextval('cdp.identifier_type_id_seq'), name, priority, max_per_profile, normalizer, coalesce(paths, '{}'));
    END IF;
    PERFORM cdp.refresh_views();  -- what identifies is personal
    PERFORM cdp.touch_configuration();
    PERFORM cdp.check_definitions();
END $$;
COMMENT ON FUNCTION cdp.create_identifier_type(text, int, int, text, text[]) IS
    'Declares a type of identifiers. priority: 1 is strongest; max_per_profile: NULL is no limit; normalizer: none, trim, lower, email or phone; paths: where messages carry it, e.g. context.ids.loyalty, traits.tax_id (of identify), properties.order_email.';
REVOKE ALL ON FUNCTION cdp.create_identifier_type(text, int, int, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.alter_identifier_type(
        name text, priority int DEFAULT NULL, max_per_profile int DEFAULT NULL, normalizer text DEFAULT NULL, paths text[] DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    old record;
BEGIN
    PERFORM cdp.lock_pipeline();
    SELECT * INTO old FROM cdp.identifier_type t WHERE t.name = alter_identifier_type.name AND t.dropped_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'identifier type "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'cdp.identifier_type lists them.';
    END IF;
    old.priority := coalesce(priority, old.priority);
    -- NULL leaves the limit as it is; 0 takes it away.
    old.max_per_profile := CASE WHEN max_per_profile = 0 THEN NULL ELSE coalesce(max_per_profile, old.max_per_profile) END;
    old.normalizer := coalesce(normalizer, old.normalizer);
    old.paths := coalesce(paths, old.paths);
    PERFORM cdp.check_identifier_type(old.name, old.priority, old.max_per_profile, old.normalizer, old.paths);
    UPDATE cdp.identifier_type t
       SET priority = old.priority, max_per_profile = old.max_per_profile, normalizer = old.normalizer, paths = old.paths
     WHERE t.type_id = old.type_id;
    PERFORM cdp.refresh_views();  -- what identifies is personal
    PERFORM cdp.touch_configuration();
    PERFORM cdp.check_definitions();
END $$;
COMMENT ON FUNCTION cdp.alter_identifier_type(text, int, int, text, text[]) IS
    'Changes a type of identifiers for messages from now on; what is NULL stays as it is, max_per_profile 0 is no limit.';
REVOKE ALL ON FUNCTION cdp.alter_identifier_type(text, int, int, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.drop_identifier_type(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    IF name IN ('user_id', 'anonymous_id') THEN
        RAISE EXCEPTION 'identifier type "%" cannot be dropped', name
            USING ERRCODE = 'dependent_objects_still_exist', DETAIL = 'It is a field of every message.',
                  HINT = 'cdp.block_identifier(''' || name || ''', ''.*'') makes its values identify nobody.';
    END IF;
    UPDATE cdp.identifier_type t SET dropped_at = now() WHERE t.name = drop_identifier_type.name AND t.dropped_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'identifier type "%" does not exist', name USING ERRCODE = 'undefined_object', HINT = 'cdp.identifier_type lists them.';
    END IF;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.drop_identifier_type(text) IS
    'Messages from now on carry no identifiers of this type. Those known stay with their profiles.';
REVOKE ALL ON FUNCTION cdp.drop_identifier_type(text) FROM PUBLIC;

CREATE FUNCTION cdp.check_identifier_type(name text, priority int, max_per_profile int, normalizer text, paths text[]) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    path text;
BEGIN
    IF name IS NULL OR name !~ '^[A-Za-z_][A-Za-z0-9_.-]{0,62}$' THEN
        RAISE EXCEPTION 'invalid name of an identifier type: "%"', name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Up to 63 letters, digits and _ . -, not beginning with a digit.';
    END IF;
    IF name = 'profile_id' THEN
        RAISE EXCEPTION 'an identifier type cannot be named "profile_id"' USING ERRCODE = 'reserved_name', HINT = 'Destinations and others name the profile itself so.';
    END IF;
    IF priority IS NULL OR priority < 1 THEN
        RAISE EXCEPTION 'priority must be at least 1' USING ERRCODE = 'invalid_parameter_value', HINT = '1 is strongest.';
    END IF;
    IF max_per_profile < 1 THEN
        RAISE EXCEPTION 'max_per_profile must be at least 1' USING ERRCODE = 'invalid_parameter_value', HINT = 'Without a limit: NULL when it is created, 0 when it is altered.';
    END IF;
    IF normalizer IS NULL OR normalizer NOT IN ('none', 'trim', 'lower', 'email', 'phone') THEN
        RAISE EXCEPTION 'normalizer "%" does not exist', normalizer
            USING ERRCODE = 'undefined_object', HINT = 'There are none, trim, lower, email and phone.';
    END IF;
    FOREACH path IN ARRAY coalesce(paths, '{}') LOOP
        IF path IS NULL OR path !~ '^(traits|context|properties)(\.[^.]+)+$' THEN
            RAISE EXCEPTION 'invalid path of identifier type "%": "%"', name, path
                USING ERRCODE = 'invalid_parameter_value', HINT = 'It begins with traits., context. or properties.';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.check_identifier_type(text, int, int, text, text[]) IS 'Internal: raises what is wrong with an identifier type.';
REVOKE ALL ON FUNCTION cdp.check_identifier_type(text, int, int, text, text[]) FROM PUBLIC;

CREATE FUNCTION cdp.block_identifier(type text, pattern text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    IF type IS DISTINCT FROM '*' AND NOT EXISTS (SELECT FROM cdp.identifier_type t WHERE t.name = type AND t.dropped_at IS NULL) THEN
        RAISE EXCEPTION 'identifier type "%" does not exist', type
            USING ERRCODE = 'undefined_object', HINT = 'Type * blocks the pattern for all types.';
    END IF;
    IF pattern IS NULL THEN
        RAISE EXCEPTION 'pattern must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM '' ~ pattern;  -- raises invalid_regular_expression
    INSERT INTO cdp.blocked_identifier AS b (type, pattern) VALUES (type, pattern) ON CONFLICT DO NOTHING;
    PERFORM cdp.touch_configuration();
END $$;
COMMENT ON FUNCTION cdp.block_identifier(text, text) IS
    'From now on, values of the type (* is all) that match the regular expression identify nobody. Anchor it with ^ and $ to block whole values only.';
REVOKE ALL ON FUNCTION cdp.block_identifier(text, text) FROM PUBLIC;
