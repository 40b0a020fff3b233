-- taking_back_doors.sql: taking people apart again, and explaining why they are one.

CREATE FUNCTION cdp.split_identifier(type text, value text, reason text) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_split_identifier';
COMMENT ON FUNCTION cdp.split_identifier(text, text, text) IS
    'Takes an identifier out of its profile into a new one of its own, which is returned, with the events that it was the strongest identifier of. What messages carried beside it stays together; what hung together by it alone comes apart too; the part with the strongest identifier keeps the profile_id. No message links it with the others again; cdp.merge_profiles does. An only identifier stays where it is.';
REVOKE ALL ON FUNCTION cdp.split_identifier(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.revoke_link(link_id bigint, reason text) RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_revoke_link';
COMMENT ON FUNCTION cdp.revoke_link(bigint, text) IS
    'Takes back one link of cdp.identity_link, whatever made it: message, match or person. What hung together by it alone comes apart and is kept apart; the part with the strongest identifier keeps the profile_id. If other links hold it together, nobody changes.';
REVOKE ALL ON FUNCTION cdp.revoke_link(bigint, text) FROM PUBLIC;

CREATE FUNCTION cdp.living_profile(profile_id bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    living bigint;
BEGIN
    SELECT p.profile_id INTO living FROM cdp.profile p WHERE p.profile_id = living_profile.profile_id
    UNION ALL SELECT a.profile_id FROM cdp.profile_alias a WHERE a.alias_id = living_profile.profile_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'profile % does not exist', living_profile.profile_id
            USING ERRCODE = 'undefined_object', HINT = 'cdp.resolve(type, value) finds the profile of an identifier.';
    END IF;
    RETURN living;
END $$;
COMMENT ON FUNCTION cdp.living_profile(bigint) IS 'Internal: the profile that an id means now; raises if there is none.';
REVOKE ALL ON FUNCTION cdp.living_profile(bigint) FROM PUBLIC;

CREATE FUNCTION cdp.explain_identity(
        profile_id bigint, OUT link_id bigint, OUT type_a text, OUT value_a text, OUT type_b text, OUT value_b text, OUT cause text,
        OUT message_id text, OUT event_id bigint, OUT matcher text, OUT score double precision, OUT reason text, OUT actor text,
        OUT linked_at timestamptz, OUT revoked_at timestamptz, OUT revoked_by text, OUT revoked_reason text)
    RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
    WITH own AS MATERIALIZED (
        SELECT i.identifier_id FROM cdp.living_profile(explain_identity.profile_id) p (id) JOIN cdp.identifier i ON i.profile_id = p.id)
    SELECT l.link_id, a.type, a.value, b.type, b.value, l.cause, l.message_id, l.event_id, l.matcher, l.score, l.reason, l.actor,
           l.linked_at, l.revoked_at, l.revoked_by, l.revoked_reason
    FROM (SELECT l.* FROM own JOIN cdp.identity_link l ON l.identifier_a = own.identifier_id
          UNION SELECT l.* FROM own JOIN cdp.identity_link l ON l.identifier_b = own.identifier_id) l
         JOIN cdp.identifier a ON a.identifier_id = l.identifier_a JOIN cdp.identifier b ON b.identifier_id = l.identifier_b
    ORDER BY l.link_id
$$;
COMMENT ON FUNCTION cdp.explain_identity(bigint) IS
    'Every link of the profile''s identifiers, in the order in which they were made: which two identifiers (the stronger first), by which cause: message (message_id, event_id: the first that carried both), manual (actor, reason), match (matcher, score) or rule; when; and who took it back, if somebody did. Then one of the two may be somebody else''s by now. An id that was merged away is understood; an unknown one is an error.';
REVOKE ALL ON FUNCTION cdp.explain_identity(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_identity(bigint) TO cdp_pii;

CREATE FUNCTION cdp.explain_merge(
        type_a text, value_a text, type_b text, value_b text, OUT step int, OUT from_type text, OUT from_value text, OUT to_type text,
        OUT to_value text, OUT link_id bigint, OUT cause text, OUT message_id text, OUT event_id bigint, OUT score double precision,
        OUT reason text, OUT actor text, OUT linked_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_merge';
COMMENT ON FUNCTION cdp.explain_merge(text, text, text, text) IS
    'The shortest chain of links in force that makes two identifiers one person, step by step. No row if they are two people (a NOTICE says which), or the same identifier.';
REVOKE ALL ON FUNCTION cdp.explain_merge(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_merge(text, text, text, text) TO cdp_pii;

CREATE VIEW cdp.suspicious_profile AS
    WITH counted AS (
        SELECT i.profile_id, i.type, count(*) AS identifiers,
               count(*) FILTER (WHERE i.first_seen_at > now() - interval '7 days' AND i.first_seen_at < 'infinity') AS recent
        FROM cdp.identifier i GROUP BY i.profile_id, i.type),
    person AS (
        SELECT c.profile_id, sum(c.identifiers)::bigint AS identifiers, sum(c.recent)::bigint AS recent,
               string_agg(format('%s of at most %s %s', c.identifiers, t.max_per_profile, c.type), ', ' ORDER BY t.priority, c.type)
                   FILTER (WHERE c.identifiers > t.max_per_profile OR (c.identifiers = t.max_per_profile AND t.max_per_profile > 2)) AS full_types
        FROM counted c JOIN cdp.identifier_type t ON t.name = c.type GROUP BY c.profile_id),
    usual AS (
        SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY p.identifiers) AS identifiers,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY p.recent) FILTER (WHERE p.recent > 0) AS recent
        FROM person p),
    refused AS (
        SELECT i.profile_id, count(DISTINCT (c.type, c.value)) AS identifiers, sum(c.refusals)::bigint AS refusals
        FROM cdp.identity_conflict c JOIN cdp.identifier i USING (identifier_id) GROUP BY i.profile_id),
    judged AS (
        SELECT p.profile_id, p.identifiers, p.recent, coalesce(r.refusals, 0) AS refusals,
               array_remove(ARRAY[
                   p.full_types,
                   CASE WHEN p.identifiers >= greatest(20, 10 * u.identifiers)
                        THEN format('%s identifiers, where half of all profiles have at most %s', p.identifiers, u.identifiers) END,
                   CASE WHEN r.identifiers >= 5
                        THEN format('%s identifiers of other people came with its own, in %s messages', r.identifiers, r.refusals) END,
                   CASE WHEN p.recent >= greatest(10, 10 * u.recent)
                        THEN format('%s identifiers in the last 7 days, where half of those that grew got at most %s', p.recent, u.recent) END], NULL) AS reasons
        FROM person p CROSS JOIN usual u LEFT JOIN refused r USING (profile_id))
    SELECT j.profile_id, j.identifiers, j.recent AS recent_identifiers, j.refusals, j.reasons FROM judged j WHERE j.reasons <> '{}';
COMMENT ON VIEW cdp.suspicious_profile IS
    'Profiles that may be several people, and why: a type of identifiers at its limit (if that is over 2) or beyond; 20 identifiers or more that are ten times the median; 5 or more identifiers that were refused (cdp.identity_conflict); 10 or more new in the last 7 days that are ten times the median of those that grew. Reads all identifiers.';
