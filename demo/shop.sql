\pset footer off
\echo
\echo '-- A shop has its own orders table, as every shop has.'
CREATE SCHEMA shop;
CREATE TABLE shop.orders (order_id int PRIMARY KEY, customer text, email text, total numeric, created_at timestamptz);
INSERT INTO shop.orders VALUES
    (1, 'ann', 'ann@example.com', 120.00, now() - interval '40 days'),
    (2, 'ann', 'Ann@Example.com', 35.50, now() - interval '9 days'),
    (3, 'bob', 'bob@example.com', 12.00, now() - interval '3 days');
TABLE shop.orders;
\echo '-- CREATE EXTENSION, and the table becomes a source: history first, then every new row.'
CREATE EXTENSION cdp;
SELECT cdp.attach_table('shop.orders', 'Order Completed', '{"user_id": "customer", "email": "email"}', occurred_at => 'created_at') AS orders_sent;
\echo '-- What do we want to know of each person?'
SELECT cdp.create_trait('plan', 'text');
SELECT cdp.create_computed_trait('orders', 'count', event => 'Order Completed');
SELECT cdp.create_computed_trait('revenue', 'sum', event => 'Order Completed', property => 'total');
SELECT cdp.create_computed_trait('pages', 'count', filter => $$type = 'page'$$);
SELECT cdp.create_segment('good_customers', 'orders >= 2 AND revenue > 100 AND pages > 0') AS members;
\echo '-- The CRM shall have the good customers, by e-mail.'
SELECT cdp.create_destination('crm', segment => 'good_customers', key => 'email', columns => '{"plan": "plan", "orders": "orders", "revenue": "revenue", "segments": "cdp.segment_names()"}');
\echo '-- Visitors come to the web site. Nobody knows who they are.'
SELECT cdp.page('Home', anonymous_id => 'cookie-1');
SELECT cdp.page('Pricing', anonymous_id => 'cookie-1');
SELECT cdp.page('Home', anonymous_id => 'cookie-2');
SELECT cdp.flush();
SELECT profile_id, orders, revenue, pages FROM cdp.profile ORDER BY profile_id;
\echo '-- cookie-1 logs in: it was Ann. Two profiles become one, and she enters the segment.'
SELECT cdp.identify('ann', '{"email": "ann@example.com", "plan": "pro"}', anonymous_id => 'cookie-1') IS NOT NULL AS sent;
SELECT cdp.flush();
SELECT profile_id, plan, orders, revenue, pages FROM cdp.profile ORDER BY profile_id;
SELECT jsonb_pretty(cdp.get_profile('email', 'ann@example.com')) AS ann;
SELECT * FROM cdp.explain_segment('good_customers', cdp.resolve('user_id', 'ann'));
TABLE cdp_out.crm;
