-- What every object of the extension promises, so that nobody forgets it.
BEGIN;
SELECT plan(24);

CREATE TEMP VIEW own_function AS
    SELECT p.* FROM pg_proc p WHERE p.pronamespace = 'cdp'::regnamespace;
CREATE TEMP VIEW own_relation AS
    SELECT c.* FROM pg_class c WHERE c.relnamespace IN ('cdp'::regnamespace, 'cdp_segment'::regnamespace, 'cdp_out'::regnamespace);

-- Functions
SELECT is_empty($$SELECT oid::regprocedure FROM own_function WHERE obj_description(oid, 'pg_proc') IS NULL$$, 'every function has a comment');
SELECT is_empty($$SELECT oid::regprocedure, proconfig FROM own_function
    WHERE NOT coalesce(proconfig @> '{"search_path=pg_catalog, pg_temp"}', false)$$, 'and its own search_path');
SELECT is_empty($$SELECT oid::regprocedure FROM own_function
    WHERE pronargs > 0 AND ('' = ANY (proargnames) OR coalesce(cardinality(proargnames), 0) < pronargs)$$, 'and names for its arguments');
SELECT is_empty($$SELECT oid::regprocedure, proname FROM own_function WHERE proname !~ '^[a-z][a-z0-9_]*$'$$, 'and a name that needs no quotes');
SELECT is_empty($$SELECT p.oid::regprocedure FROM own_function p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g WHERE g.grantee = 0$$,
    'nobody may execute it for being there');
SELECT is_empty($$SELECT p.oid::regprocedure FROM own_function p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.prosecdef AND l.lanname NOT IN ('sql', 'plpgsql')$$, 'those in C know their caller and act as the owner by themselves');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'cdp' WHERE p.pronamespace <> 'cdp'::regnamespace$$, 'and there are none elsewhere');

-- Tables, views, sequences
SELECT is_empty($$SELECT oid::regclass FROM own_relation WHERE relkind IN ('r', 'p', 'v') AND NOT relispartition AND obj_description(oid, 'pg_class') IS NULL$$,
    'every table and view has a comment');
SELECT is_empty($$SELECT c.oid::regclass FROM own_relation c, aclexplode(c.relacl) g WHERE g.grantee = 0$$, 'nobody may use one for being there');
SELECT is_empty($$SELECT n.nspname FROM pg_namespace n, aclexplode(n.nspacl) g WHERE n.nspname IN ('cdp', 'cdp_segment', 'cdp_out') AND g.grantee = 0$$,
    'nor a schema');
-- What a dump leaves out on purpose: where the pipeline stands, the parents of partitions, what lasts a transaction; and
-- the inbox, whose pending rows cdp.inbox_dump stands for.
SELECT set_eq($$SELECT c.oid::regclass::text FROM own_relation c JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
    WHERE c.relkind IN ('r', 'p', 'S') AND c.oid <> ALL (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'cdp')$$,
    '{cdp.inbox, cdp.inbox_0, cdp.inbox_1, cdp.inbox_2, cdp.inbox_3, cdp.event, cdp.pipeline, cdp.configuration, cdp.restored, cdp.kept_grant}'::text[], 'what else is a member is dumped with its rows');
SELECT set_eq($$SELECT c.oid::regclass::text FROM own_relation c WHERE c.relkind IN ('r', 'v', 'S')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('e', 'i') AND d.refclassid <> 'pg_rewrite'::regclass)
    AND NOT c.relispartition$$,
    '{cdp.profile, cdp.profile_masked}'::text[], 'these are no members: a dump has them as they are');
SELECT is_empty($$SELECT i.objoid::regclass FROM pg_init_privs i WHERE i.classoid = 'pg_class'::regclass AND i.objoid IN ('cdp.profile'::regclass, 'cdp.profile_masked'::regclass)$$,
    'and their grants are dumped');

-- Roles
SELECT set_eq($$SELECT p.proname::text FROM own_function p WHERE has_function_privilege('cdp_ingest', p.oid, 'EXECUTE')$$,
    '{inbox_mark, ingest, track, identify, page, screen, join_group, alias}'::text[], 'cdp_ingest may call what sends messages');
SELECT set_eq($$SELECT c.oid::regclass || ' ' || g.privilege_type FROM own_relation c, aclexplode(c.relacl) g WHERE g.grantee = 'cdp_ingest'::regrole$$,
    '{cdp.inbox_id_seq USAGE}'::text[], 'of whole tables it may nothing');
SELECT set_eq($$SELECT c.oid::regclass || ' ' || g.privilege_type || ' ' || string_agg(a.attname, ' ' ORDER BY a.attnum)
    FROM own_relation c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) g WHERE g.grantee = 'cdp_ingest'::regrole GROUP BY c.oid, g.privilege_type$$,
    '{cdp.inbox INSERT message_id type source user_id anonymous_id previous_id group_id event properties traits context occurred_at sent_at received_at}'::text[],
    'and write to the inbox''s columns for messages, nothing else');
SELECT is_empty($$SELECT c.oid::regclass, g.grantee::regrole, g.privilege_type FROM own_relation c, aclexplode(c.relacl) g
    WHERE g.grantee IN ('cdp_marketer'::regrole, 'cdp_analyst'::regrole, 'cdp_pii'::regrole) AND g.privilege_type <> 'SELECT'$$, 'readers only read');
SELECT is_empty($$SELECT r, c.name FROM unnest('{cdp_marketer, cdp_analyst, cdp_ingest}'::text[]) r, cdp.profile_columns() c
    WHERE (c.personal OR c.name = 'traits') AND has_column_privilege(r, 'cdp.profile', c.attnum, 'SELECT')
    UNION ALL SELECT r, t FROM unnest('{cdp_marketer, cdp_analyst, cdp_ingest}'::text[]) r,
        unnest('{cdp.event, cdp.profile_event, cdp.inbox, cdp.rejected_message, cdp.identity_conflict}'::text[]) t WHERE has_table_privilege(r, t, 'SELECT')
    UNION ALL SELECT r, 'value' FROM unnest('{cdp_marketer, cdp_analyst, cdp_ingest}'::text[]) r WHERE has_column_privilege(r, 'cdp.identifier', 'value', 'SELECT')$$,
    'and nothing personal but cdp_pii');
SELECT is_empty($$SELECT p.oid::regprocedure::text FROM own_function p WHERE NOT has_function_privilege('cdp_admin', p.oid, 'EXECUTE')
    UNION ALL SELECT c.oid::regclass::text FROM own_relation c WHERE c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
        AND NOT (has_table_privilege('cdp_admin', c.oid, 'SELECT') AND has_table_privilege('cdp_pii', c.oid, 'SELECT'))$$,
    'cdp_admin may call everything, and with cdp_pii read it');
SELECT is_empty($$SELECT c.oid::regclass FROM own_relation c, unnest('{cdp_admin, cdp_pii, cdp_analyst, cdp_marketer, cdp_ingest}'::text[]) r
    WHERE c.relkind IN ('r', 'p', 'v') AND (has_table_privilege(r, c.oid, 'TRIGGER') OR has_column_privilege(r, c.oid, 1::smallint, 'INSERT')
          AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'owner'))$$,
    'nobody puts anything where it would run with the rights of another');

-- Consent
SELECT set_eq($$SELECT oid::regprocedure::text || ' ' || array_to_string(proargnames, ' ') FROM own_function
    WHERE proname IN ('create_purpose', 'set_consent', 'consented', 'suppress', 'unsuppress', 'suppressed_count')$$,
    ARRAY['cdp.create_purpose(text,text,text) name description mode', 'cdp.consented(text,text) purpose channel',
          'cdp.set_consent(text,text,text,boolean,text,text,jsonb,timestamp with time zone) type value purpose granted channel source proof occurred_at',
          'cdp.suppress(text,text,text) type value reason', 'cdp.unsuppress(text,text) type value', 'cdp.suppressed_count(text) destination'],
    'the functions of consent');
SELECT is_empty($$SELECT r, p FROM unnest('{cdp_admin, cdp_pii, cdp_analyst, cdp_marketer, cdp_ingest}'::text[]) r, unnest('{INSERT, UPDATE, DELETE, TRUNCATE}'::text[]) p
    WHERE has_table_privilege(r, 'cdp.consent_record', p)$$, 'no role writes the ledger of consent');
SELECT throws_ok('DELETE FROM cdp.consent_record', '55000', 'cdp.consent_record is append-only', 'nor does anybody else change it');
SELECT set_eq($$SELECT r FROM unnest('{cdp_admin, cdp_pii, cdp_analyst, cdp_marketer, cdp_ingest}'::text[]) r
    WHERE has_table_privilege(r, 'cdp.consent_record', 'SELECT') OR has_table_privilege(r, 'cdp.suppression', 'SELECT')$$,
    '{cdp_admin, cdp_pii}'::text[], 'contact points and proofs are for those who may see personal data');

SELECT * FROM finish();
ROLLBACK;
