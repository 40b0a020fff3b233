"""Counts and sums per customer kept on a table of orders, by cdp and, where it is installed, by pg_ivm."""

from statistics import median

SIZES = [1, 1_000, 10_000, 100_000]
ROUNDS = 5
LONG = 30      # seconds after which no more rounds are begun
GIVEN_UP = 90  # seconds after which a statement is

ORDERS = """
CREATE TABLE orders (order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, amount numeric NOT NULL);
CREATE FUNCTION some_orders(n int, customers int) RETURNS TABLE (customer text, amount numeric) LANGUAGE sql AS
    $$ SELECT 'customer-' || (random() * customers)::int, round((random() * 100)::numeric, 2) FROM generate_series(1, n) $$;
INSERT INTO orders (customer, amount) SELECT * FROM some_orders({orders}, {customers});
ANALYZE orders"""

SAME = "SELECT count(*) FROM (SELECT customer, count(*) AS n, sum(amount) AS total FROM orders GROUP BY 1) o FULL JOIN {kept} USING (customer, n, total) WHERE o.n IS NULL OR k.n IS NULL"


def run(bench):
    cluster = bench.cluster
    cluster.preload("")
    orders, customers = bench.scaled(1_000_000), bench.scaled(100_000)
    ours = _by_cdp(bench, orders, customers)
    for size in SIZES:
        bench.report.note(f"{size:,} orders inserted and their customers' counts and sums right: {1000 * ours[size]:,.1f} ms")
    per_row = [ours[size] / size * 1e6 for size in (100_000, 10_000)]
    bench.report.add("an order of 100,000 inserted at once against one of 10,000", f"{per_row[0]:.1f} µs against {per_row[1]:.1f} µs",
                     per_row[0] / per_row[1], 1.2, at_least=False)
    if not cluster.psql("postgres", "SELECT name FROM pg_available_extensions WHERE name = 'pg_ivm'"):
        bench.report.note("pg_ivm is not installed, and was not measured")
        return
    theirs = _by_pg_ivm(bench, orders, customers)
    for size in SIZES:
        taken = f"{1000 * theirs[size]:,.1f} ms" if size in theirs else f"given up after {GIVEN_UP} s"
        bench.report.note(f"{size:,} orders inserted, counts and sums kept by pg_ivm: {taken}")


def _by_cdp(bench, orders, customers):
    cluster, database = bench.cluster, "cdp_ivm"
    cluster.create_database(database)
    cluster.psql(database, "CREATE EXTENSION cdp CASCADE", ORDERS.format(orders=orders, customers=customers))
    with cluster.session(database) as session:
        session.run("SELECT cdp.attach_table('orders', 'Ordered', '{\"user_id\": \"customer\"}')")
        session.run("SELECT cdp.create_computed_trait('n', 'count', 'Ordered')")
        session.run("SELECT cdp.create_computed_trait('total', 'sum', 'Ordered', 'amount')")
        while int(session.run("SELECT cdp.process()")):
            pass
        cluster.psql(database, "VACUUM ANALYZE")
        seconds = _measure(session, customers, "; SELECT cdp.flush()")
        kept = ("(SELECT i.value AS customer, p.n, p.total FROM cdp.profile p JOIN cdp.identifier i USING (profile_id) WHERE i.type = 'user_id') k")
        _expect_same(session, kept)
    cluster.psql("postgres", f"DROP DATABASE {database}")
    return seconds


def _by_pg_ivm(bench, orders, customers):
    cluster, database = bench.cluster, "pg_ivm"
    cluster.create_database(database)
    cluster.psql(database, "CREATE EXTENSION pg_ivm", f"ALTER DATABASE {database} SET session_preload_libraries = pg_ivm",
                 ORDERS.format(orders=orders, customers=customers))
    with cluster.session(database) as session:
        session.run("SELECT pgivm.create_immv('kept', 'SELECT customer, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer')")
        cluster.psql(database, "VACUUM ANALYZE")
        session.run(f"SET statement_timeout = '{GIVEN_UP} s'")
        seconds = _measure(session, customers, "")
    with cluster.session(database) as session:
        _expect_same(session, "kept k")
    cluster.psql("postgres", f"DROP DATABASE {database}")
    return seconds


def _measure(session, customers, then):
    """The seconds by size; none of a size that timed out, nor of greater ones."""
    taken = {}
    for size in SIZES:
        rounds = []
        while len(rounds) < ROUNDS and sum(rounds) < LONG:
            try:
                rounds.append(session.seconds(f"INSERT INTO orders (customer, amount) SELECT * FROM some_orders({size}, {customers}){then}"))
            except RuntimeError as error:
                if "statement timeout" in str(error):
                    return taken
                raise
        taken[size] = median(rounds)
    return taken


def _expect_same(session, kept):
    if (differing := session.run(SAME.format(kept=kept))) != "0":
        raise RuntimeError(f"{differing} customers differ")
