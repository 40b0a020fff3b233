\pset footer off
\echo
\echo '-- Back in the shop: Bob buys more, visits, and logs in.'
INSERT INTO shop.orders VALUES (4, 'bob', 'bob@example.com', 99.00, now());
SELECT cdp.identify('bob', '{"plan": "free"}', anonymous_id => 'cookie-2') IS NOT NULL AS sent;
SELECT cdp.flush();
SELECT * FROM cdp.rebuild();
