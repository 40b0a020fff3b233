-- cdp--1.0.sql is joined from the rooms' parts by `make cdp--1.0.sql`: change those, not this file.
\echo Use "CREATE EXTENSION cdp" to load this file. \quit

-- As CREATE EXTENSION sets it, for readers and for pgspot.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SCHEMA cdp;
COMMENT ON SCHEMA cdp IS 'Customer data platform: messages in, people, profiles, segments out.';

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['cdp_admin', 'cdp_ingest', 'cdp_marketer', 'cdp_analyst', 'cdp_pii'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) role_name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END $$;

