-- history_doors.sql: how segments went, how they overlap, and how fresh they are.

CREATE FUNCTION cdp.segment_overlap(a text, b text, OUT in_a bigint, OUT in_b bigint, OUT in_both bigint, OUT only_a bigint, OUT only_b bigint,
                                    OUT similarity double precision) RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    id_a bigint;
    id_b bigint;
    missing text;
BEGIN
    SELECT s.segment_id, s.size INTO id_a, in_a FROM cdp.segment s WHERE s.name = a;
    SELECT s.segment_id, s.size INTO id_b, in_b FROM cdp.segment s WHERE s.name = b;
    missing := CASE WHEN id_a IS NULL THEN a WHEN id_b IS NULL THEN b END;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'segment "%" does not exist', missing USING ERRCODE = 'undefined_object',
            HINT = 'cdp.segment lists them; cdp.create_segment makes others.';
    END IF;
    SELECT count(*) INTO in_both
    FROM cdp.segment_member x JOIN cdp.segment_member y ON y.profile_id = x.profile_id
    WHERE x.segment_id = id_a AND y.segment_id = id_b;
    only_a := in_a - in_both;
    only_b := in_b - in_both;
    similarity := in_both::double precision / nullif(in_a + in_b - in_both, 0);
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION cdp.segment_overlap(text, text) IS
    'How many people are in each of two segments, in both, and in one only; similarity: of those in either, the part that is in both (NULL: nobody is in either).';

-- Each segment by its index on transitions. Reckoned back from the size now, so that it holds where old transitions are gone.
CREATE VIEW cdp.segment_day AS
    SELECT s.name AS segment, d.day, d.entered, d.left_,
           s.size - coalesce(sum(d.entered - d.left_) OVER (PARTITION BY s.name ORDER BY d.day DESC
                                                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS size
    FROM cdp.segment s CROSS JOIN LATERAL (
        SELECT t.at::date AS day, count(*) FILTER (WHERE t.entered) AS entered, count(*) FILTER (WHERE NOT t.entered) AS left_
        FROM cdp.segment_transition t WHERE t.segment_id = s.segment_id GROUP BY 1) d;
COMMENT ON VIEW cdp.segment_day IS
    'How segments went: how often people entered and left on each day (of your TimeZone) on which somebody did, and the segment''s size at its end.';

-- What was filled at once when the segment was made or altered is no message's doing, and is not looked through.
CREATE VIEW cdp.segment_freshness AS
    SELECT s.name AS segment, f.p50, f.p99, f.changes, f.measured_over
    FROM cdp.segment s CROSS JOIN LATERAL (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY c.visible_at - c.since) AS p50,
               percentile_cont(0.99) WITHIN GROUP (ORDER BY c.visible_at - c.since) AS p99,
               count(*) AS changes,
               CASE WHEN count(*) > 0 THEN tstzrange(min(c.visible_at), max(c.visible_at), '[]') END AS measured_over
        FROM (SELECT coalesce(t.due_at, t.received_at) AS since,
                     CASE current_setting('track_commit_timestamp')
                          WHEN 'on' THEN coalesce(pg_xact_commit_timestamp(t.xmin), t.written_at) ELSE t.written_at END AS visible_at
              FROM cdp.segment_transition t
              WHERE t.segment_id = s.segment_id AND t.written_at IS NOT NULL AND t.at > greatest(s.created_at, s.altered_at)
              ORDER BY t.at DESC LIMIT 1000) c) f;
COMMENT ON VIEW cdp.segment_freshness IS
    'How long segments take to follow: the median and the 99th percentile of the last changes (1,000 at most) by messages or the clock since the segment was made or altered, how many these are, and when they were. From the commit of the oldest of the person''s messages in the batch (received_at, where track_commit_timestamp is off), or the instant that was due, to the batch''s commit (where that is off: to when it wrote the change, before destinations and the commit).';

REVOKE ALL ON FUNCTION cdp.segment_overlap(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.segment_overlap(text, text) TO cdp_marketer, cdp_analyst, cdp_admin;
