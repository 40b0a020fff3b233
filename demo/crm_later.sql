\pset footer off
\echo
\echo '-- And the CRM has followed.'
DO $$ BEGIN FOR i IN 1 .. 100 LOOP COMMIT; PERFORM pg_sleep(0.1); EXIT WHEN (SELECT count(*) FROM cdp_out.crm) = 2; END LOOP; END $$;
SELECT * FROM cdp_out.crm ORDER BY email;
DROP SUBSCRIPTION cdp;
