\pset footer off
\echo '-- And it can be proved.'
DO $$ BEGIN FOR i IN 1 .. 100 LOOP COMMIT; EXIT WHEN (SELECT delivered FROM cdp.delivery_report) = 2; PERFORM pg_sleep(0.1); END LOOP; END $$;
SELECT * FROM cdp.delivery_report;
SELECT reason, detail FROM cdp.why_not_sent('crm', 'email', 'bob@example.com');
