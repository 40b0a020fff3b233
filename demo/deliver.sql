\pset footer off
\echo
\echo '-- What is no PostgreSQL gets it over HTTP: cdp-relay deliver sends each row, and every change of it, to a webhook.'
SELECT cdp.set_delivery('crm', 'webhook', :'url', secret_env => 'HOOK_SECRET');
