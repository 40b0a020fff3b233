-- baseline_trigger.sql: the pipeline as a trigger that does everything for each message as it comes:
-- COPY base.inbox is all there is to call. The same work and the same tables as baseline_set.sql.
-- One indexed look-up or write a step, the profile row read once and written once a message, and
-- memberships touched only when they change.

\ir baseline_tables.sql

-- The segments that a profile is in. Generated, so that the 50 conditions are one prepared expression.
DO $do$
BEGIN
    EXECUTE format($$
        CREATE FUNCTION base.segments_of(p base.profile) RETURNS int[]
            LANGUAGE plpgsql STABLE
        AS $body$
        BEGIN
            RETURN (SELECT %s FROM (SELECT p.*) AS profile);
        END
        $body$
    $$, base.segments_expression());
END
$do$;

CREATE FUNCTION base.add_counts(a jsonb, b jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
RETURN (SELECT coalesce(jsonb_object_agg(key, n), '{}')
        FROM (SELECT key, sum(value::int) AS n
              FROM (SELECT * FROM jsonb_each_text(a) UNION ALL SELECT * FROM jsonb_each_text(b)) AS both_
              GROUP BY key) AS total);

CREATE FUNCTION base.favourite(counts jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
RETURN (SELECT key FROM jsonb_each_text(counts) ORDER BY value::int DESC, key LIMIT 1);

-- Sets the memberships of a profile to `after`, which were `before`.
CREATE FUNCTION base.change_memberships(of_profile bigint, before int[], after int[], cause bigint) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    entered int[] := ARRAY(SELECT unnest(after) EXCEPT SELECT unnest(before));
    exited int[] := ARRAY(SELECT unnest(before) EXCEPT SELECT unnest(after));
BEGIN
    IF entered <> '{}' THEN
        INSERT INTO base.segment_member SELECT s, of_profile, now() FROM unnest(entered) AS s;
        INSERT INTO base.segment_transition SELECT s, of_profile, true, now(), cause FROM unnest(entered) AS s;
    END IF;
    IF exited <> '{}' THEN
        DELETE FROM base.segment_member WHERE segment_id = ANY (exited) AND profile_id = of_profile;
        INSERT INTO base.segment_transition SELECT s, of_profile, false, now(), cause FROM unnest(exited) AS s;
    END IF;
END
$$;

-- Two people are one: the older keeps everything of both. Its segments are left to the caller.
CREATE FUNCTION base.merge_people(survivor bigint, gone bigint, cause bigint) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    s base.profile;
    g base.profile;
    both_traits record;
BEGIN
    UPDATE base.identifier SET profile_id = survivor WHERE profile_id = gone;
    INSERT INTO base.profile_alias VALUES (gone, survivor);
    SELECT * INTO s FROM base.profile WHERE profile_id = survivor;
    DELETE FROM base.profile WHERE profile_id = gone RETURNING * INTO g;
    PERFORM base.change_memberships(gone, g.segments, '{}', cause);

    SELECT coalesce(jsonb_object_agg(key, value), '{}') AS traits, coalesce(jsonb_object_agg(key, at), '{}') AS times
    INTO both_traits
    FROM (SELECT DISTINCT ON (key) key, value, at
          FROM (SELECT t.key, t.value, (s.trait_times ->> t.key)::numeric AS at FROM jsonb_each(s.traits) AS t
                UNION ALL
                SELECT t.key, t.value, (g.trait_times ->> t.key)::numeric FROM jsonb_each(g.traits) AS t) AS said
          ORDER BY key, at DESC) AS latest;
    IF s.signup_plan_at IS NULL OR g.signup_plan_at < s.signup_plan_at THEN
        s.signup_plan := g.signup_plan;
        s.signup_plan_at := g.signup_plan_at;
    END IF;
    IF s.first_category IS NULL
       OR (g.first_category_at, g.first_category_event) < (s.first_category_at, s.first_category_event) THEN
        s.first_category := g.first_category;
        s.first_category_at := g.first_category_at;
        s.first_category_event := g.first_category_event;
    END IF;
    IF s.last_category IS NULL
       OR (g.last_category_at, g.last_category_event) > (s.last_category_at, s.last_category_event) THEN
        s.last_category := g.last_category;
        s.last_category_at := g.last_category_at;
        s.last_category_event := g.last_category_event;
    END IF;
    s.category_views := base.add_counts(s.category_views, g.category_views);

    UPDATE base.profile
    SET first_seen_at = least(s.first_seen_at, g.first_seen_at),
        last_seen_at = greatest(s.last_seen_at, g.last_seen_at),
        event_count = s.event_count + g.event_count,
        traits = both_traits.traits,
        plan = both_traits.traits ->> 'plan',
        country = both_traits.traits ->> 'country',
        age = (both_traits.traits ->> 'age')::integer,
        signup_plan = s.signup_plan,
        orders = s.orders + g.orders,
        discounted_orders = s.discounted_orders + g.discounted_orders,
        product_views = s.product_views + g.product_views,
        searches = s.searches + g.searches,
        app_events = s.app_events + g.app_events,
        revenue = coalesce(s.revenue + g.revenue, s.revenue, g.revenue),
        revenue_eur = coalesce(s.revenue_eur + g.revenue_eur, s.revenue_eur, g.revenue_eur),
        items_bought = coalesce(s.items_bought + g.items_bought, s.items_bought, g.items_bought),
        average_order = coalesce(s.revenue + g.revenue, s.revenue, g.revenue)
                        / nullif(s.priced_orders + g.priced_orders, 0),
        smallest_order = least(s.smallest_order, g.smallest_order),
        largest_order = greatest(s.largest_order, g.largest_order),
        first_category = s.first_category,
        last_category = s.last_category,
        categories_viewed = (SELECT count(*) FROM jsonb_object_keys(s.category_views)),
        favourite_category = base.favourite(s.category_views),
        campaigns = CASE WHEN coalesce(s.campaigns, g.campaigns) IS NOT NULL
                         THEN ARRAY(SELECT unnest(s.campaigns) UNION SELECT unnest(g.campaigns) ORDER BY 1) END,
        has_user_id = s.has_user_id OR g.has_user_id,
        has_email = s.has_email OR g.has_email,
        has_phone = s.has_phone OR g.has_phone,
        trait_times = both_traits.times,
        signup_plan_at = s.signup_plan_at,
        priced_orders = s.priced_orders + g.priced_orders,
        first_category_at = s.first_category_at,
        first_category_event = s.first_category_event,
        last_category_at = s.last_category_at,
        last_category_event = s.last_category_event,
        category_views = s.category_views
    WHERE profile_id = survivor;
END
$$;

-- Finds or makes the identifiers of a message, strongest first, and the one person they belong to.
-- The first that belongs to another user is left out, and the weaker ones with it.
CREATE FUNCTION base.resolve(
    types base.identifier_type[], ids text[], at timestamptz, cause bigint,
    OUT person bigint, OUT identifier_ids bigint[]
)
    LANGUAGE plpgsql
AS $$
DECLARE
    known base.identifier;
BEGIN
    identifier_ids := '{}';
    FOR n IN 1 .. cardinality(types) LOOP
        UPDATE base.identifier
        SET last_seen_at = greatest(last_seen_at, at), first_seen_at = least(first_seen_at, at)
        WHERE value = ids[n] AND type = types[n]
        RETURNING * INTO known;
        IF NOT FOUND THEN
            person := coalesce(person, nextval('base.profile_id'));
            INSERT INTO base.identifier (type, value, profile_id, first_seen_at, last_seen_at)
            VALUES (types[n], ids[n], person, at, at)
            RETURNING * INTO known;
        ELSIF n = 1 THEN
            person := known.profile_id;
        ELSIF known.profile_id <> person THEN
            IF (types[1] = 'user_id' OR EXISTS (SELECT FROM base.profile WHERE profile_id = person AND has_user_id))
               AND EXISTS (SELECT FROM base.profile WHERE profile_id = known.profile_id AND has_user_id) THEN
                INSERT INTO base.identity_conflict AS c VALUES (identifier_ids[1], known.identifier_id, cause, 1)
                ON CONFLICT (identifier_a, identifier_b) DO UPDATE SET refusals = c.refusals + 1;
                EXIT;
            END IF;
            IF EXISTS (SELECT FROM base.profile WHERE profile_id = person) THEN
                PERFORM base.merge_people(least(person, known.profile_id), greatest(person, known.profile_id), cause);
                person := least(person, known.profile_id);
            ELSE
                -- So far only this message has spoken of the stronger identifiers.
                UPDATE base.identifier SET profile_id = known.profile_id
                WHERE identifier_id = ANY (identifier_ids);
                person := known.profile_id;
            END IF;
        END IF;
        IF n > 1 THEN
            INSERT INTO base.identity_link VALUES (identifier_ids[1], known.identifier_id, cause, at)
            ON CONFLICT DO NOTHING;
        END IF;
        identifier_ids := identifier_ids || known.identifier_id;
    END LOOP;
END
$$;

CREATE FUNCTION base.apply_message() RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    reason text := base.refusal(NEW);
    types base.identifier_type[];
    ids text[];
    who record;
    p base.profile;
    segments_before int[];
    is_new boolean;
    category text := NEW.properties ->> 'category';
    campaign text := NEW.properties ->> 'campaign';
    amount numeric;
BEGIN
    IF EXISTS (SELECT FROM base.event WHERE message_id = NEW.message_id) THEN
        RETURN NULL;
    END IF;

    SELECT array_agg(i.type ORDER BY i.type), array_agg(i.value ORDER BY i.type) INTO types, ids
    FROM (VALUES ('user_id'::base.identifier_type, NEW.user_id),
                 ('email', CASE WHEN NEW.type = 'identify' THEN lower(btrim(NEW.traits ->> 'email')) END),
                 ('phone', CASE WHEN NEW.type = 'identify' THEN btrim(NEW.traits ->> 'phone') END),
                 ('device_id', NEW.context -> 'device' ->> 'id'),
                 ('anonymous_id', NEW.anonymous_id)) AS i (type, value)
    WHERE base.identifies(i.value);
    IF reason IS NOT NULL OR types IS NULL THEN
        INSERT INTO base.rejected_message
        VALUES (NEW.message_id, coalesce(reason, 'no identifier'), to_jsonb(NEW));
        RETURN NULL;
    END IF;

    who := base.resolve(types, ids, NEW.occurred_at, NEW.inbox_id);

    INSERT INTO base.event
    VALUES (NEW.inbox_id, NEW.message_id, NEW.type, NEW.event, NEW.source, who.identifier_ids[1], NEW.occurred_at,
            NEW.received_at, NULL, NEW.user_id, NEW.anonymous_id, NULL, NULL, who.identifier_ids[2:], NEW.properties,
            NEW.traits, NEW.context);

    SELECT * INTO p FROM base.profile WHERE profile_id = who.person;
    is_new := NOT FOUND;
    IF is_new THEN
        p := jsonb_populate_record(NULL::base.profile, jsonb_build_object(
            'profile_id', who.person, 'first_seen_at', NEW.occurred_at, 'last_seen_at', NEW.occurred_at,
            'event_count', 0, 'traits', '{}'::jsonb, 'orders', 0, 'discounted_orders', 0, 'product_views', 0,
            'searches', 0, 'app_events', 0, 'categories_viewed', 0, 'has_user_id', false, 'has_email', false,
            'has_phone', false, 'trait_times', '{}'::jsonb, 'priced_orders', 0, 'category_views', '{}'::jsonb,
            'segments', '{}'::int[]));
    END IF;
    segments_before := p.segments;

    p.first_seen_at := least(p.first_seen_at, NEW.occurred_at);
    p.last_seen_at := greatest(p.last_seen_at, NEW.occurred_at);
    p.event_count := p.event_count + 1;
    p.has_user_id := p.has_user_id OR types[1] = 'user_id';
    IF NEW.source = 'app' THEN
        p.app_events := p.app_events + 1;
    END IF;
    IF campaign IS NOT NULL AND campaign <> ALL (coalesce(p.campaigns, '{}')) THEN
        p.campaigns := ARRAY(SELECT unnest(p.campaigns || campaign) ORDER BY 1);
    END IF;

    IF NEW.type = 'identify' THEN
        p.has_email := p.has_email OR 'email' = ANY (types[:cardinality(who.identifier_ids)]);
        p.has_phone := p.has_phone OR 'phone' = ANY (types[:cardinality(who.identifier_ids)]);
        SELECT p.traits || coalesce(jsonb_object_agg(t.key, t.value), '{}'),
               p.trait_times || coalesce(jsonb_object_agg(t.key, extract(epoch FROM NEW.occurred_at)), '{}')
        INTO p.traits, p.trait_times
        FROM jsonb_each(NEW.traits) AS t
        WHERE coalesce((p.trait_times ->> t.key)::numeric <= extract(epoch FROM NEW.occurred_at), true);
        p.plan := p.traits ->> 'plan';
        p.country := p.traits ->> 'country';
        p.age := (p.traits ->> 'age')::integer;
        IF NEW.traits ? 'plan' AND (p.signup_plan_at IS NULL OR NEW.occurred_at < p.signup_plan_at) THEN
            p.signup_plan := NEW.traits ->> 'plan';
            p.signup_plan_at := NEW.occurred_at;
        END IF;
    ELSIF NEW.event = 'Order Completed' THEN
        p.orders := p.orders + 1;
        IF NEW.properties ? 'coupon' THEN
            p.discounted_orders := p.discounted_orders + 1;
        END IF;
        IF jsonb_typeof(NEW.properties -> 'revenue') = 'number' THEN
            amount := (NEW.properties ->> 'revenue')::numeric;
            p.revenue := coalesce(p.revenue, 0) + amount;
            IF NEW.properties ->> 'currency' = 'EUR' THEN
                p.revenue_eur := coalesce(p.revenue_eur, 0) + amount;
            END IF;
            p.priced_orders := p.priced_orders + 1;
            p.average_order := p.revenue / p.priced_orders;
            p.smallest_order := least(p.smallest_order, amount);
            p.largest_order := greatest(p.largest_order, amount);
        END IF;
        IF jsonb_typeof(NEW.properties -> 'quantity') = 'number' THEN
            p.items_bought := coalesce(p.items_bought, 0) + (NEW.properties ->> 'quantity')::numeric;
        END IF;
        IF category IS NOT NULL AND (p.first_category IS NULL OR (NEW.occurred_at, NEW.inbox_id)
                                     < (p.first_category_at, p.first_category_event)) THEN
            p.first_category := category;
            p.first_category_at := NEW.occurred_at;
            p.first_category_event := NEW.inbox_id;
        END IF;
    ELSIF NEW.event = 'Product Viewed' THEN
        p.product_views := p.product_views + 1;
        IF category IS NOT NULL THEN
            p.category_views := jsonb_set(p.category_views, ARRAY[category],
                                          to_jsonb(coalesce((p.category_views ->> category)::int, 0) + 1));
            p.categories_viewed := (SELECT count(*) FROM jsonb_object_keys(p.category_views));
            p.favourite_category := base.favourite(p.category_views);
            IF p.last_category IS NULL
               OR (NEW.occurred_at, NEW.inbox_id) > (p.last_category_at, p.last_category_event) THEN
                p.last_category := category;
                p.last_category_at := NEW.occurred_at;
                p.last_category_event := NEW.inbox_id;
            END IF;
        END IF;
    ELSIF NEW.event = 'Products Searched' THEN
        p.searches := p.searches + 1;
    END IF;

    p.segments := base.segments_of(p);
    IF is_new THEN
        INSERT INTO base.profile SELECT p.*;
    ELSE
        UPDATE base.profile
        SET (profile_id, first_seen_at, last_seen_at, event_count, traits, plan, country, age, signup_plan, orders,
             discounted_orders, product_views, searches, app_events, revenue, revenue_eur, items_bought,
             average_order, smallest_order, largest_order, first_category, last_category, categories_viewed,
             favourite_category, campaigns, has_user_id, has_email, has_phone, trait_times, signup_plan_at,
             priced_orders, first_category_at, first_category_event, last_category_at, last_category_event,
             category_views, segments) = (SELECT p.*)
        WHERE profile_id = p.profile_id;
    END IF;
    IF p.segments <> segments_before THEN
        PERFORM base.change_memberships(p.profile_id, segments_before, p.segments, NEW.inbox_id);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER apply_message BEFORE INSERT ON base.inbox
    FOR EACH ROW EXECUTE FUNCTION base.apply_message();
