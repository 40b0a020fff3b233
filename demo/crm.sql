\pset footer off
\echo
\echo '-- In the CRM, another PostgreSQL: an ordinary subscription.'
CREATE SCHEMA cdp_out;
CREATE TABLE cdp_out.crm (email text PRIMARY KEY, plan text, orders bigint, revenue numeric, segments text[]);
SELECT format('CREATE SUBSCRIPTION cdp CONNECTION %L PUBLICATION cdp_crm', 'host=127.0.0.1 port=' || :'shop_port' || ' user=postgres dbname=postgres') AS command \gset
:command;
DO $$ BEGIN FOR i IN 1 .. 100 LOOP COMMIT; PERFORM pg_sleep(0.1); EXIT WHEN EXISTS (SELECT FROM cdp_out.crm); END LOOP; END $$;
TABLE cdp_out.crm;
