"""Making a segment over a million profiles, against CREATE TABLE AS of the same condition."""

from statistics import median

from sections.growth import grow

CONDITION = "event_count >= 3 AND app_events = 0 AND product_views >= 1"  # one person in eight


def run(bench):
    cluster = bench.cluster
    cluster.preload("")
    people = bench.scaled(1_000_000)
    database = bench.cdp_database("cdp_segment")
    grow(bench, database, people, messages=2 * people)
    cluster.psql(database, "CHECKPOINT")

    ours, plain = [], []
    with cluster.session(database) as session:
        for _ in range(5):
            plain.append(session.seconds(f"CREATE TABLE bench.members AS SELECT profile_id FROM cdp.profile "
                                         f"WHERE {CONDITION}"))
            ours.append(session.seconds(f"SELECT cdp.create_segment('measured', $${CONDITION}$$)"))
            size = session.run("SELECT count(*) FROM bench.members")
            kept = session.run("SELECT count(*) FROM cdp.segment_member JOIN cdp.segment USING (segment_id) "
                               "WHERE name = 'measured'")
            if size != kept:
                raise RuntimeError(f"the table has {size} rows, the segment {kept}")
            session.run("DROP TABLE bench.members")
            session.run("SELECT cdp.drop_segment('measured')")
    bench.report.add("create_segment against CREATE TABLE AS",
                     f"{median(ours):.3f} s against {median(plain):.3f} s: {int(size):,} members",
                     median(ours) / median(plain), 2, at_least=False)
    cluster.psql("postgres", f"DROP DATABASE {database}")
