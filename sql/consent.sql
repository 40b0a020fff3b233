-- sql/consent.sql: what people say of a purpose decides who is in its destinations, at once and for ever, whoever they
-- turn out to be; and whoever is suppressed is in none.
SELECT current_database() AS main \gset
SET client_min_messages = error;
CREATE DATABASE cdp_regress_consent;
\c cdp_regress_consent
SET client_min_messages = error;  -- wal_level may be too low for subscribers
CREATE EXTENSION cdp;
SET timezone = 'UTC';
\set VERBOSITY default

-- Purposes
SELECT cdp.create_purpose('newsletter', 'The weekly letter');
SELECT cdp.create_purpose('profiling', mode => 'opt_out');
SELECT cdp.create_purpose('newsletter');
SELECT cdp.create_purpose(' ');
SELECT cdp.create_purpose('sms', mode => 'maybe');
SELECT cdp.set_consent('email', 'ann@x.org', 'news', true);
SELECT cdp.create_destination('x', purpose => 'news');
SELECT cdp.create_destination('x', channel => 'email');
SELECT cdp.set_consent('fax', '1', 'newsletter', true);
SELECT cdp.suppress('fax', '1');
SELECT cdp.create_segment('bad', $$true AND cdp.consented(NULL)$$);
SELECT cdp.set_consent('email', ' ', 'newsletter', true);
SELECT cdp.set_consent('email', 'ann@x.org', 'newsletter', NULL);
SELECT cdp.set_consent('email', 'ann@x.org', 'newsletter', true, channel => '');
SELECT cdp.set_consent('email', 'ann@x.org', 'newsletter', true, occurred_at => 'infinity');
SELECT name, description, mode FROM cdp.purpose ORDER BY name;

-- The ledger is append-only.
SELECT cdp.set_consent('email', ' Ann@X.org ', 'newsletter', true, source => 'form', proof => '{"ip": "192.0.2.7"}', occurred_at => '2024-01-01');
SELECT record_id, type, value, purpose, channel, granted, occurred_at, source, proof, event_id, actor = current_user AS by_me FROM cdp.consent_record;
UPDATE cdp.consent_record SET granted = false;
DELETE FROM cdp.consent_record;
TRUNCATE cdp.consent_record;

-- Said before anybody has the identifier, it holds for whoever has it.
SELECT * FROM cdp.consent;
SELECT cdp.create_destination('letter', key => 'email', columns => '{"plan": "traits ->> ''plan''"}', purpose => 'newsletter');
SELECT cdp.create_destination('by_mail', key => 'email', columns => '{}', purpose => 'newsletter', channel => 'email');
SELECT cdp.create_destination('profiles', key => 'user_id', columns => '{}', purpose => 'profiling');
SELECT cdp.create_destination('everybody', key => 'user_id', columns => '{}');
SELECT name, purpose, channel FROM cdp.destination ORDER BY name;
SELECT cdp.identify(u, jsonb_build_object('email', u || '@x.org', 'plan', 'free')) IS NOT NULL FROM unnest('{ann,bob,cid}'::text[]) u;
SELECT cdp.process();
CREATE VIEW who AS SELECT name, CASE name WHEN 'letter' THEN ARRAY(SELECT email FROM cdp_out.letter ORDER BY 1)
    WHEN 'by_mail' THEN ARRAY(SELECT email FROM cdp_out.by_mail ORDER BY 1) WHEN 'profiles' THEN ARRAY(SELECT user_id FROM cdp_out.profiles ORDER BY 1)
    ELSE ARRAY(SELECT user_id FROM cdp_out.everybody ORDER BY 1) END AS who, cdp.suppressed_count(name) AS kept_out
    FROM cdp.destination ORDER BY destination_id;
SELECT * FROM who;
SELECT profile_id = cdp.resolve('user_id', 'ann') AS of_ann, purpose, channel, granted, occurred_at, record_id FROM cdp.consent;

-- A withdrawal takes out of every destination with that purpose, in its own transaction; an older yes changes nothing.
BEGIN;
SELECT cdp.set_consent('user_id', 'ann', 'newsletter', false, occurred_at => '2024-02-01') > 0 AS recorded;
SELECT * FROM who;
ROLLBACK;
SELECT cdp.set_consent('user_id', 'ann', 'newsletter', false, occurred_at => '2023-02-01') > 0 AS recorded;
SELECT cdp.set_consent('email', 'bob@x.org', 'newsletter', true, occurred_at => '2024-01-01') > 0 AS recorded;
SELECT cdp.set_consent('email', 'bob@x.org', 'profiling', false, occurred_at => '2024-01-01') > 0 AS recorded;
SELECT * FROM who;
-- At the same instant the refusal holds.
SELECT cdp.set_consent('email', 'bob@x.org', 'profiling', true, occurred_at => '2024-01-01') > 0 AS recorded;
SELECT cdp.set_consent('email', 'bob@x.org', 'newsletter', false, occurred_at => '2024-01-01') > 0 AS recorded;
SELECT * FROM who;

-- Channels: no to one is no to "all", and yes to one is not yes to all; the latest of the two counts for the channel.
SELECT cdp.set_consent('email', 'ann@x.org', 'newsletter', false, 'sms', occurred_at => '2024-03-01') > 0 AS recorded;
SELECT cdp.set_consent('email', 'bob@x.org', 'newsletter', true, 'email', occurred_at => '2024-03-01') > 0 AS recorded;
SELECT * FROM who WHERE name IN ('letter', 'by_mail');
SELECT cdp.set_consent('email', 'bob@x.org', 'newsletter', false, occurred_at => '2024-03-02') > 0 AS recorded;
SELECT cdp.set_consent('email', 'ann@x.org', 'newsletter', true, occurred_at => '2024-03-02') > 0 AS recorded;
SELECT * FROM who WHERE name IN ('letter', 'by_mail');

-- From messages of any type.
SELECT cdp.track('Preferences', 'cid', context => '{"consent": {"categoryPreferences": {"newsletter": true, "profiling": false, "unheard of": true, "sms": "yes"}}}',
    occurred_at => '2024-04-01', message_id => 'm1');
SELECT cdp.identify('bob', '{"email": "bob@x.org"}', context => '{"consent": {"categoryPreferences": {"newsletter": true}}}', occurred_at => '2024-04-01', message_id => 'm2');
SELECT cdp.track('Odd', 'bob', context => c::jsonb, message_id => 'odd ' || c)
FROM unnest('{"[]", "{\"consent\": 1}", "{\"consent\": {\"categoryPreferences\": [true]}}", "{\"consent\": {\"categoryPreferences\": {\"newsletter\": null}}}"}'::text[]) c;
SELECT cdp.process();
SELECT type, value, purpose, channel, granted, occurred_at, source, proof, event_id IS NOT NULL AS has_event, actor FROM cdp.consent_record WHERE event_id IS NOT NULL ORDER BY record_id;
SELECT * FROM who;

-- When two become one, the more recent statement holds; taken apart, everybody has their own again.
SELECT cdp.set_consent('user_id', 'cid', 'newsletter', false, occurred_at => '2024-05-01') > 0 AS recorded;
SELECT cdp.set_consent('user_id', 'bob', 'profiling', true, occurred_at => '2024-05-01') > 0 AS recorded;
SELECT cdp.set_consent('user_id', u, 'newsletter', u = 'bob', 'fax', occurred_at => '2024-05-02') > 0 AS at_the_same_instant FROM unnest('{bob,cid}'::text[]) u;
SELECT * FROM who;
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'bob'), cdp.resolve('user_id', 'cid'), 'test') = cdp.resolve('user_id', 'bob') AS merged;
SELECT purpose, channel, granted, occurred_at FROM cdp.consent WHERE profile_id = cdp.resolve('user_id', 'cid') ORDER BY 1, 2 NULLS FIRST;
SELECT * FROM who;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
SELECT cdp.split_identifier('user_id', 'cid', 'test') > 0 AS split;
SELECT * FROM who;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;

-- A purpose that messages spoke of before it was there, and one that is made again.
SELECT cdp.create_purpose('unheard of');
SELECT purpose, granted, occurred_at FROM cdp.consent WHERE profile_id = cdp.resolve('user_id', 'cid') ORDER BY 1;
SELECT cdp.drop_purpose('newsletter');
SELECT cdp.drop_purpose('unheard of');
SELECT cdp.drop_purpose('unheard of');
SELECT count(*) FROM cdp.consent WHERE purpose = 'unheard of';
SELECT cdp.create_purpose('unheard of');
SELECT count(*) FROM cdp.consent_record WHERE purpose = 'unheard of';
SELECT count(*) FROM cdp.consent WHERE purpose = 'unheard of';

-- Another mode.
SELECT cdp.alter_purpose('nothing');
SELECT cdp.alter_purpose('newsletter', mode => 'opt_out');
SELECT * FROM who WHERE name IN ('letter', 'by_mail');
SELECT cdp.alter_purpose('newsletter', 'A letter', 'opt_in');
SELECT * FROM who WHERE name IN ('letter', 'by_mail');
SELECT name, description, mode FROM cdp.purpose ORDER BY name;

-- In segments, and in the columns of destinations.
SELECT cdp.create_segment('readers', $$cdp.consented('newsletter')$$), cdp.create_segment('by mail', $$cdp.consented('newsletter', 'email')$$),
    cdp.create_segment('profiled', $$event_count > 0 AND NOT cdp.consented(purpose => 'profiling')$$), cdp.create_segment('both', $$cdp.in_segment('readers') AND cdp.consented('profiling')$$);
SELECT cdp.create_segment('x', $$event_count > 0 AND cdp.consented('news')$$);
SELECT * FROM cdp.preview_segment($$cdp.consented('news')$$);
SELECT size FROM cdp.preview_segment($$cdp.consented('newsletter') OR cdp.consented('profiling')$$);
SELECT cdp.create_destination('crm', key => 'user_id', columns => '{"a": "cdp.consented(''news'')"}');
SELECT cdp.create_destination('crm', key => 'user_id', columns => '{"reads": "cdp.consented(''newsletter'')", "mail": "cdp.consented(''newsletter'', ''email'') OR ''both'' = ANY (cdp.segment_names())"}');
SELECT * FROM cdp_out.crm ORDER BY 1;
CREATE VIEW membership AS SELECT s.name, array_agg(i.value ORDER BY i.value) AS who FROM cdp.segment s JOIN cdp.segment_member m USING (segment_id)
    JOIN cdp.identifier i ON i.profile_id = m.profile_id AND i.type = 'user_id' GROUP BY s.name;
SELECT * FROM membership ORDER BY name;
SELECT cdp.set_consent('user_id', 'bob', 'newsletter', false, 'email', occurred_at => '2024-06-01') > 0 AS recorded;
SELECT cdp.track('Preferences', 'cid', context => '{"consent": {"categoryPreferences": {"newsletter": true, "profiling": true}}}', occurred_at => '2024-06-01', message_id => 'm4');
SELECT cdp.process();
SELECT * FROM membership ORDER BY name;
SELECT * FROM cdp_out.crm ORDER BY 1;
SELECT s.name, t.entered, t.cause FROM cdp.segment_transition t JOIN cdp.segment s USING (segment_id) WHERE t.cause <> 'create' ORDER BY 1, 2, 3;
SELECT * FROM cdp.explain_segment('profiled', cdp.resolve('user_id', 'ann'));
SELECT * FROM cdp.explain_segment('by mail', cdp.resolve('user_id', 'bob'));
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
SELECT cdp.alter_purpose('newsletter', mode => 'opt_out'), cdp.alter_purpose('profiling', mode => 'opt_in');
SELECT * FROM membership ORDER BY name;
SELECT * FROM cdp_out.crm ORDER BY 1;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
SELECT cdp.alter_purpose('newsletter', mode => 'opt_in'), cdp.alter_purpose('profiling', mode => 'opt_out');
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
SELECT cdp.drop_purpose('profiling');
SELECT cdp.create_purpose('post');
SELECT cdp.create_segment('by post', $$cdp.consented('post')$$);
SELECT cdp.drop_purpose('post');
SELECT cdp.drop_segment('by post'), cdp.create_destination('post', columns => '{"post": "cdp.consented(''post'')"}');
SELECT cdp.drop_purpose('post');
SELECT cdp.drop_destination('post'), cdp.drop_purpose('post');
-- Whoever asks for a purpose keeps it, however that is written; who only mentions it does not.
SELECT cdp.create_purpose('post'), cdp.create_purpose('parcel');
SELECT cdp.create_destination('asks', columns => '{"post": "CDP.\"consented\"($$po$$ || ''st'', E''parcel'')", "all": "Cdp.Segment_Names()"}'),
    cdp.create_destination('mentions', columns => '{"parcel": "''consented '' || ''parcel''"}');
SELECT name, asks_segments, asks_purposes FROM cdp.destination WHERE name IN ('asks', 'mentions', 'crm') ORDER BY 1;
SELECT count(*), count(*) FILTER (WHERE post), count(*) FILTER (WHERE 'both' = ANY ("all")) FROM cdp_out.asks;
SELECT cdp.drop_purpose('parcel');
SELECT cdp.drop_purpose('post');
SELECT cdp.set_consent('user_id', 'bob', 'post', true) > 0 AS recorded;
SELECT count(*) FILTER (WHERE post) FROM cdp_out.asks;
SELECT cdp.drop_destination('asks'), cdp.drop_destination('mentions'), cdp.drop_purpose('post');
SELECT cdp.drop_segment('both'), cdp.drop_segment('profiled'), cdp.drop_segment('by mail'), cdp.drop_segment('readers'), cdp.drop_destination('crm');
SELECT cdp.consented('newsletter');

-- A destination whose columns cannot be computed any more lets go of who withdraws, by whatever way, all the same.
SELECT cdp.create_purpose('still', mode => 'opt_out');
CREATE FUNCTION shown(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
SELECT cdp.create_destination('still', key => 'user_id', columns => '{"segments": "public.shown(cdp.segment_names()::text)"}', purpose => 'still'),
    cdp.create_destination('still_too', columns => '{"plan": "public.shown(traits ->> ''plan'')"}', purpose => 'still');
DROP FUNCTION shown(text);
CREATE VIEW still AS SELECT i.value, EXISTS (SELECT FROM cdp_out.still s WHERE s.user_id = i.value) AS still, EXISTS (SELECT FROM cdp_out.still_too s WHERE s.profile_id = i.profile_id) AS still_too
    FROM cdp.identifier i WHERE i.type = 'user_id' ORDER BY 1;
SELECT name, problem FROM cdp.destination WHERE problem IS NOT NULL ORDER BY 1;
SELECT cdp.set_consent('user_id', 'ann', 'still', false, occurred_at => '2024-07-01') > 0 AS recorded;
SELECT * FROM still;
SELECT name, problem FROM cdp.destination WHERE problem IS NOT NULL ORDER BY 1;
SELECT cdp.track('Preferences', 'bob', context => '{"consent": {"categoryPreferences": {"still": false}}}', occurred_at => '2024-07-01', message_id => 'm5');
SELECT cdp.process();
SELECT * FROM still;
ALTER TABLE cdp_out.still DROP COLUMN segments;
SELECT cdp.alter_purpose('still', mode => 'opt_in');
SELECT * FROM still;
DROP VIEW still;
SELECT cdp.drop_destination('still'), cdp.drop_destination('still_too'), cdp.drop_purpose('still');
SELECT * FROM cdp.rebuild() WHERE differing <> 0;

-- Suppression overrules everything, for whoever has the identifier, now or later.
SELECT cdp.suppress('email', 'ANN@x.org', 'hard bounce');
SELECT cdp.suppress('email', 'ann@x.org');
SELECT cdp.suppress('email', 'dan@x.org', 'asked by phone');
SELECT cdp.identify('dan', '{"email": "dan@x.org"}', message_id => 'm3');
SELECT cdp.process();
SELECT * FROM who;
SELECT type, value, reason, actor = current_user AS by_me FROM cdp.suppression ORDER BY value;
SELECT cdp.get_profile('user_id', 'ann') -> 'suppressed' AS suppressed, jsonb_pretty(cdp.get_profile('user_id', 'ann') -> 'consents') AS consents;
SELECT cdp.set_consent('email', 'ann@x.org', 'newsletter', true) > 0 AS recorded;
SELECT * FROM who;
SELECT cdp.merge_profiles(cdp.resolve('user_id', 'ann'), cdp.resolve('user_id', 'bob'), 'test') > 0 AS merged;
SELECT * FROM who;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
SELECT cdp.split_identifier('user_id', 'bob', 'test') > 0 AS split;
SELECT cdp.unsuppress('email', 'ann@x.org');
SELECT cdp.unsuppress('email', 'ann@x.org');
SELECT * FROM who;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;

-- rebuild finds damage, and repairs it.
UPDATE cdp.consent SET granted = NOT granted WHERE profile_id = cdp.resolve('user_id', 'ann') AND channel IS NULL;
DELETE FROM cdp.suppressed_profile;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;
SELECT * FROM cdp.rebuild(true) WHERE differing <> 0;
SELECT * FROM cdp.rebuild() WHERE differing <> 0;

-- Who may do what.
SET ROLE cdp_marketer;
SELECT name FROM cdp.purpose ORDER BY name;
SELECT count(*) > 0 AS reads FROM cdp.consent;
SELECT cdp.set_consent('email', 'ann@x.org', 'newsletter', true);
SELECT cdp.suppress('email', 'ann@x.org');
SELECT count(*) FROM cdp.consent_record;
SET ROLE cdp_analyst;
SELECT type, value, purpose, granted, proof FROM cdp.consent_record_masked WHERE record_id = 1;
SET ROLE cdp_pii;
SELECT type, value, purpose, granted, proof FROM cdp.consent_record_masked WHERE record_id = 1;
SET ROLE cdp_admin;
SELECT cdp.set_consent('email', 'ann@x.org', 'newsletter', false) > 0 AS recorded;
SELECT cdp.create_purpose('calls');
INSERT INTO cdp.consent_record SELECT * FROM cdp.consent_record;
DELETE FROM cdp.consent_record;
RESET ROLE;

\c :main
DROP DATABASE cdp_regress_consent;
