"""Stitching 10 M links at once, against sorting them."""

import re
import time
from statistics import median


def run(bench):
    cluster = bench.cluster
    cluster.preload("")
    database = "cdp_stitch"
    cluster.create_database(database)
    cluster.psql(database, "CREATE EXTENSION cdp CASCADE", "CREATE SCHEMA bench")
    links = bench.scaled(10_000_000)
    # Users with some cookies each, of whom some are shared, in no order.
    cluster.psql(database, f"""
CREATE UNLOGGED TABLE bench.links AS
SELECT 'user_id'::text AS type_a, 'user-' || p AS value_a, 'anonymous_id'::text AS type_b, 'cookie-' || (p * 2 + (random() * 1.2)::int) AS value_b
FROM (SELECT (random() * {links} / 2)::bigint AS p FROM generate_series(1, {links})) x""", "VACUUM ANALYZE bench.links")
    with cluster.session(database) as session:
        sort = "SELECT count(*) FROM (SELECT * FROM bench.links ORDER BY type_a, value_a, type_b, value_b OFFSET 0) x"
        sorting = median(session.seconds(sort) for _ in range(3))
        began = time.monotonic()
        said = session.run("SELECT cdp.import_links('bench.links')")
        everything = time.monotonic() - began
    stitching = float(re.search(r"stitched in ([0-9.]+) s", said).group(1))
    bench.report.add("stitching 10 M links against ORDER BY over them", f"{stitching:.1f} s against {sorting:.1f} s",
                     stitching / sorting, 2, at_least=False)
    known = int(cluster.psql(database, "SELECT count(*) FROM cdp.identifier"))
    bench.report.note(f"import_links: all of it, {known:,} identifiers, links and profiles written too: {everything:.1f} s for {links:,} rows")
    cluster.psql("postgres", f"DROP DATABASE {database}")
