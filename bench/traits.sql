-- traits.sql: the 20 traits, as a user of cdp writes them: 4 declared and 16 computed, none with a
-- window. The baselines compute the same by hand; check.sql says what each must be.

SELECT cdp.create_trait('plan', 'text');
SELECT cdp.create_trait('country', 'text');
SELECT cdp.create_trait('age', 'integer');
SELECT cdp.create_trait('signup_plan', 'text', path => 'plan', survivorship => 'first');

SELECT cdp.create_computed_trait('orders', 'count', event => 'Order Completed');
SELECT cdp.create_computed_trait('discounted_orders', 'count', event => 'Order Completed',
    filter => $$properties ? 'coupon'$$);
SELECT cdp.create_computed_trait('product_views', 'count', event => 'Product Viewed');
SELECT cdp.create_computed_trait('searches', 'count', event => 'Products Searched');
SELECT cdp.create_computed_trait('app_events', 'count', filter => $$source = 'app'$$);
SELECT cdp.create_computed_trait('revenue', 'sum', event => 'Order Completed', property => 'revenue');
SELECT cdp.create_computed_trait('revenue_eur', 'sum', event => 'Order Completed', property => 'revenue',
    filter => $$properties ->> 'currency' = 'EUR'$$);
SELECT cdp.create_computed_trait('items_bought', 'sum', event => 'Order Completed', property => 'quantity');
SELECT cdp.create_computed_trait('average_order', 'avg', event => 'Order Completed', property => 'revenue');
SELECT cdp.create_computed_trait('smallest_order', 'min', event => 'Order Completed', property => 'revenue');
SELECT cdp.create_computed_trait('largest_order', 'max', event => 'Order Completed', property => 'revenue');
SELECT cdp.create_computed_trait('first_category', 'first', event => 'Order Completed', property => 'category');
SELECT cdp.create_computed_trait('last_category', 'last', event => 'Product Viewed', property => 'category');
SELECT cdp.create_computed_trait('categories_viewed', 'distinct_count', event => 'Product Viewed',
    property => 'category');
SELECT cdp.create_computed_trait('favourite_category', 'most_frequent', event => 'Product Viewed',
    property => 'category');
SELECT cdp.create_computed_trait('campaigns', 'unique_list', property => 'campaign');
