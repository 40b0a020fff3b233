-- sql/identity.sql: who is who: limits, shared devices, merges, types that change.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_identity ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;
\c cdp_regress_identity
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET cdp.default_region = 'GB';

-- An anonymous visitor logs in: two profiles become one, the older survives.
SELECT cdp.track('View', anonymous_id => 'cookie-1', message_id => 'm1');
SELECT cdp.identify('ann', '{"email": " Ann@Example.COM ", "phone": "020 7946 0018"}', message_id => 'm2');
SELECT cdp.process();
SELECT type, value, profile_id FROM cdp.identifier ORDER BY type, value;
SELECT cdp.track('View', 'ann', 'cookie-1', message_id => 'm3');
SELECT cdp.process();
SELECT type, value, profile_id FROM cdp.identifier ORDER BY type, value;
SELECT alias_id, profile_id FROM cdp.profile_alias;
SELECT cdp.resolve('email', 'ANN@example.com'), cdp.resolve('phone', '+442079460018'), cdp.resolve('email', 'nobody@example.com'), cdp.resolve('user_id', 'null');

-- A shared device welds nobody together: the second user's events are the second user's, the device stays.
SELECT cdp.track('Login', 'ann', context => '{"device": {"id": "kiosk"}}', message_id => 'm4');
SELECT cdp.track('Login', 'bob', context => '{"device": {"id": "kiosk"}}', message_id => 'm5');
SELECT cdp.track('Login', 'bob', context => '{"device": {"id": "kiosk"}}', message_id => 'm6');
SELECT cdp.process();
SELECT cdp.resolve('user_id', 'ann') = cdp.resolve('device_id', 'kiosk') AS with_ann, cdp.resolve('user_id', 'bob') <> cdp.resolve('user_id', 'ann') AS apart;
SELECT c.type, c.value, c.limit_type, c.refusals, c.message_id, i.value AS kept FROM cdp.identity_conflict c JOIN cdp.identifier i USING (identifier_id);

-- The ledger says why.
SELECT a.value AS a, b.value AS b, l.cause, l.message_id FROM cdp.identity_link l
    JOIN cdp.identifier a ON a.identifier_id = identifier_a JOIN cdp.identifier b ON b.identifier_id = identifier_b ORDER BY link_id;

-- Blocked values identify nobody; a message left without any is rejected, whole.
SELECT cdp.block_identifier('email', '@spam\.test$');
SELECT cdp.track('View', 'GUEST', 'undefined', message_id => 'm7');
SELECT cdp.identify('carl', '{"email": "x@spam.test"}', '0-0', message_id => 'm8');
SELECT cdp.process();
SELECT message->>'message_id' AS message_id, reason FROM cdp.rejected_message;
SELECT type, value FROM cdp.identifier WHERE profile_id = cdp.resolve('user_id', 'carl');

-- An alias joins; externalIds may name any declared type.
SELECT cdp.alias('cookie-9', 'carl', message_id => 'm9');
SELECT cdp.create_identifier_type('loyalty', 3, 2, 'lower', '{properties.card}');
SELECT cdp.track('View', anonymous_id => 'cookie-10', context => '{"externalIds": [{"type": "loyalty", "id": "AB-1"}, {"type": "unheard", "id": "x"}]}', message_id => 'm10');
SELECT cdp.track('Buy', 'carl', properties => '{"card": "ab-1"}', message_id => 'm11');
SELECT cdp.process();
SELECT type, value FROM cdp.identifier WHERE profile_id = cdp.resolve('user_id', 'carl') ORDER BY 1, 2;

-- By hand, whatever the limits.
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'ann'), cdp.resolve('user_id', 'carl'), 'same person, says support') AS survivor;
SELECT cdp.resolve('user_id', 'ann') = cdp.resolve('user_id', 'carl') AS one;
SELECT cause, reason FROM cdp.identity_link WHERE cause = 'manual';
SELECT table_name FROM cdp.rebuild() WHERE differing <> 0;

SELECT alias_id, profile_id, reason FROM cdp.profile_alias ORDER BY 1;

-- White space that is not ASCII's is blank too, and goes from around an e-mail.
INSERT INTO cdp.inbox (message_id, user_id, anonymous_id, event) VALUES ('blank-1', U&'\00a0', U&'\3000', 'E');
SELECT cdp.identify(NULL, jsonb_build_object('email', U&'\00a0Nora@Shop.Example\2003')) IS NOT NULL AS sent;
SELECT cdp.flush();
SELECT reason FROM cdp.rejected_message WHERE message ->> 'message_id' = 'blank-1';
SELECT value FROM cdp.identifier WHERE value ~ 'nora';

-- People keep the identifiers of a type that is dropped, and what is known of them, also when they become one.
SELECT cdp.identify('vera', '{"email": "vera@shop.example"}') IS NOT NULL, cdp.track('Buy', anonymous_id => 'cookie-v', properties => '{"card": "v-1"}') IS NOT NULL,
       cdp.track('Buy', anonymous_id => 'cookie-w', properties => '{"card": "w-1"}') IS NOT NULL;
SELECT cdp.create_segment('carded', $$cdp.has_identifier('loyalty')$$);
SELECT cdp.flush();
SELECT cdp.drop_identifier_type('loyalty');
SELECT cdp.track('Buy', 'vera', 'cookie-v') IS NOT NULL, cdp.track('Buy', 'vera', 'cookie-w') IS NOT NULL;
SELECT cdp.process();
SELECT cdp.resolve('user_id', 'vera') IN (SELECT profile_id FROM cdp_segment.carded) AS carded;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
SELECT cdp.create_identifier_type('loyalty', 3, 2, 'lower', '{properties.card}');
SELECT cdp.track('Buy', 'vera', properties => '{"card": "x-1"}') IS NOT NULL;
SELECT cdp.process();
SELECT value FROM cdp.identifier WHERE type = 'loyalty' AND profile_id = cdp.resolve('user_id', 'vera') ORDER BY 1;
SELECT cdp.drop_segment('carded');

-- What is refused, and how.
SELECT cdp.create_identifier_type('no_paths', 7, paths => NULL);
SELECT cdp.merge_profiles(1, 4711, NULL);
SELECT cdp.create_identifier_type('loyalty', 1);
SELECT cdp.create_identifier_type('tax id', 1);
SELECT cdp.create_identifier_type('tax_id', 0);
SELECT cdp.create_identifier_type('tax_id', 1, normalizer => 'upper');
SELECT cdp.create_identifier_type('tax_id', 1, paths => '{tax.id}');
SELECT cdp.alter_identifier_type('nope', 1);
SELECT cdp.drop_identifier_type('user_id');
SELECT cdp.block_identifier('nope', 'x');
SELECT cdp.block_identifier('*', '(');
SELECT cdp.resolve('nope', 'x');
DROP EXTENSION cdp;
DROP EXTENSION cdp CASCADE;
\c :main
DROP DATABASE cdp_regress_identity;
