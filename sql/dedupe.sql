-- dedupe.sql: a message id counts once, however the keys are merged meanwhile and whoever merges them.
SELECT current_database() AS main \gset
CREATE DATABASE cdp_regress_dedupe;
\c cdp_regress_dedupe
SET client_min_messages = warning;
CREATE EXTENSION cdp;

-- Small batches, until a merge is under way that takes more than one of them; half of each has come before.
CREATE PROCEDURE send(first int, batches int, until_merging boolean) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN first..first + batches - 1 LOOP
        EXIT WHEN until_merging AND EXISTS (SELECT FROM cdp.message_key_run WHERE key_count = 0);
        INSERT INTO cdp.inbox (message_id, user_id, event)
        SELECT 'm' || n, 'u' || n % 7, 'Seen' FROM generate_series(i * 200, i * 200 + 399) n;
        COMMIT;
        PERFORM cdp.process();
        COMMIT;
    END LOOP;
END $$;
CALL send(0, 400, true);
SELECT count(*) FROM cdp.message_key_run WHERE key_count = 0;
SELECT count(*) > 16000 AS many, count(DISTINCT message_id) = count(*) AS once, max(substr(message_id, 2)::int) + 1 = count(*) AS all_there FROM cdp.event;
SELECT count(*) AS events FROM cdp.event \gset

-- Another session finds it unfinished.
\c
SET client_min_messages = warning;
INSERT INTO cdp.inbox (message_id, user_id, event) SELECT 'm' || n, 'u' || n % 7, 'Seen' FROM generate_series(0, 80000) n WHERE n < :events OR n % 1000 = 0;
SELECT cdp.flush();
SELECT count(DISTINCT message_id) = count(*) AS once FROM cdp.event;
SELECT sum(key_count) = (SELECT count(*) FROM cdp.event) AS each, count(*) FILTER (WHERE key_count = 0) AS unfinished,
       sum(key_count) = (SELECT sum(length(keys)) / 24 FROM cdp.message_key_chunk) AS nothing_left
FROM cdp.message_key_run;

-- To its end, and beyond the window.
CALL send(1000, 90, false);
SELECT count(DISTINCT message_id) = count(*) AS once FROM cdp.event;
SELECT sum(key_count) = (SELECT count(*) FROM cdp.event) AS each FROM cdp.message_key_run WHERE key_count > 0;
SET cdp.dedupe_window = '1 hour';
INSERT INTO cdp.inbox (message_id, user_id, event, received_at, occurred_at) VALUES ('m1', 'u1', 'Seen', now() + '2 hours', now());
SELECT cdp.flush();
SELECT count(*) FROM cdp.event WHERE message_id = 'm1';
\c :main
DROP DATABASE cdp_regress_dedupe;
