-- writing.sql: what users have added to our tables (triggers, columns, constraints, keys) holds for what the pipeline writes.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_writing;
\c cdp_regress_writing
SET client_min_messages = warning;
CREATE EXTENSION cdp;
SELECT cdp.create_computed_trait('orders', 'count', event => 'Order Completed');
SELECT cdp.create_segment('buyers', 'orders > 0');

-- A column of a user's own with a default, and one that is generated.
ALTER TABLE cdp.profile ADD COLUMN tier text DEFAULT 'standard';
ALTER TABLE cdp.identifier ADD COLUMN domain text GENERATED ALWAYS AS (split_part(value, '@', 2)) STORED;
SELECT cdp.identify('ann', '{"email": "ann@example.com"}', message_id => 'm0');
SELECT cdp.flush();
SELECT tier, event_count FROM cdp.profile;
SELECT type, domain FROM cdp.identifier ORDER BY type;

-- A key that points to a profile, and triggers of every kind.
CREATE TABLE note (profile_id bigint REFERENCES cdp.profile, text text);
INSERT INTO note SELECT profile_id, 'first' FROM cdp.profile;
CREATE TABLE log (n int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION note_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.log (what) VALUES (TG_TABLE_NAME || ' ' || TG_WHEN || ' ' || TG_OP);
    RETURN NEW;
END $$;
CREATE FUNCTION note_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.log (what) SELECT TG_TABLE_NAME || ': ' || count(*) || ' rows' FROM fresh;
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT ON cdp.segment_transition FOR EACH ROW EXECUTE FUNCTION note_row();
CREATE TRIGGER noted BEFORE UPDATE ON cdp.profile FOR EACH ROW EXECUTE FUNCTION note_row();
CREATE TRIGGER noted AFTER INSERT ON cdp.event REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_rows();
CREATE TRIGGER noted AFTER INSERT ON cdp.identity_link REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_rows();
SELECT cdp.track('Order Completed', user_id => 'ann', anonymous_id => 'cookie', message_id => 'm1');
SELECT cdp.flush();
SELECT what FROM log ORDER BY what;
SELECT event_count, orders FROM cdp_segment.buyers;
DROP TRIGGER noted ON cdp.segment_transition;
DROP TRIGGER noted ON cdp.profile;
DROP TRIGGER noted ON cdp.event;
DROP TRIGGER noted ON cdp.identity_link;
DROP TABLE note;

-- A check that a message breaks, and an index on an expression that it breaks: the message is set aside, the rest goes on.
ALTER TABLE cdp.event ADD CONSTRAINT no_spies CHECK (event <> 'Spied');
SELECT cdp.track('Spied', user_id => 'eve', message_id => 'm2');
SELECT cdp.track('Order Completed', user_id => 'bob', message_id => 'm3');
SELECT cdp.flush();
CREATE UNIQUE INDEX one_vip ON cdp.profile ((traits ->> 'vip'));
SELECT cdp.identify('ann', '{"vip": "1"}', message_id => 'm4');
SELECT cdp.flush();
SELECT cdp.identify('bob', '{"vip": "1"}', message_id => 'm5');
SELECT cdp.flush();
SELECT message ->> 'message_id' AS message_id, reason FROM cdp.rejected_message ORDER BY rejection_id;
DROP INDEX cdp.one_vip;
ALTER TABLE cdp.event DROP CONSTRAINT no_spies;
SELECT cdp.retry_rejected();
SELECT cdp.flush();
SELECT count(*) FROM cdp.rejected_message;

-- A member that somebody has put there by hand does not stop the pipeline.
INSERT INTO cdp.segment_member SELECT i.profile_id, s.segment_id, now() FROM cdp.identifier i, cdp.segment s WHERE i.value = 'eve';
SELECT cdp.track('Order Completed', user_id => v, message_id => 'm6' || v) FROM unnest('{eve,fay}'::text[]) v;
SELECT cdp.flush();
SELECT count(*) FROM cdp_segment.buyers;

SELECT * FROM cdp.rebuild() WHERE differing <> 0;
\c :main
DROP DATABASE cdp_regress_writing;
