"""A new destination of a million profiles: how fast cdp-relay copies it to a webhook on loopback, in batches of 100."""

from sections.delivery import Receiver, Relay, deliver, wait_until_settled
from sections.pipeline import drain


def run(bench):
    cluster, people = bench.cluster, bench.scaled(1_000_000)
    cluster.preload("")
    database = bench.cdp_database("cdp_first_copy")
    cluster.psql(database, f"""INSERT INTO cdp.inbox (type, user_id, traits)
        SELECT 'identify', 'user-' || i, jsonb_build_object('email', 'person.' || i || '@example.com', 'plan', 'pro') FROM generate_series(1, {people}) i""")
    drain(cluster, database, people)
    cluster.psql(database, "VACUUM ANALYZE")
    with cluster.session(database) as session:
        made = session.seconds("""SELECT cdp.create_destination('everybody', key => 'email',
            columns => '{"plan": "plan", "events": "event_count", "seen": "last_seen_at", "segments": "cdp.segment_names()"}')""")
    cluster.psql(database, "VACUUM ANALYZE", "CHECKPOINT")
    with Receiver("count") as receiver:
        deliver(cluster, database, "everybody", receiver.url)
        with Relay(cluster, database) as relay:
            seconds = receiver.wait_for(people, limit=1800)
            used = relay.seconds() / people * 1e6
            wait_until_settled(cluster, database, "everybody")
    bench.report.add(f"the first copy of {people:,} profiles to a webhook on loopback, batches of 100",
                     f"{seconds:.0f} s, {used:.0f} µs of the relay's processor each; the table itself was filled in {made:.0f} s",
                     people / seconds, 5_000, unit="rows/s")
    cluster.psql(database, "SELECT cdp.drop_destination('everybody')")
    cluster.psql("postgres", f"DROP DATABASE {database} WITH (FORCE)")
