-- roles.sql: what each role may do, and which of our objects are no members of the extension. The last part.

-- Nobody gets anything by being there.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cdp FROM PUBLIC;

DO $$
DECLARE
    role_name text;
    called text[];
    seen text[];
    object text;
    schema_name text;
BEGIN
    -- By name, so that a function's arguments may change.
    FOR role_name, called, seen IN VALUES
        ('cdp_ingest',
         ARRAY['inbox_mark', 'ingest', 'track', 'identify', 'page', 'screen', 'join_group', 'alias'],
         ARRAY[]::text[]),
        ('cdp_marketer',
         ARRAY['create_segment', 'alter_segment', 'drop_segment', 'preview_segment', 'explain_segment', 'segment_overlap',
               'import_segment', 'split_segment', 'split_share', 'create_priority_list', 'drop_priority_list', 'on_list',
               'in_segment', 'has_identifier', 'consented', 'did', 'did_sequence', 'resolve', 'get_profile',
               'sees_personal', 'looks_personal', 'mask_traits', 'masked_keys'],
         ARRAY['segment', 'segment_member', 'segment_transition', 'segment_day', 'segment_freshness', 'listed_identifier', 'priority_list', 'trait', 'identifier_type', 'identifier_masked', 'profile_masked',
               'profile_alias', 'account_member', 'purpose', 'consent', 'suppressed_profile']),
        ('cdp_analyst',
         ARRAY['segment_overlap', 'resolve', 'get_profile', 'sees_personal', 'looks_personal', 'mask_traits', 'mask_properties', 'mask_context', 'masked_keys'],
         ARRAY['segment', 'segment_member', 'segment_transition', 'segment_day', 'segment_freshness', 'listed_identifier', 'priority_list', 'trait', 'identifier_type', 'identifier_masked', 'profile_masked',
               'profile_alias', 'account_member', 'purpose', 'consent', 'suppressed_profile', 'consent_record_masked', 'event_masked', 'identity_link', 'identity_separation', 'suspicious_profile', 'destination']),
        ('cdp_pii',
         ARRAY['resolve', 'get_profile', 'timeline', 'explain_identity', 'explain_merge', 'explain_match', 'explain_segment', 'explain_field',
               'sees_personal', 'looks_personal', 'mask_traits', 'mask_properties', 'mask_context', 'masked_keys'],
         ARRAY[]::text[])
    LOOP
        EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA cdp TO %I', role_name);
        FOR object IN
            SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
            WHERE p.pronamespace OPERATOR(pg_catalog.=) 'cdp'::pg_catalog.regnamespace AND p.proname::text OPERATOR(pg_catalog.=) ANY (called)
        LOOP
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %I', object, role_name);
        END LOOP;
        FOREACH object IN ARRAY seen LOOP
            IF pg_catalog.to_regclass(pg_catalog.format('cdp.%I', object)) IS NOT NULL THEN
                EXECUTE pg_catalog.format('GRANT SELECT ON cdp.%I TO %I', object, role_name);
            END IF;
        END LOOP;
    END LOOP;

    FOREACH schema_name IN ARRAY ARRAY['cdp', 'cdp_segment', 'cdp_out'] LOOP
        CONTINUE WHEN pg_catalog.to_regnamespace(schema_name) IS NULL;
        EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %I TO cdp_admin, cdp_pii', schema_name);
        EXECUTE pg_catalog.format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO cdp_pii', schema_name);
        EXECUTE pg_catalog.format('GRANT ALL ON ALL TABLES IN SCHEMA %I TO cdp_admin', schema_name);
        -- Its owner writes to the tables: a trigger of somebody else's would run with the owner's rights.
        EXECUTE pg_catalog.format('REVOKE TRIGGER ON ALL TABLES IN SCHEMA %I FROM cdp_admin', schema_name);
        EXECUTE pg_catalog.format('GRANT ALL ON ALL SEQUENCES IN SCHEMA %I TO cdp_admin', schema_name);
        EXECUTE pg_catalog.format('GRANT ALL ON ALL FUNCTIONS IN SCHEMA %I TO cdp_admin', schema_name);
    END LOOP;

    -- What a row of these says runs with the rights of the role in it: functions write them, which put in the caller.
    FOR object IN
        SELECT a.attrelid::pg_catalog.regclass::text FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
        WHERE c.relnamespace OPERATOR(pg_catalog.=) 'cdp'::pg_catalog.regnamespace AND c.relkind OPERATOR(pg_catalog.=) 'r'
          AND a.attname OPERATOR(pg_catalog.=) 'owner'
    LOOP
        EXECUTE pg_catalog.format('REVOKE INSERT, UPDATE ON %s FROM cdp_admin', object);
    END LOOP;
END $$;

-- The ledger is written by functions only, and by nobody changed.
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON cdp.consent_record FROM cdp_admin;

GRANT USAGE ON SCHEMA cdp_segment TO cdp_marketer, cdp_analyst;

-- The inbox takes messages from cdp_ingest and gives none away. Where they stand in it is not theirs to say: an inbox_id
-- of their own would put them into a partition that is about to be emptied, or before what others sent.
GRANT INSERT (message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, context,
              occurred_at, sent_at, received_at) ON cdp.inbox TO cdp_ingest;
GRANT USAGE ON SEQUENCE cdp.inbox_id_seq TO cdp_ingest;

-- Segments of theirs may ask whether somebody has an identifier, but not which.
GRANT SELECT (profile_id, identifier_id, type) ON cdp.identifier TO cdp_marketer, cdp_analyst;
GRANT SELECT (group_id, first_seen_at, last_seen_at) ON cdp.account TO cdp_marketer, cdp_analyst;

-- No members: they change as traits come and go, and must come back from pg_dump whole. Last of all, with all grants
-- set, since what was granted to a member in an install script is not dumped.
SELECT cdp.refresh_views();
ALTER EXTENSION cdp DROP VIEW cdp.profile_masked;
ALTER EXTENSION cdp DROP TABLE cdp.profile;
