-- track.sql: one call sends one message, and needs no other right.
-- Everything happens in transactions that are rolled back, so that no worker takes the messages away.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cdp;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CREATE TEMP VIEW arrived AS
    SELECT i.* FROM cdp.inbox i WHERE i.inbox_xid = pg_current_xact_id() ORDER BY i.inbox_id;

-- Every argument finds its column.
BEGIN;
SELECT cdp.track('Order Completed', 'u1', 'a1', '{"total": 5}', '{"ip": "8.8.8.8"}', '2024-05-01 10:00+00', 'm1', 'shop');
SELECT cdp.identify('u1', '{"email": "jo@example.com"}', 'a1', '{"ip": "8.8.8.8"}', '2024-05-01 10:01+00', 'm2', 'shop');
SELECT cdp.page('Home', 'u1', 'a1', '{"url": "/"}', '{"ip": "8.8.8.8"}', '2024-05-01 10:02+00', 'm3', 'shop');
SELECT cdp.screen('Feed', 'u1', 'a1', '{"tab": 2}', '{"ip": "8.8.8.8"}', '2024-05-01 10:03+00', 'm4', 'shop');
SELECT cdp.join_group('g1', 'u1', '{"plan": "pro"}', 'a1', '{"ip": "8.8.8.8"}', '2024-05-01 10:04+00', 'm5', 'shop');
SELECT cdp.alias('a2', 'u1', '{"ip": "8.8.8.8"}', '2024-05-01 10:05+00', 'm6', 'shop');
SELECT message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, context, occurred_at, sent_at
FROM arrived;
ROLLBACK;

-- All but the first have defaults: the inbox's own.
BEGIN;
SELECT count(DISTINCT id) AS different_ids
FROM (VALUES (cdp.track('e')), (cdp.identify('u1')), (cdp.page('Home')), (cdp.screen('Feed')), (cdp.join_group('g1')), (cdp.alias('a2'))) _ (id)
WHERE id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$';
SELECT type, source, coalesce(user_id, anonymous_id, previous_id, group_id, event) AS first, occurred_at = now() AS now,
       received_at BETWEEN now() AND clock_timestamp() AS received_now
FROM arrived;
ROLLBACK;

-- The arguments have their names.
BEGIN;
SELECT cdp.track(event => 'e', user_id => 'u1', anonymous_id => 'a1', properties => '{}', context => '{}', occurred_at => now(), message_id => 'm1', source => 's'),
       cdp.identify(user_id => 'u1', traits => '{}', anonymous_id => 'a1', context => '{}', occurred_at => now(), message_id => 'm2', source => 's'),
       cdp.page(name => 'n', user_id => 'u1', anonymous_id => 'a1', properties => '{}', context => '{}', occurred_at => now(), message_id => 'm3', source => 's'),
       cdp.screen(name => 'n', user_id => 'u1', anonymous_id => 'a1', properties => '{}', context => '{}', occurred_at => now(), message_id => 'm4', source => 's'),
       cdp.join_group(group_id => 'g1', user_id => 'u1', traits => '{}', anonymous_id => 'a1', context => '{}', occurred_at => now(), message_id => 'm5', source => 's'),
       cdp.alias(previous_id => 'p1', user_id => 'u1', context => '{}', occurred_at => now(), message_id => 'm6', source => 's');
ROLLBACK;

-- The message_id returned is the one that is kept, blank ones included.
BEGIN;
SELECT cdp.track('e', 'u1', message_id => ' ') ~ '^[0-9a-f-]{36}$' AS made_up;
SELECT cdp.track('e', 'u1', message_id => ' spaced ') AS id;
SELECT count(*) FROM arrived WHERE message_id ~ '^[0-9a-f-]{36}$' OR message_id = ' spaced ';
ROLLBACK;

-- A sender may call them, and nothing comes of it but rows of the inbox.
BEGIN;
SET LOCAL ROLE cdp_ingest;
SELECT cdp.track('e', 'u1', message_id => 'm1'), cdp.identify('u1', message_id => 'm2'), cdp.page('n', message_id => 'm3'),
       cdp.screen('n', message_id => 'm4'), cdp.join_group('g', message_id => 'm5'), cdp.alias('p', message_id => 'm6');
RESET ROLE;
SELECT count(*) FROM arrived;
SAVEPOINT s;
SET LOCAL ROLE cdp_marketer;
SELECT cdp.track('e', 'u1');
ROLLBACK;

-- Each is documented, has a fixed search_path, and is nobody's to call by default.
SELECT p.proname, obj_description(p.oid, 'pg_proc') IS NOT NULL AS documented, 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig) AS fixed,
       has_function_privilege('cdp_ingest', p.oid, 'EXECUTE') AS ingest, has_function_privilege('cdp_marketer', p.oid, 'EXECUTE') AS marketer
FROM pg_proc p
WHERE p.pronamespace = 'cdp'::regnamespace
      AND p.proname IN ('ingest', 'retry_rejected', 'track', 'identify', 'page', 'screen', 'join_group', 'alias', 'attach_table',
                        'detach_table', 'send_inserted_rows')
ORDER BY p.proname;
