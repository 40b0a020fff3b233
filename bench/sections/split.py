"""Taking one person apart among a million, against the same among ten thousand."""

from statistics import median

from sections.growth import grow

ROUNDS = 40

# A person like many: an account, an e-mail, two cookies, forty messages.
PERSON = """
SELECT count(cdp.identify('split-{i}', '{{"email": "split-{i}@x.org", "plan": "pro"}}', 'split-{i}-a')),
       count(cdp.track('Order Completed', 'split-{i}', anonymous_id => 'split-{i}-b', properties => '{{"total": 10}}'));
SELECT count(cdp.track('Product Viewed', anonymous_id => 'split-{i}-' || CASE WHEN n % 2 = 0 THEN 'a' ELSE 'b' END))
FROM generate_series(1, 38) n"""


def run(bench):
    few = _milliseconds(bench, 10_000)
    many = _milliseconds(bench, bench.scaled(1_000_000))
    bench.report.add("split_identifier among 1 M people against 10,000", f"{many:.2f} ms against {few:.2f} ms",
                     many / few, 1.5, at_least=False)


def _milliseconds(bench, people):
    cluster = bench.cluster
    cluster.preload("")
    database = bench.cdp_database("cdp_split")
    grow(bench, database, people, messages=3 * people)
    for i in range(ROUNDS):
        cluster.psql(database, PERSON.format(i=i))
    cluster.psql(database, "SELECT cdp.process()", "VACUUM ANALYZE", "CHECKPOINT")
    taken = []
    with cluster.session(database) as session:
        for i in range(ROUNDS):
            taken.append(session.seconds(f"SELECT cdp.split_identifier('anonymous_id', 'split-{i}-b', 'bench')"))
        apart = session.run("SELECT count(DISTINCT profile_id) FROM cdp.identifier WHERE value LIKE 'split-%'")
    if int(apart) != 2 * ROUNDS:
        raise RuntimeError(f"{ROUNDS} people were split into {apart}")
    cluster.psql("postgres", f"DROP DATABASE {database}")
    return 1000 * median(taken[5:])  # the first ones plan
