-- isolation_level.sql: nothing is computed from what a transaction saw when it began.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_isolation_level;
\c cdp_regress_isolation_level
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SET timezone = 'UTC';
SELECT cdp.track('Seen', 'ann', message_id => '1');
SELECT cdp.process();
SELECT cdp.create_purpose('letter'), cdp.create_segment('seen', 'event_count > 0');
CREATE TABLE ticket (email text);
CREATE FUNCTION pg_temp.refusal(call text, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT ' || call;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END $$;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT refusal.*, count(*) FROM unnest(ARRAY[
    $$cdp.create_segment('s', 'event_count > 1')$$, $$cdp.alter_segment('seen', 'event_count > 1')$$, $$cdp.drop_segment('seen')$$,
    $$cdp.create_segment('live', 'EXISTS (SELECT FROM ticket t JOIN cdp.identifier i ON i.value = t.email WHERE i.profile_id = profile.profile_id)')$$,
    $$cdp.import_segment('l', 'user_id', '{ann}')$$, $$cdp.split_segment('seen', '{"a": 50}')$$, $$cdp.create_priority_list('first', '{seen}')$$,
    $$cdp.create_destination('d')$$, $$cdp.create_trait('plan', 'text')$$, $$cdp.create_computed_trait('n', 'count')$$, $$cdp.set_consent('user_id', 'ann', 'letter', true)$$,
    $$cdp.suppress('user_id', 'ann')$$, $$cdp.merge_profiles(1, 2, 'x')$$, $$cdp.split_identifier('user_id', 'ann', 'x')$$, $$cdp.create_identifier_type('card', 3)$$,
    $$cdp.apply_identity_rules()$$, $$cdp.rebuild(true)$$, $$cdp.process()$$]) call, pg_temp.refusal(call) GROUP BY code, message, hint;
-- Reading goes on, and so does collecting; what is collected is processed later.
SELECT size FROM cdp.preview_segment('event_count > 0');
SELECT condition, value, holds FROM cdp.explain_segment('seen', cdp.resolve('user_id', 'ann'));
SELECT cdp.get_profile('user_id', 'ann') -> 'segments' AS segments;
SELECT cdp.flush();
SELECT cdp.track('Seen', 'bob', message_id => '2');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cdp.flush();
ROLLBACK;
SELECT cdp.flush();
SELECT size FROM cdp.segment WHERE name = 'seen';
SELECT table_name, differing FROM cdp.rebuild() WHERE differing <> 0;

\c :main
DROP DATABASE cdp_regress_isolation_level;
