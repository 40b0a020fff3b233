-- govern.sql: who sees what of a person, and how a dump comes back.

-- What is personal ----------------------------------------------------------------------------------------------

CREATE FUNCTION cdp.sees_personal() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_sees_personal';
COMMENT ON FUNCTION cdp.sees_personal() IS
    'Whether you may see personal data: as a member of cdp_pii or cdp_admin, or a superuser.';

CREATE FUNCTION cdp.looks_personal(name text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_looks_personal';
COMMENT ON FUNCTION cdp.looks_personal(text) IS
    'Whether a field of that name (or dotted path) looks like personal data: a contact, a name, an address, a date of birth, a number of an account or a document, an identifier.';

CREATE FUNCTION cdp.profile_columns(
        OUT attnum smallint, OUT name name, OUT type text, OUT is_text boolean, OUT personal boolean) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    -- A trait is personal as somebody said, else as its names look, or where identifiers are read from; of computed
    -- ones only those can be that hold values as they came. A column that is nobody's trait holds who knows what.
    SELECT a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid = 'text'::regtype,
           CASE WHEN a.attname IN ('profile_id', 'first_seen_at', 'last_seen_at', 'event_count', 'traits') THEN false
                WHEN t.name IS NULL THEN true
                WHEN t.personal IS NOT NULL THEN t.personal
                WHEN t.kind = 'declared' THEN
                    cdp.looks_personal(t.name) OR cdp.looks_personal(t.path)
                    OR EXISTS (SELECT FROM cdp.identifier_type i WHERE 'traits.' || t.path = ANY (i.paths))
                WHEN t.aggregate IN ('first', 'last', 'most_frequent', 'unique_list') THEN
                    cdp.looks_personal(t.path)
                    OR EXISTS (SELECT FROM cdp.identifier_type i WHERE 'properties.' || t.path = ANY (i.paths))
                ELSE false
           END
    FROM pg_attribute a LEFT JOIN cdp.trait t ON t.name = a.attname
    WHERE a.attrelid = to_regclass('cdp.profile') AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'state'
$$;
COMMENT ON FUNCTION cdp.profile_columns() IS
    'Internal: the columns of cdp.profile that readers see, and which of them are personal.';

-- As init-plans of the views below these are computed once a query.
CREATE FUNCTION cdp.masked_keys(OUT open_traits text[], OUT closed_traits text[], OUT closed_properties text[], OUT closed_context text[])
    RETURNS record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(array_agg(t.path) FILTER (WHERE NOT c.personal), '{}'),
           coalesce(array_agg(t.path) FILTER (WHERE c.personal), '{}') || i.traits,
           i.properties, i.context
    FROM (cdp.trait t JOIN cdp.profile_columns() c ON c.name = t.name AND t.kind = 'declared')
         RIGHT JOIN (SELECT coalesce(array_agg(substring(p FROM 8)) FILTER (WHERE p LIKE 'traits.%'), '{}'),
                            coalesce(array_agg(substring(p FROM 12)) FILTER (WHERE p LIKE 'properties.%'), '{}'),
                            coalesce(array_agg(substring(p FROM 9)) FILTER (WHERE p LIKE 'context.%'), '{}')
                     FROM cdp.identifier_type, unnest(paths) p) i (traits, properties, context) ON true
    GROUP BY i.traits, i.properties, i.context
$$;
COMMENT ON FUNCTION cdp.masked_keys() IS
    'Internal: the keys in JSON that are personal, or not, by configuration and not by name: those of declared traits, and those that identifiers are read from.';

CREATE FUNCTION cdp.mask_traits(traits jsonb, open text[], closed text[]) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_mask_traits';
COMMENT ON FUNCTION cdp.mask_traits(jsonb, text[], text[]) IS
    'Internal: traits as those see them who may not see personal data. Keys in open stay; of the others only numbers and booleans do whose key does not look personal.';

CREATE FUNCTION cdp.mask_properties(properties jsonb, closed text[]) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_mask_properties';
COMMENT ON FUNCTION cdp.mask_properties(jsonb, text[]) IS
    'Internal: properties as those see them who may not see personal data: without what is closed, or looks personal by its key, or holds an e-mail address.';

CREATE FUNCTION cdp.mask_context(context jsonb, closed text[]) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_mask_context';
COMMENT ON FUNCTION cdp.mask_context(jsonb, text[]) IS
    'Internal: a context as those see it who may not see personal data: active, app, campaign, library, locale, network, os, page, screen and timezone, masked as properties are; nothing of the rest.';

CREATE FUNCTION cdp.set_personal(trait text, personal boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    UPDATE cdp.trait t SET personal = set_personal.personal WHERE t.name = trait;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'trait "%" does not exist', trait USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM cdp.refresh_views();
    PERFORM cdp.touch_configuration();
    PERFORM cdp.check_definitions();  -- a segment of somebody who may not read it any more
END $$;
COMMENT ON FUNCTION cdp.set_personal(text, boolean) IS
    'Says whether a trait is personal: then who may not see personal data sees it masked, and makes no segments of it. NULL: its name and path decide, and a computed trait is not personal unless it holds such values as they came. Refused while a segment reads the trait whose owner may then not.';

-- The views -----------------------------------------------------------------------------------------------------
--
-- cdp.profile_masked and the views in cdp_segment follow the columns of cdp.profile, so they are made as those come
-- and go, and are no members of the extension: a dump has them as they are. To change a column of your own, call
-- drop_views(), alter the table, call refresh_views().

CREATE TABLE cdp.kept_grant (
    view      text NOT NULL,
    grantee   oid NOT NULL,
    grantable boolean NOT NULL
);
COMMENT ON TABLE cdp.kept_grant IS 'Internal: who could read a view that drop_views() dropped, until refresh_views() makes it again.';

CREATE FUNCTION cdp.view_shape(view regclass) RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(array_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum), '{}')
    FROM pg_attribute a WHERE a.attrelid = view AND a.attnum > 0
$$;
COMMENT ON FUNCTION cdp.view_shape(regclass) IS 'Internal: the columns of a view and their types; none if it is not there.';

CREATE FUNCTION cdp.grant_view(view text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kept record;
BEGIN
    EXECUTE format('GRANT SELECT ON %s TO cdp_marketer, cdp_analyst, cdp_pii, cdp_admin', view);
    FOR kept IN DELETE FROM cdp.kept_grant g WHERE g.view = grant_view.view RETURNING g.grantee, g.grantable LOOP
        CONTINUE WHEN kept.grantee <> 0 AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = kept.grantee);
        EXECUTE format('GRANT SELECT ON %s TO %s%s', view,
                       CASE kept.grantee WHEN 0 THEN 'PUBLIC' ELSE kept.grantee::regrole::text END,
                       CASE WHEN kept.grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.grant_view(text) IS 'Internal: lets those read a view that was just made who may.';

CREATE FUNCTION cdp.grant_profile_columns() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    role_name text;
    change record;
BEGIN
    EXECUTE 'GRANT SELECT ON cdp.profile TO cdp_pii';
    EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES ON cdp.profile TO cdp_admin';
    -- What segments of theirs may read. Not traits, since it holds what is personal too.
    FOREACH role_name IN ARRAY ARRAY['cdp_marketer', 'cdp_analyst'] LOOP
        FOR change IN
            SELECT c.wanted, string_agg(quote_ident(c.name), ', ' ORDER BY c.attnum) AS columns
            FROM (SELECT a.attname AS name, a.attnum, NOT coalesce(p.personal OR p.name = 'traits', true) AS wanted,
                         EXISTS (SELECT FROM aclexplode(a.attacl) g
                                 WHERE g.grantee = role_name::regrole AND g.privilege_type = 'SELECT') AS granted
                  FROM pg_attribute a LEFT JOIN cdp.profile_columns() p USING (attnum)
                  WHERE a.attrelid = 'cdp.profile'::regclass AND a.attnum > 0 AND NOT a.attisdropped) c
            WHERE c.wanted <> c.granted GROUP BY c.wanted
        LOOP
            EXECUTE format(CASE WHEN change.wanted THEN 'GRANT SELECT (%s) ON cdp.profile TO %I'
                                ELSE 'REVOKE SELECT (%s) ON cdp.profile FROM %I' END, change.columns, role_name);
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION cdp.grant_profile_columns() IS
    'Internal: lets cdp_marketer and cdp_analyst read exactly the columns of cdp.profile that are not personal.';

CREATE FUNCTION cdp.refresh_views() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    expressions text;
    shape text[];
    remark text;
    masked regclass := to_regclass('cdp.profile_masked');
    segment record;
    view text;
BEGIN
    SELECT string_agg(CASE WHEN c.name = 'traits' THEN
                          'CASE WHEN (SELECT cdp.sees_personal()) THEN p.traits ELSE cdp.mask_traits(p.traits, '
                          '(SELECT k.open_traits FROM cdp.masked_keys() k), (SELECT k.closed_traits FROM cdp.masked_keys() k)) END AS traits'
                      WHEN NOT c.personal THEN format('p.%I', c.name)
                      ELSE format('CAST(CASE WHEN (SELECT cdp.sees_personal()) THEN p.%1$I%3$s END AS %2$s) AS %1$I', c.name, c.type,
                                  CASE WHEN c.is_text THEN format(' WHEN p.%I IS NOT NULL THEN ''***''', c.name) ELSE '' END)
                      END, ', ' ORDER BY c.attnum),
           array_agg(quote_ident(c.name) || ' ' || c.type ORDER BY c.attnum),
           'The profiles as you may see them: with personal data masked unless you are a member of cdp_pii or cdp_admin. Masked: '
               || coalesce(string_agg(quote_ident(c.name), ', ' ORDER BY c.attnum) FILTER (WHERE c.personal), 'no column')
               || ', and in traits.'
    INTO expressions, shape, remark
    FROM cdp.profile_columns() c;

    -- Made again only if they change, since that waits for their readers. Its comment says the rest of its definition.
    IF cdp.view_shape(masked) <> shape[:cardinality(cdp.view_shape(masked))] THEN
        PERFORM cdp.drop_views();
    END IF;
    IF to_regclass('cdp.profile_masked') IS NULL OR cdp.view_shape(masked) <> shape OR obj_description(masked, 'pg_class') IS DISTINCT FROM remark THEN
        masked := to_regclass('cdp.profile_masked');
        EXECUTE 'CREATE OR REPLACE VIEW cdp.profile_masked AS SELECT ' || expressions || ' FROM cdp.profile p';
        EXECUTE format('COMMENT ON VIEW cdp.profile_masked IS %L', remark);
        IF masked IS NULL THEN
            PERFORM cdp.grant_view('cdp.profile_masked');
        END IF;
    END IF;

    FOR segment IN
        SELECT s.segment_id, s.name, s.description, c.oid IS NULL AS is_new, c.relkind <> 'v' AS in_the_way
        FROM cdp.segment s LEFT JOIN pg_class c ON c.relname = s.name AND c.relnamespace = 'cdp_segment'::regnamespace
        WHERE c.oid IS NULL OR c.relkind <> 'v' OR cdp.view_shape(c.oid) <> shape
    LOOP
        view := format('cdp_segment.%I', segment.name);
        IF segment.in_the_way THEN
            RAISE EXCEPTION '% is no view', view USING ERRCODE = 'wrong_object_type',
                HINT = 'It is in the way of the segment''s view of its members. Drop it, or move it to another schema.';
        END IF;
        EXECUTE format('CREATE OR REPLACE VIEW %s AS SELECT p.* FROM cdp.segment_member m JOIN cdp.profile_masked p'
                       ' ON p.profile_id = m.profile_id WHERE m.segment_id = %s', view, segment.segment_id);
        EXECUTE format('COMMENT ON VIEW %s IS %L', view, segment.description);
        IF segment.is_new THEN
            PERFORM cdp.grant_view(view);
        END IF;
    END LOOP;

    PERFORM cdp.grant_profile_columns();
END $$;
COMMENT ON FUNCTION cdp.refresh_views() IS
    'Makes cdp.profile_masked and the views of segments follow the columns of cdp.profile, and lets cdp_marketer and cdp_analyst read those that are not personal.';

CREATE FUNCTION cdp.drop_views() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    views text[];
    dependents text;
BEGIN
    SELECT array_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname)) INTO views
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'v' AND (n.nspname = 'cdp' AND c.relname = 'profile_masked'
                               OR n.nspname = 'cdp_segment' AND c.relname IN (SELECT s.name FROM cdp.segment s));
    IF views IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM cdp.kept_grant;
    INSERT INTO cdp.kept_grant (view, grantee, grantable)
    SELECT v, g.grantee, g.is_grantable
    FROM unnest(views) v JOIN pg_class c ON c.oid = v::regclass, aclexplode(c.relacl) g
    WHERE g.privilege_type = 'SELECT' AND g.grantee <> c.relowner
      AND g.grantee NOT IN (SELECT r.oid FROM pg_roles r WHERE r.rolname IN ('cdp_marketer', 'cdp_analyst', 'cdp_pii', 'cdp_admin'));
    EXECUTE 'DROP VIEW ' || array_to_string(views, ', ');
EXCEPTION WHEN dependent_objects_still_exist THEN
    GET STACKED DIAGNOSTICS dependents = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION 'other objects depend on the views of profiles' USING ERRCODE = 'dependent_objects_still_exist',
        DETAIL = dependents, HINT = 'Drop them first, and make them again afterwards.';
END $$;
COMMENT ON FUNCTION cdp.drop_views() IS
    'Drops cdp.profile_masked and the views of segments, so that columns of cdp.profile can be dropped or changed; refresh_views() makes them again.';

CREATE VIEW cdp.identifier_masked AS
    SELECT i.identifier_id, i.type, CASE WHEN (SELECT cdp.sees_personal()) THEN i.value ELSE '***' END AS value,
           i.profile_id, i.first_seen_at, i.last_seen_at
    FROM cdp.identifier i;
COMMENT ON VIEW cdp.identifier_masked IS
    'The identifiers as you may see them: values masked unless you are a member of cdp_pii or cdp_admin.';

-- The join costs only those who ask for profile_id.
CREATE VIEW cdp.event_masked AS
    SELECT i.profile_id, e.event_id, e.message_id, e.type, e.event, e.source, e.identifier_id, e.occurred_at, e.received_at, e.sent_at,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.user_id WHEN e.user_id IS NOT NULL THEN '***' END AS user_id,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.anonymous_id WHEN e.anonymous_id IS NOT NULL THEN '***' END AS anonymous_id,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.previous_id WHEN e.previous_id IS NOT NULL THEN '***' END AS previous_id,
           e.group_id, e.linked_ids,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.properties
                ELSE cdp.mask_properties(e.properties, (SELECT k.closed_properties FROM cdp.masked_keys() k)) END AS properties,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.traits
                ELSE cdp.mask_traits(e.traits, (SELECT k.open_traits FROM cdp.masked_keys() k),
                                     (SELECT k.closed_traits FROM cdp.masked_keys() k)) END AS traits,
           CASE WHEN (SELECT cdp.sees_personal()) THEN e.context
                ELSE cdp.mask_context(e.context, (SELECT k.closed_context FROM cdp.masked_keys() k)) END AS context
    FROM cdp.event e LEFT JOIN cdp.identifier i ON i.identifier_id = e.identifier_id;
COMMENT ON VIEW cdp.event_masked IS
    'The events as you may see them, each with the profile it belongs to now. Unless you are a member of cdp_pii or cdp_admin: user_id, anonymous_id and previous_id are masked; of traits what masks them in cdp.profile_masked; of context all that describes a person or a device; of properties the keys that look personal or that identifiers are read from, and texts that hold an e-mail address.';

-- Restoring a dump ----------------------------------------------------------------------------------------------
--
-- A dump begins with CREATE EXTENSION, which makes a blank cdp.profile, and then has CREATE TABLE cdp.profile with
-- all the columns that it had gained, its indexes, its grants and its publications: a table that is no member of the
-- extension comes back whole. So the blank one has to go out of the way first. What has a row, or a trait, is not blank.
--
-- The restored table has no primary key until the end, and until then nothing may be processed, though restoring the
-- inbox wakes the worker: Traits::Load refuses. Under pg_restore --jobs the key may come before the last rows of
-- other tables, therefore the mark below: while it is there and a pg_restore is connected, it refuses as well.

CREATE TABLE cdp.restored (
    since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cdp.restored IS
    'Internal: cdp.profile is being put back from a dump since then; emptied by the first batch afterwards.';

CREATE FUNCTION cdp.drop_blank_profile() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM cdp.lock_pipeline();
    IF EXISTS (SELECT FROM cdp.profile) OR EXISTS (SELECT FROM cdp.trait) THEN
        RETURN;  -- CREATE TABLE will say that it exists.
    END IF;
    PERFORM cdp.drop_views();
    DROP TABLE cdp.profile;
    INSERT INTO cdp.restored DEFAULT VALUES;
END $$;
COMMENT ON FUNCTION cdp.drop_blank_profile() IS
    'Internal: drops cdp.profile if nothing was ever put into it.';

CREATE FUNCTION cdp.replace_blank_profile() RETURNS event_trigger
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_replace_blank_profile';
COMMENT ON FUNCTION cdp.replace_blank_profile() IS
    'Internal: before CREATE TABLE cdp.profile, which a dump has, drops the blank one that CREATE EXTENSION made.';
CREATE EVENT TRIGGER cdp_replace_blank_profile ON ddl_command_start WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION cdp.replace_blank_profile();

CREATE FUNCTION cdp.being_restored() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_index x
                                 WHERE x.indrelid = to_regclass('cdp.profile') AND x.indisprimary AND x.indisvalid)
                THEN 'cdp.profile has no primary key'
                WHEN EXISTS (SELECT FROM cdp.restored) AND EXISTS (
                         SELECT FROM pg_stat_activity s
                         WHERE s.datname = current_database() AND s.application_name = 'pg_restore' AND s.pid <> pg_backend_pid())
                THEN 'the database is being restored'
                -- Between its parallel jobs and the granting of rights, which comes last, pg_restore is not connected for a moment.
                WHEN EXISTS (SELECT FROM cdp.restored) AND NOT has_table_privilege('cdp_pii', to_regclass('cdp.profile'), 'SELECT')
                THEN 'the rights on cdp.profile are not restored yet' END
$$;
COMMENT ON FUNCTION cdp.being_restored() IS
    'Internal: why nothing can be processed until pg_restore is done; NULL if it can.';

CREATE FUNCTION cdp.check_definitions() RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_check_definitions';
COMMENT ON FUNCTION cdp.check_definitions() IS
    'Internal: reads all definitions of identifier types, traits and segments as the pipeline does, and raises what keeps it from running, or one of them from being kept current, unless that is known.';

CREATE FUNCTION cdp.library_version() RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_library_version';
COMMENT ON FUNCTION cdp.library_version() IS
    'Internal, for cdp.check(): the version of the library cdp.so that is loaded, which should be that of the extension.';
