-- delivery.sql: what cdp-relay is to deliver, and what became of it: counted by rows, so that nothing is ever missing.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_delivery;
\c cdp_regress_delivery
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SELECT cdp.create_trait('city', 'text');
SELECT cdp.create_segment('customers', 'city IS NOT NULL');
SELECT count(cdp.identify('u' || i, '{"city": "Ulm"}')) FROM generate_series(1, 5) i;
SELECT cdp.process();
SELECT cdp.create_destination('crm', 'customers', 'user_id', '{"city": "city", "note": "NULL::text", "amount": "1.50::numeric", "tags": "ARRAY[''a b'', NULL]"}');

-- Setting it
SELECT cdp.set_delivery('nobody', 'webhook', 'http://localhost/');
SELECT cdp.set_delivery('crm', 'pigeon', 'http://localhost/');
SELECT cdp.set_delivery('crm', 'webhook', 'ftp://localhost/');
SELECT cdp.set_delivery('crm', 'webhook', 'http://localhost/', secret_env => 'whsec_not a name');
SELECT cdp.set_delivery('crm', 'webhook', 'http://localhost/', options => '7');
SELECT * FROM cdp.delivery_report;
SELECT cdp.set_delivery('crm', 'webhook', 'http://localhost/', 'SECRET');
SELECT * FROM cdp.delivery_report;
SELECT destination, connector, endpoint, secret_env, options, started_lsn, last_error FROM cdp.delivery_target;

-- As the relay does it
SELECT generation FROM cdp.delivery_target \gset
SELECT cdp.start_delivery('crm', :generation);
SELECT cdp.start_delivery('crm', :generation + 1);
SELECT key, status, held IS NULL AS nothing_held, wanted = (SELECT hash FROM cdp.delivery_rows('crm', ARRAY[d.key])) AS wanted_as_it_is FROM cdp.delivery d ORDER BY key;
SELECT key, held, taken, fields FROM cdp.take_wanted('crm', :generation, 'u3', 10, '{}');
CREATE FUNCTION pg_temp.answer(key text, status text, lsn pg_lsn, hash uuid, http_status int, reason text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
    SELECT cdp.record_answers('crm', (SELECT generation FROM cdp.delivery_target), jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('key', key, 'status', status, 'lsn', lsn, 'hash', hash,
        'sent_at', 0, 'http_status', http_status, 'reason', reason, 'id', 'id of ' || key, 'type', 'insert', 'row', '{"city": "Ulm"}'::jsonb))))
$$;
SELECT pg_temp.answer(d.key, 'delivered', d.wanted_lsn, d.wanted, 200) FROM cdp.delivery d WHERE key <> 'u2';
SELECT pg_temp.answer(d.key, 'refused', d.wanted_lsn, d.wanted, 422, 'no') FROM cdp.delivery d WHERE key = 'u2';
SELECT * FROM cdp.delivery_report;
SELECT key, id, type, "row", http_status, reason FROM cdp.delivery_failure;
SELECT reason, detail FROM cdp.why_not_sent('crm', 'user_id', 'u1');
SELECT reason, detail FROM cdp.why_not_sent('crm', 'user_id', 'u2');
SELECT reason, detail FROM cdp.why_not_sent('crm', 'user_id', 'nobody');
SELECT reason, detail FROM cdp.why_not_sent('nobody', 'user_id', 'u1');

-- Changes: pending until they are answered, whatever is known of them
SELECT count(cdp.identify(i, '{"city": "Bonn"}')) FROM unnest('{u1, u2, u6}'::text[]) i;
SELECT cdp.process();
SELECT * FROM cdp.delivery_report;
SELECT reason, detail FROM cdp.why_not_sent('crm', 'user_id', 'u6');
SELECT cdp.resync_destination('crm');
SELECT key, status, held IS NULL AS nothing_held FROM cdp.delivery ORDER BY key;

-- An answer to an older change does not settle a later one; the answer to that very row does.
SELECT pg_temp.answer('u1', 'delivered', '0/1', md5('before')::uuid, 200);
SELECT status FROM cdp.delivery WHERE key = 'u1';
SELECT pg_temp.answer('u1', 'delivered', '0/2', (SELECT hash FROM cdp.delivery_rows('crm', '{u1}')), 200);
SELECT status FROM cdp.delivery WHERE key = 'u1';

-- Retries and removals
SELECT pg_temp.answer(d.key, 'refused', d.wanted_lsn, d.wanted, 400, 'still no') FROM cdp.delivery d WHERE key = 'u2';
SELECT cdp.resync_destination('crm');
SELECT cdp.retry_deliveries('crm');
SELECT count(*) FROM cdp.delivery_failure;
SELECT * FROM cdp.delivery_report;
SELECT cdp.resync_destination('crm', everything => true);
SELECT cdp.retry_deliveries('nobody'), cdp.resync_destination('nobody');
SELECT cdp.resync_destination('nobody');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cdp.resync_destination('crm');
ROLLBACK;

-- Noted instead of the log: the last of each key
SELECT cdp.record_wanted('crm', :generation, '[{"key": "x", "lsn": "F/3"}]');
SELECT cdp.record_wanted('crm', :generation, '[{"key": "x", "lsn": "E/1"}]');
SELECT key, status, wanted_lsn FROM cdp.delivery WHERE key = 'x';
SELECT key, lsn, held, taken, fields FROM cdp.take_wanted('crm', :generation, 'w', 10, '{}');
-- of those only that wait already
SELECT cdp.record_wanted('crm', :generation, '[{"key": "x", "lsn": "F/4"}, {"key": "y", "lsn": "F/4"}, {"key": "u4", "lsn": "F/4"}]', only_waiting => true);
SELECT key, status, wanted_lsn FROM cdp.delivery WHERE wanted_lsn >= 'F/3' ORDER BY key;

-- Who is there under another key than before waits until the ones before are gone, all of them.
SELECT cdp.record_wanted('crm', :generation, '[{"key": "x", "lsn": "F/6", "after": ["w"]}, {"key": "w", "lsn": "F/5"}]');
SELECT cdp.record_wanted('crm', :generation, '[{"key": "u4", "lsn": "F/7", "after": ["x", "u4", "long gone"]}]');
SELECT key, after FROM cdp.delivery WHERE after IS NOT NULL ORDER BY key;
SELECT key, taken FROM cdp.take_wanted('crm', :generation, 'u3', 10, '{}');
SELECT pg_temp.answer('x', 'removed', 'F/8', NULL, 200);
SELECT key, taken FROM cdp.take_wanted('crm', :generation, 'u3', 10, '{}');
SELECT pg_temp.answer('w', 'removed', 'F/8', NULL, 200);
SELECT key, taken FROM cdp.take_wanted('crm', :generation, 'u3', 10, '{}');
SELECT key, taken FROM cdp.take_wanted('crm', :generation, 'u3', 10, '{"w": null}');

-- Whoever was delivered, whose removal was refused, and who is wanted again and refused: the last answer counts everywhere.
DELETE FROM cdp.delivery WHERE key IN ('w', 'x', 'y');
SELECT count(*) FROM cdp.delivery_rows('crm'), pg_temp.answer(key, 'delivered', 'F/5', hash, 200);
CREATE FUNCTION pg_temp.said_of_u1() RETURNS TABLE (delivered bigint, pending bigint, refused bigint, failures text, reason text, detail text, dated boolean) LANGUAGE sql AS $$
    SELECT r.delivered, r.pending, r.refused, (SELECT string_agg(concat_ws(' ', key, http_status, f.reason), ', ') FROM cdp.delivery_failure f), w.reason, w.detail, w.since IS NOT NULL
    FROM cdp.delivery_report r, cdp.why_not_sent('crm', 'user_id', 'u1') w
$$;
SELECT cdp.identify('u1', '{"city": null}') IS NOT NULL AS said;
SELECT cdp.process();
SELECT reason, detail FROM cdp.why_not_sent('crm', 'user_id', 'u1');
SELECT pg_temp.answer('u1', 'refused', 'F/6', NULL, 409, 'never');
SELECT reason, detail FROM cdp.why_not_sent('crm', 'user_id', 'u1');
SELECT cdp.identify('u1', '{"city": "Bonn"}') IS NOT NULL AS said;
SELECT cdp.process();
SELECT * FROM pg_temp.said_of_u1();
SELECT pg_temp.answer('u1', 'refused', 'F/7', (SELECT hash FROM cdp.delivery_rows('crm', '{u1}')), 400, 'bad');
SELECT * FROM pg_temp.said_of_u1();
SELECT cdp.resync_destination('crm');
SELECT cdp.retry_deliveries('crm');
SELECT * FROM pg_temp.said_of_u1();
SELECT pg_temp.answer('u1', 'delivered', 'F/8', (SELECT hash FROM cdp.delivery_rows('crm', '{u1}')), 201);
SELECT * FROM pg_temp.said_of_u1();

-- By profile_id, whatever became of it; what is no number is nobody's.
SELECT cdp.resolve('user_id', 'u3') AS u3 \gset
SELECT cdp.track('Seen', anonymous_id => 'a1') IS NOT NULL AS said;
SELECT cdp.process();
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'u2'), cdp.resolve('anonymous_id', 'a1'), 'test') = cdp.resolve('user_id', 'u2') AS merged;
SELECT alias_id AS gone FROM cdp.profile_alias \gset
SELECT :gone <> cdp.resolve('user_id', 'u2') AS gone, reason FROM cdp.why_not_sent('crm', 'profile_id', :'gone');
SELECT reason FROM cdp.why_not_sent('crm', 'profile_id', :'u3');
SELECT reason, detail FROM unnest('{"u3", "", "-1", "0", "1.5", "99999999999999999999"}'::text[]) v, cdp.why_not_sent('crm', 'profile_id', v);

-- Another place holds nothing; other options change nothing.
SELECT cdp.set_delivery('crm', 'webhook', 'http://localhost/', options => '{"batch": 10}');
SELECT count(*) > 0 FROM cdp.delivery;
SELECT cdp.record_wanted('crm', :generation, '[]');
SELECT cdp.set_delivery('crm', 'webhook', 'http://elsewhere/');
SELECT count(*) FROM cdp.delivery;
SELECT cdp.remove_delivery('crm');
SELECT cdp.remove_delivery('crm');
SELECT reason FROM cdp.why_not_sent('crm', 'user_id', 'u1');

-- With its destination it goes, too; and a connector of one's own can be put in.
INSERT INTO cdp.connector (name, url) VALUES ('mine', '{{ endpoint }}');
SELECT cdp.set_delivery('crm', 'mine', 'http://localhost/');
SELECT cdp.drop_destination('crm');
SELECT count(*) FROM cdp.delivery_target;

-- Those that are shipped come with the extension, wherever it is restored: they stay as they are.
UPDATE cdp.connector SET rate_limit = 3 WHERE name = 'hubspot';
DELETE FROM cdp.connector WHERE name = 'hubspot';
UPDATE cdp.connector SET rate_limit = 3 WHERE name = 'mine';
DELETE FROM cdp.connector WHERE name = 'mine';

-- Who is kept out, and by what; and what cdp.check() says of several deliveries.
SELECT cdp.create_purpose('news');
SELECT cdp.create_destination('letter', key => 'user_id', columns => '{}', purpose => 'news', channel => '');
SELECT cdp.create_destination('  ', key => 'user_id');
SELECT cdp.create_destination('letter', key => 'user_id', columns => '{}', purpose => 'news', channel => 'email');
SELECT cdp.create_destination('all', key => 'user_id', columns => '{}');
SELECT cdp.suppress('user_id', 'u3', 'bounced');
SELECT reason, detail FROM cdp.why_not_sent('letter', 'user_id', 'u1') UNION ALL SELECT reason, detail FROM cdp.why_not_sent('all', 'user_id', 'u3');
SELECT ok, detail FROM cdp.check() WHERE check_name = 'deliveries';
SELECT cdp.set_delivery('letter', 'webhook', 'http://localhost/'), cdp.set_delivery('all', 'webhook', 'http://localhost/');
UPDATE cdp.delivery_target SET last_error = 'HTTP 500' WHERE destination = 'all';
SELECT ok, detail FROM cdp.check() WHERE check_name = 'deliveries';
SELECT cdp.drop_destination('letter'), cdp.drop_destination('all');
DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_delivery;
