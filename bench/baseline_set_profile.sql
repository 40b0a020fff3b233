-- baseline_set_profile.sql: traits and memberships, for a whole batch at once. Part of baseline_set.sql.

-- Takes from each message what a trait looks at.
CREATE FUNCTION base.collect_facts() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO batch_fact
    SELECT m.inbox_id, i.profile_id, m.occurred_at, m.source, m.event, m.properties ? 'coupon',
           m.properties ->> 'currency',
           CASE WHEN jsonb_typeof(m.properties -> 'revenue') = 'number'
                THEN (m.properties ->> 'revenue')::numeric END,
           CASE WHEN jsonb_typeof(m.properties -> 'quantity') = 'number'
                THEN (m.properties ->> 'quantity')::numeric END,
           m.properties ->> 'category', m.properties ->> 'campaign',
           CASE WHEN m.type = 'identify' THEN m.traits END
    FROM batch_message m
    JOIN batch_use u ON u.event_id = m.inbox_id AND u.position = 1
    JOIN batch_identifier i USING (identifier_id);
    ANALYZE batch_fact (profile_id, event);

    INSERT INTO batch_before
    SELECT touched.survivor_id, p.*
    FROM (SELECT DISTINCT profile_id AS survivor_id, profile_id FROM batch_fact
          UNION
          SELECT survivor_id, profile_id FROM batch_merge
          UNION
          SELECT survivor_id, survivor_id FROM batch_merge) AS touched
    JOIN base.profile p USING (profile_id);
    ANALYZE batch_before (survivor_id, profile_id);
END
$$;

-- Computes the touched profiles' new rows: what was there and what the batch adds, added up.
-- People who become one need nothing special: they are more than one row that was there.
CREATE FUNCTION base.compute_profiles() RETURNS void
    LANGUAGE plpgsql
AS $compute$
BEGIN
    EXECUTE format($$
    WITH sums AS (
        SELECT profile_id, min(first_seen_at) AS first_seen_at, max(last_seen_at) AS last_seen_at,
               sum(event_count)::bigint AS event_count, sum(orders)::bigint AS orders,
               sum(discounted_orders)::bigint AS discounted_orders, sum(product_views)::bigint AS product_views,
               sum(searches)::bigint AS searches, sum(app_events)::bigint AS app_events,
               sum(revenue) AS revenue, sum(revenue_eur) AS revenue_eur, sum(items_bought) AS items_bought,
               sum(priced_orders)::bigint AS priced_orders, min(smallest_order) AS smallest_order,
               max(largest_order) AS largest_order
        FROM (SELECT profile_id, min(occurred_at), max(occurred_at), count(*),
                     count(*) FILTER (WHERE event = 'Order Completed'),
                     count(*) FILTER (WHERE event = 'Order Completed' AND coupon),
                     count(*) FILTER (WHERE event = 'Product Viewed'),
                     count(*) FILTER (WHERE event = 'Products Searched'),
                     count(*) FILTER (WHERE source = 'app'),
                     sum(revenue) FILTER (WHERE event = 'Order Completed'),
                     sum(revenue) FILTER (WHERE event = 'Order Completed' AND currency = 'EUR'),
                     sum(quantity) FILTER (WHERE event = 'Order Completed'),
                     count(revenue) FILTER (WHERE event = 'Order Completed'),
                     min(revenue) FILTER (WHERE event = 'Order Completed'),
                     max(revenue) FILTER (WHERE event = 'Order Completed')
              FROM batch_fact
              GROUP BY profile_id
              UNION ALL
              SELECT survivor_id, first_seen_at, last_seen_at, event_count, orders, discounted_orders, product_views,
                     searches, app_events, revenue, revenue_eur, items_bought, priced_orders, smallest_order,
                     largest_order
              FROM batch_before)
            AS addend (profile_id, first_seen_at, last_seen_at, event_count, orders, discounted_orders, product_views,
                       searches, app_events, revenue, revenue_eur, items_bought, priced_orders, smallest_order,
                       largest_order)
        GROUP BY profile_id
    ),
    identified AS (
        SELECT f.profile_id, f.event_id, f.occurred_at, t.key, t.value
        FROM batch_fact f, jsonb_each(f.traits) AS t
    ),
    traits AS (
        SELECT profile_id, jsonb_object_agg(key, value) AS traits, jsonb_object_agg(key, at) AS trait_times
        FROM (SELECT DISTINCT ON (profile_id, key) profile_id, key, value, at
              FROM (SELECT profile_id, key, value, extract(epoch FROM occurred_at) AS at, event_id FROM identified
                    UNION ALL
                    SELECT survivor_id, t.key, t.value, (trait_times ->> t.key)::numeric, 0
                    FROM batch_before, jsonb_each(traits) AS t) AS said
              ORDER BY profile_id, key, at DESC, event_id DESC) AS latest
        GROUP BY profile_id
    ),
    signup AS (
        SELECT DISTINCT ON (profile_id) profile_id, plan, at
        FROM (SELECT profile_id, value #>> '{}' AS plan, occurred_at AS at, event_id FROM identified WHERE key = 'plan'
              UNION ALL
              SELECT survivor_id, signup_plan, signup_plan_at, 0
              FROM batch_before WHERE signup_plan IS NOT NULL) AS said
        ORDER BY profile_id, at, event_id
    ),
    first_order AS (
        SELECT DISTINCT ON (profile_id) profile_id, category, at, event_id
        FROM (SELECT profile_id, category, occurred_at AS at, event_id
              FROM batch_fact WHERE event = 'Order Completed' AND category IS NOT NULL
              UNION ALL
              SELECT survivor_id, first_category, first_category_at, first_category_event
              FROM batch_before WHERE first_category IS NOT NULL) AS candidate
        ORDER BY profile_id, at, event_id
    ),
    last_view AS (
        SELECT DISTINCT ON (profile_id) profile_id, category, at, event_id
        FROM (SELECT profile_id, category, occurred_at AS at, event_id
              FROM batch_fact WHERE event = 'Product Viewed' AND category IS NOT NULL
              UNION ALL
              SELECT survivor_id, last_category, last_category_at, last_category_event
              FROM batch_before WHERE last_category IS NOT NULL) AS candidate
        ORDER BY profile_id, at DESC, event_id DESC
    ),
    views AS (
        SELECT profile_id, jsonb_object_agg(category, n) AS category_views, count(*) AS categories_viewed,
               (array_agg(category ORDER BY n DESC, category))[1] AS favourite_category
        FROM (SELECT profile_id, category, sum(n) AS n
              FROM (SELECT profile_id, category, 1 FROM batch_fact
                    WHERE event = 'Product Viewed' AND category IS NOT NULL
                    UNION ALL
                    SELECT survivor_id, v.key, v.value::int FROM batch_before, jsonb_each_text(category_views) AS v)
                  AS view (profile_id, category, n)
              GROUP BY profile_id, category) AS by_category
        GROUP BY profile_id
    ),
    campaigns AS (
        SELECT profile_id, array_agg(campaign ORDER BY campaign) AS campaigns
        FROM (SELECT profile_id, campaign FROM batch_fact WHERE campaign IS NOT NULL
              UNION
              SELECT survivor_id, unnest(campaigns) FROM batch_before) AS seen
        GROUP BY profile_id
    ),
    reached AS (
        SELECT profile_id, bool_or(type = 'user_id') AS has_user_id, bool_or(type = 'email') AS has_email,
               bool_or(type = 'phone') AS has_phone
        FROM (SELECT profile_id, type FROM batch_identifier
              UNION ALL
              SELECT survivor_id, t.type::base.identifier_type
              FROM batch_before,
                   LATERAL (VALUES ('user_id', has_user_id), ('email', has_email), ('phone', has_phone))
                       AS t (type, has)
              WHERE t.has) AS carries
        GROUP BY profile_id
    ),
    profile AS (
        SELECT profile_id, first_seen_at, last_seen_at, event_count, coalesce(traits, '{}') AS traits,
               traits ->> 'plan' AS plan, traits ->> 'country' AS country, (traits ->> 'age')::integer AS age,
               signup.plan AS signup_plan,
               orders, discounted_orders, product_views, searches, app_events, revenue, revenue_eur, items_bought,
               revenue / nullif(priced_orders, 0) AS average_order, smallest_order, largest_order,
               first_order.category AS first_category, last_view.category AS last_category,
               coalesce(categories_viewed, 0) AS categories_viewed, favourite_category, campaigns,
               has_user_id, has_email, has_phone, coalesce(trait_times, '{}') AS trait_times, signup.at, priced_orders,
               first_order.at, first_order.event_id, last_view.at, last_view.event_id,
               coalesce(category_views, '{}') AS category_views
        FROM sums
        JOIN reached USING (profile_id)
        LEFT JOIN traits USING (profile_id)
        LEFT JOIN signup USING (profile_id)
        LEFT JOIN first_order USING (profile_id)
        LEFT JOIN last_view USING (profile_id)
        LEFT JOIN views USING (profile_id)
        LEFT JOIN campaigns USING (profile_id)
    )
    INSERT INTO batch_after SELECT *, %s FROM profile
    $$, base.segments_expression());
    ANALYZE batch_after (profile_id);
END
$compute$;

CREATE FUNCTION base.write_profiles() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    DELETE FROM base.profile p USING batch_merge m WHERE p.profile_id = m.profile_id;

    INSERT INTO base.profile_alias
    SELECT b.profile_id, b.survivor_id FROM batch_before b WHERE b.profile_id <> b.survivor_id;

    UPDATE base.profile p
    SET first_seen_at = a.first_seen_at, last_seen_at = a.last_seen_at, event_count = a.event_count,
        traits = a.traits, plan = a.plan, country = a.country, age = a.age, signup_plan = a.signup_plan,
        orders = a.orders, discounted_orders = a.discounted_orders, product_views = a.product_views,
        searches = a.searches, app_events = a.app_events, revenue = a.revenue, revenue_eur = a.revenue_eur,
        items_bought = a.items_bought, average_order = a.average_order, smallest_order = a.smallest_order,
        largest_order = a.largest_order, first_category = a.first_category, last_category = a.last_category,
        categories_viewed = a.categories_viewed, favourite_category = a.favourite_category, campaigns = a.campaigns,
        has_user_id = a.has_user_id, has_email = a.has_email, has_phone = a.has_phone, trait_times = a.trait_times,
        signup_plan_at = a.signup_plan_at, priced_orders = a.priced_orders,
        first_category_at = a.first_category_at, first_category_event = a.first_category_event,
        last_category_at = a.last_category_at, last_category_event = a.last_category_event,
        category_views = a.category_views, segments = a.segments
    FROM batch_after a
    WHERE p.profile_id = a.profile_id;

    INSERT INTO base.profile
    SELECT a.* FROM batch_after a
    WHERE NOT EXISTS (SELECT FROM batch_before b WHERE b.profile_id = a.profile_id)
    ORDER BY a.profile_id;
END
$$;

-- Brings the memberships up to the segments that each profile row now names.
CREATE FUNCTION base.write_memberships() RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    CREATE TEMP TABLE batch_change ON COMMIT DROP AS
    SELECT coalesce(was.segment_id, now_.segment_id) AS segment_id,
           coalesce(was.profile_id, now_.profile_id) AS profile_id, was.segment_id IS NULL AS entered
    FROM (SELECT profile_id, unnest(segments) AS segment_id FROM batch_before) AS was
    FULL JOIN (SELECT profile_id, unnest(segments) AS segment_id FROM batch_after) AS now_
        USING (profile_id, segment_id)
    WHERE was.segment_id IS NULL OR now_.segment_id IS NULL;
    ANALYZE batch_change;

    DELETE FROM base.segment_member m USING batch_change c
    WHERE NOT c.entered AND m.segment_id = c.segment_id AND m.profile_id = c.profile_id;

    INSERT INTO base.segment_member
    SELECT segment_id, profile_id, now() FROM batch_change WHERE entered ORDER BY segment_id, profile_id;

    INSERT INTO base.segment_transition
    SELECT c.segment_id, c.profile_id, c.entered, now(), f.event_id
    FROM batch_change c
    LEFT JOIN (SELECT profile_id, max(event_id) AS event_id FROM batch_fact GROUP BY profile_id) AS f
        USING (profile_id);
END
$$;
