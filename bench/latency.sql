-- latency.sql: the segment that each probe puts its person into.

SELECT cdp.create_computed_trait('probes', 'count', event => 'Probe');
SELECT cdp.create_segment('probed', $$probes >= 1 AND event_count >= 1$$);
