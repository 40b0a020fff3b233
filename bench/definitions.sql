-- definitions.sql: the workload as a user of cdp sets it up: 20 traits and 50 segments over them.

\ir traits.sql
\ir segments.sql

SELECT cdp.create_segment(name, definition) FROM bench.segment ORDER BY segment_id;
