-- ingest.sql: Segment messages as JSON come in whole or are refused with a reason, and one never costs another.
-- Everything happens in transactions that are rolled back, so that no worker takes the messages away.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cdp;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';

-- What came in through this transaction, without what varies.
CREATE TEMP VIEW arrived AS
    SELECT i.message_id, i.type, i.source, i.user_id, i.anonymous_id, i.previous_id, i.group_id, i.event, i.properties,
           i.traits, i.context, i.occurred_at, i.sent_at, i.received_at
    FROM cdp.inbox i WHERE i.inbox_xid = pg_current_xact_id() ORDER BY i.inbox_id;

-- Each type of message finds its columns.
BEGIN;
SELECT * FROM cdp.ingest('[
    {"type": "identify", "messageId": "m1", "userId": "u1", "anonymousId": "a1", "traits": {"email": "jo@example.com"}},
    {"type": "track", "messageId": "m2", "userId": "u1", "event": "Order Completed", "properties": {"total": 12.50}},
    {"type": "page", "messageId": "m3", "anonymousId": "a1", "name": "Home", "properties": {"url": "https://example.com"}},
    {"type": "screen", "messageId": "m4", "anonymousId": "a1", "name": "Feed"},
    {"type": "group", "messageId": "m5", "userId": "u1", "groupId": "g1", "traits": {"plan": "pro"}},
    {"type": "alias", "messageId": "m6", "userId": "u1", "previousId": "a2"}]', 'shop');
SELECT message_id, type, source, user_id, anonymous_id, previous_id, group_id, event, properties, traits, context FROM arrived;
SELECT count(*) AS at_one_moment FROM arrived WHERE occurred_at = received_at AND received_at BETWEEN now() AND clock_timestamp();
ROLLBACK;

-- A single message, an array and a batch are alike; nothing is nothing.
BEGIN;
SELECT status, reason FROM cdp.ingest('{"type": "track", "userId": "u1", "event": "one"}');
SELECT status, reason FROM cdp.ingest('[{"type": "track", "userId": "u1", "event": "two"}]', NULL);
SELECT status, reason FROM cdp.ingest('{"batch": [{"type": "track", "userId": "u1", "event": "three"}], "writeKey": "secret"}');
SELECT count(*) FROM cdp.ingest('[]');
SELECT count(*) FROM cdp.ingest('{"batch": []}');
SELECT count(*) FROM cdp.ingest(NULL);
SELECT event, source, context FROM arrived;
ROLLBACK;

-- What a batch says holds for its messages, unless they say otherwise.
BEGIN;
SELECT status, reason FROM cdp.ingest('{"sentAt": "2024-05-01T10:00:00Z", "context": {"ip": "8.8.8.8", "locale": "de"}, "integrations": {"All": true}, "batch": [
    {"type": "track", "userId": "u1", "event": "all of it", "timestamp": "2024-05-01T09:59:00Z"},
    {"type": "track", "userId": "u1", "event": "most of it", "context": {"locale": "fr"}, "timestamp": "2024-05-01T09:58:00Z"},
    {"type": "track", "userId": "u1", "event": "little of it", "sentAt": "2024-05-01T10:00:30Z", "timestamp": "2024-05-01T10:00:00Z", "integrations": {"All": false}, "context": null},
    {"type": "track", "event": "refused", "timestamp": "2024-05-01T10:00:00Z"}]}');
SELECT event, context, sent_at, received_at - occurred_at AS before_receipt FROM arrived;
SELECT message FROM cdp.rejected_message WHERE message ->> 'event' = 'refused';
ROLLBACK;

-- A message without an id gets one; ids that are numbers become text.
BEGIN;
SELECT message_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' AS is_uuid, status
FROM cdp.ingest('[{"type": "track", "userId": "u1", "event": "a"}, {"type": "track", "userId": "u1", "event": "b", "messageId": " "}]');
SELECT * FROM cdp.ingest('{"type": "group", "messageId": 17, "userId": 12345678901234567890, "anonymousId": 1.50, "groupId": -3}');
SELECT user_id, anonymous_id, group_id FROM arrived WHERE type = 'group';
ROLLBACK;

-- The name and the category of a page.
BEGIN;
SELECT count(*) FROM cdp.ingest('[
    {"type": "page", "userId": "u1", "name": "Home", "category": "Retail"},
    {"type": "page", "userId": "u1", "name": "Home", "category": "Retail", "properties": {"category": "Shop"}},
    {"type": "page", "userId": "u1", "properties": {"name": "Cart"}},
    {"type": "screen", "userId": "u1", "event": "Feed"},
    {"type": "track", "userId": "u1", "event": "e", "name": "n", "category": "c"}]');
SELECT type, event, properties, context FROM arrived;
ROLLBACK;

-- Nothing that the inbox has no column for is lost. What the context itself says wins.
BEGIN;
SELECT count(*) FROM cdp.ingest('{"type": "track", "userId": "u1", "event": "e", "integrations": {"All": true, "Mixpanel": false},
    "channel": "browser", "version": "1.1", "role": "agent", "nothing": null, "receivedAt": "2015-02-23T22:28:55.387Z", "writeKey": "secret",
    "context": {"ip": "8.8.8.8", "channel": "mobile"}}');
SELECT context FROM arrived;
ROLLBACK;

-- The inbox's own spellings, and the spec's old one of type, are understood where the spec's own is not there.
BEGIN;
SELECT message_id, status FROM cdp.ingest('[
    {"action": "track", "message_id": "s1", "user_id": "u1", "anonymous_id": "a1", "event": "e", "occurred_at": "2024-05-01T10:00:00Z"},
    {"type": "alias", "message_id": "s2", "user_id": "u1", "previous_id": "p1"},
    {"type": "track", "action": "click", "messageId": "s3", "userId": "u1", "user_id": "other", "event": "e"}]');
SELECT message_id, type, user_id, anonymous_id, previous_id, context, CASE WHEN occurred_at < now() THEN occurred_at END AS occurred_at FROM arrived;
ROLLBACK;

-- When it happened: the device's clock is trusted for the delay only.
BEGIN;
SELECT count(*) FROM cdp.ingest('[
    {"type": "track", "userId": "u1", "event": "wrong clock", "originalTimestamp": "2001-01-01T00:00:00Z", "sentAt": "2001-01-01T00:05:00Z"},
    {"type": "track", "userId": "u1", "event": "as SDKs write it", "timestamp": "2001-01-01T00:00:00.000Z", "sentAt": "2001-01-01T00:05:00.250Z"},
    {"type": "track", "userId": "u1", "event": "both", "originalTimestamp": "2001-01-01T00:00:00Z", "timestamp": "2015-01-01", "sentAt": "2001-01-01T00:07:00Z"},
    {"type": "track", "userId": "u1", "event": "sent before it happened", "timestamp": "2001-01-01T00:05:00Z", "sentAt": "2001-01-01T00:00:00Z"},
    {"type": "track", "userId": "u1", "event": "not sent", "timestamp": "2001-01-01T00:00:00+02:00"},
    {"type": "track", "userId": "u1", "event": "not sent, original", "originalTimestamp": "2001-01-01T00:00:00"},
    {"type": "track", "userId": "u1", "event": "milliseconds", "timestamp": 1424730535387},
    {"type": "track", "userId": "u1", "event": "only sent", "sentAt": "2001-01-01T00:05:00Z"},
    {"type": "track", "userId": "u1", "event": "neither", "timestamp": ""}]');
SELECT event, CASE WHEN occurred_at < now() - interval '1 day' THEN occurred_at END AS occurred_at,
       CASE WHEN occurred_at > now() - interval '1 day' THEN received_at - occurred_at END AS before_receipt, sent_at FROM arrived;
ROLLBACK;
-- and no setting of the session changes that
BEGIN;
SET LOCAL timezone = 'Asia/Tokyo';
SET LOCAL datestyle = 'SQL, DMY';
SELECT count(*) FROM cdp.ingest('{"type": "track", "userId": "u1", "event": "e", "timestamp": "2001-02-03T04:05:06"}');
SET LOCAL timezone = 'UTC';
SET LOCAL datestyle = 'ISO, MDY';
SELECT occurred_at FROM arrived;
ROLLBACK;

-- What is refused is refused for a reason, kept whole, and costs the others nothing.
BEGIN;
DELETE FROM cdp.rejected_message;
SELECT * FROM cdp.ingest(jsonb_build_array(
    '{"type": "track", "messageId": "good 1", "userId": "u1", "event": "e"}'::jsonb,
    '{"type": "track", "messageId": "r1", "event": "nobody"}'::jsonb,
    '{"type": "track", "messageId": "r2", "userId": "undefined", "anonymousId": " ", "event": "nobody"}'::jsonb,
    '{"type": "track", "messageId": "r3", "userId": "u1"}'::jsonb,
    '{"type": "group", "messageId": "r4", "userId": "u1"}'::jsonb,
    '{"type": "alias", "messageId": "r5", "userId": "u1"}'::jsonb,
    '{"type": "alias", "messageId": "r6", "previousId": "u1"}'::jsonb,
    '{"type": "Track", "messageId": "r7", "userId": "u1", "event": "e"}'::jsonb,
    '{"messageId": "r8", "userId": "u1", "event": "no type"}'::jsonb,
    '{"type": "track", "messageId": "r9", "userId": "u1", "event": "e", "properties": "none"}'::jsonb,
    '{"type": "track", "messageId": "r10", "userId": "u1", "event": "e", "properties": [1]}'::jsonb,
    '{"type": "identify", "messageId": "r11", "userId": "u1", "traits": 7}'::jsonb,
    '{"type": "identify", "messageId": "r12", "userId": "u1", "context": true}'::jsonb,
    '{"type": "identify", "messageId": "r13", "userId": {"id": 1}}'::jsonb,
    '{"type": "identify", "messageId": "r14", "userId": true, "anonymousId": "a1"}'::jsonb,
    '{"type": 3, "messageId": "r15", "userId": "u1"}'::jsonb,
    '{"type": "track", "messageId": "r16", "userId": "u1", "event": ["e"]}'::jsonb,
    '{"type": "track", "messageId": "r17", "userId": "u1", "event": "e", "timestamp": "yesterday"}'::jsonb,
    '{"type": "track", "messageId": "r18", "userId": "u1", "event": "e", "sentAt": "2024-02-30T00:00:00Z"}'::jsonb,
    '{"type": "track", "messageId": "r19", "userId": "u1", "event": "e", "timestamp": 1e30}'::jsonb,
    '{"type": "track", "messageId": "r20", "userId": "u1", "event": "e", "timestamp": {}}'::jsonb,
    '{"type": "track", "messageId": "r21", "userId": "u1", "event": "e", "timestamp": "9999-01-01T00:00:00Z"}'::jsonb,
    jsonb_build_object('type', 'track', 'messageId', 'r22', 'userId', repeat('ü', 201), 'event', 'e'),
    jsonb_build_object('type', 'track', 'messageId', 'r23', 'userId', 'u1', 'event', repeat('ü', 501)),
    jsonb_build_object('type', 'track', 'messageId', 'r24', 'userId', 'u1', 'event', 'e', 'properties', jsonb_build_object('x', repeat('x', 33000))),
    jsonb_build_object('type', 'identify', 'messageId', 'r25', 'anonymousId', 'a1', 'traits', jsonb_build_object('email', repeat('x', 201))),
    jsonb_build_object('type', repeat('€', 120), 'messageId', 'r26', 'userId', 'u1'),
    '{"messageId": ["r27"], "type": "track", "userId": "u1", "event": "e"}'::jsonb,
    '"text"'::jsonb, '42'::jsonb, 'null'::jsonb, 'true'::jsonb, '[]'::jsonb, '{}'::jsonb,
    jsonb_build_object('type', 'track', 'messageId', 'good 2', 'userId', repeat('ü', 200), 'event', repeat('ü', 500)),
    '{"type": "track", "messageId": "good 3", "context": {"externalIds": [{"type": "email", "id": "jo@example.com"}]}, "event": "e"}'::jsonb,
    '{"type": "track", "messageId": "good 4", "userId": "u1", "event": "e", "properties": [], "context": []}'::jsonb));
SELECT message_id, properties, context FROM arrived;
SELECT left(message::text, 60) AS message, reason, left(detail, 100) AS detail, source, from_inbox, received_at IS NOT NULL AS received
FROM cdp.rejected_message ORDER BY rejection_id;
ROLLBACK;
BEGIN;
DELETE FROM cdp.rejected_message;
SELECT * FROM cdp.ingest('"text"');
SELECT * FROM cdp.ingest('{"batch": {"type": "track"}}');
SELECT * FROM cdp.ingest('{"type": "track", "userId": "u1", "event": "e"}', repeat('s', 501));
SELECT message, reason FROM cdp.rejected_message ORDER BY rejection_id;
ROLLBACK;

-- Whatever JSON there is comes through as it is.
BEGIN;
SELECT count(*) FROM cdp.ingest('{"type": "track", "userId": "\"''\\ü😀\u0001", "event": "DROP TABLE x; --", "messageId": "m",
    "properties": {"": {"a": [1, {"b": null}, []]}, "n": 1e-40, "big": 123456789012345678901234567890.123, "t": "2024-01-01"}}');
SELECT user_id = E'"''\\ü😀\x01' AS same_user, event, properties FROM arrived;
-- as deep as JSON itself can be read
SELECT status FROM cdp.ingest((repeat('{"a":', 2000) || '1' || repeat('}', 2000))::jsonb || '{"type": "track", "userId": "u1", "event": "deep"}');
ROLLBACK;

-- Order is kept, many at a time.
BEGIN;
SELECT status, count(*) FROM cdp.ingest((SELECT jsonb_agg(jsonb_build_object('type', 'track', 'userId', 'u' || n % 7, 'event', 'e' || n)
                                                          || CASE WHEN n % 10 = 0 THEN '{"userId": null}'::jsonb ELSE '{}' END ORDER BY n)
                                         FROM generate_series(1, 5000) n)) GROUP BY status ORDER BY status;
SELECT count(*) AS out_of_order FROM (SELECT substr(event, 2)::int < lag(substr(event, 2)::int) OVER (ORDER BY n) AS wrong
                                      FROM (SELECT event, row_number() OVER () AS n FROM arrived) _) _ WHERE wrong;
ROLLBACK;

-- What was refused can be put right, or the rules changed, and sent again.
BEGIN;
DELETE FROM cdp.rejected_message;
SELECT message_id, status FROM cdp.ingest('[{"type": "track", "messageId": "f1", "userId": "u1", "timestamp": "2024-05-01T10:00:00Z"},
                                            {"type": "track", "messageId": "f2", "event": "e", "sentAt": "2024-05-01T10:00:00Z", "timestamp": "2024-05-01T09:59:00Z"},
                                            {"type": "track", "messageId": "f3", "userId": "u1"}, 5]', 'shop');
UPDATE cdp.rejected_message SET message = message || '{"event": "put right"}' WHERE message ->> 'messageId' = 'f1';
UPDATE cdp.rejected_message SET message = message || '{"userId": "u2"}', received_at = '2024-05-01T12:00:00Z' WHERE message ->> 'messageId' = 'f2';
SELECT cdp.retry_rejected();
SELECT message_id, source, user_id, event, occurred_at FROM arrived;
SELECT received_at FROM arrived WHERE message_id = 'f2';
SELECT message, reason, source FROM cdp.rejected_message ORDER BY rejection_id;
ROLLBACK;
-- Those that the pipeline rejected go back into the inbox as they were.
BEGIN;
DELETE FROM cdp.rejected_message;
INSERT INTO cdp.inbox (message_id, type, source, user_id, anonymous_id, event, properties, context, occurred_at, sent_at, received_at)
VALUES ('p1', 'track', 'app', 'u1', 'a1', 'e', '{"a": null}', '"odd"', '2024-05-01 10:00:00.123456+00', '2024-05-01 10:01+00', '2024-05-01 10:02+00'),
       ('p2', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT * FROM arrived;
INSERT INTO cdp.rejected_message (message, reason, from_inbox, received_at)
SELECT to_jsonb(i), 'no identifier', true, coalesce(i.received_at, '2024-05-02') FROM cdp.inbox i WHERE i.inbox_xid = pg_current_xact_id();
INSERT INTO cdp.rejected_message (message, reason, from_inbox) VALUES ('{"message_id": "p3", "occurred_at": "soon"}', 'for fun', true), ('7', 'for fun', true);
DELETE FROM cdp.inbox WHERE inbox_xid = pg_current_xact_id();
SELECT cdp.retry_rejected();
SELECT * FROM arrived WHERE message_id = 'p1' EXCEPT ALL SELECT * FROM before;
SELECT type, source, occurred_at, received_at FROM arrived WHERE message_id = 'p2';
SELECT message, reason, detail, from_inbox FROM cdp.rejected_message ORDER BY rejection_id;
ROLLBACK;

-- The size that counts is that of the JSON, however much more it is as jsonb: 15,000 digits are 30 KB.
BEGIN;
SELECT cdp.ingest(jsonb_build_object('type', 'track', 'userId', 'u1', 'event', 'e', 'messageId', 'size-' || n,
                                     'properties', jsonb_build_object('digits', (SELECT jsonb_agg(i % 10) FROM generate_series(1, n) i))))
FROM unnest('{15000, 17000}'::int[]) n;
ROLLBACK;

-- A sender needs no other right than to call it, and gets no other.
BEGIN;
SET LOCAL ROLE cdp_ingest;
SELECT status, reason FROM cdp.ingest('[{"type": "track", "userId": "u1", "event": "e"}, {}]');
SAVEPOINT s;
SELECT cdp.retry_rejected();
ROLLBACK TO s;
SELECT * FROM cdp.rejected_message;
ROLLBACK TO s;
RESET ROLE;
CREATE ROLE cdp_test_nobody;
GRANT USAGE ON SCHEMA cdp TO cdp_test_nobody;
SET LOCAL ROLE cdp_test_nobody;
SELECT * FROM cdp.ingest('{}');
ROLLBACK;
