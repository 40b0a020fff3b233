-- multiply.sql: makes :times as many people of those that are there, everything that is kept of them included, in the order of
-- their ids, so that the old ones are evenly among the new ones. With :times = 1 nothing changes. What is not multiplied: the
-- keys of messages seen, so that of the new people no message is known as such.
--
-- The copies have the old ones' values with ~1, ~2, … behind. Every id i becomes i * :times + 0, 1, 2, ….

SET client_min_messages = warning;
SET synchronous_commit = off;
SET work_mem = '256MB';
SELECT set_config('bench.times', :'times', false) AS times;

DO $$
DECLARE
    times bigint := current_setting('bench.times');
    kind record;
    list text;
BEGIN
    IF times = 1 THEN
        RETURN;
    END IF;
    FOR kind IN SELECT * FROM (VALUES
        ('identifier', '{identifier_id, profile_id}'::text[], '{value}'::text[]),
        ('identity_link', '{link_id, identifier_a, identifier_b, event_id, after_event_id, revoked_after_event_id}', '{}'),
        ('identity_conflict', '{identifier_id, event_id}', '{value}'),
        ('profile_alias', '{alias_id, profile_id, identifier_id}', '{}'),
        ('profile', '{profile_id}', '{}'),
        ('timer', '{profile_id}', '{}'),
        ('segment_member', '{profile_id}', '{}'),
        ('segment_transition', '{profile_id, event_id}', '{}'),
        ('event', '{event_id, identifier_id}', '{message_id}')) k (name, ids, texts)
    LOOP
        SELECT string_agg(CASE WHEN a.attname = ANY (kind.ids) THEN format('t.%I * %s + k', a.attname, times)
                               WHEN a.attname = ANY (kind.texts) THEN format($f$CASE k WHEN 0 THEN t.%1$I ELSE t.%1$I || '~' || k END$f$, a.attname)
                               WHEN a.attname = 'linked_ids' THEN format('(SELECT array_agg(id * %s + k) FROM unnest(t.linked_ids) id)', times)
                               ELSE format('t.%I', a.attname) END, ', ' ORDER BY a.attnum) INTO list
        FROM pg_attribute a WHERE a.attrelid = format('cdp.%I', kind.name)::regclass AND a.attnum > 0 AND NOT a.attisdropped;
        EXECUTE format('CREATE UNLOGGED TABLE bench_old AS SELECT * FROM cdp.%I t ORDER BY %I', kind.name, kind.ids[1]);
        EXECUTE format('TRUNCATE cdp.%I', kind.name);
        EXECUTE format('INSERT INTO cdp.%I SELECT %s FROM bench_old t CROSS JOIN generate_series(0, %s) k', kind.name, list, times - 1);
        DROP TABLE bench_old;
    END LOOP;
    UPDATE cdp.segment SET size = size * times;
    PERFORM setval(s, (nextval(s) + 1) * times) FROM unnest('{cdp.identifier_id_seq, cdp.identity_link_id_seq, cdp.profile_id_seq, cdp.event_id_seq}'::regclass[]) s;
END $$;
