"""cdp-relay to a webhook on loopback, in batches of 100; and what a dead destination costs another."""

import os
import signal
import subprocess
import sys
import time
from statistics import median

from workload import HERE

ROUNDS = 3
SECONDS = 120  # nothing takes longer


class Receiver:
    def __init__(self, how):
        self._process = subprocess.Popen([sys.executable, str(HERE / "receiver.py"), how], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{self._process.stdout.readline().strip()}/"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def count(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait_for(self, records, limit=SECONDS):
        """Returns the seconds until so many have come."""
        began = time.monotonic()
        while self.count() < records:
            if time.monotonic() - began > limit:
                raise RuntimeError(f"{self.count()} of {records} records came in {limit} s")
            time.sleep(0.02)
        return time.monotonic() - began


class Relay:
    def __init__(self, cluster, database):
        command = [str(cluster.bin / "cdp-relay"), "deliver", "--dsn", f"dbname={database}"]
        self._process = subprocess.Popen(command, env=cluster.environment, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def seconds(self):
        """Of a processor, so far."""
        with open(f"/proc/{self._process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(bench):
    cluster = bench.cluster
    cluster.preload("")
    database = bench.cdp_database("cdp_delivery")
    rows = bench.scaled(100_000)
    cluster.psql(database, f"""
        SELECT count(cdp.identify('u' || i, jsonb_build_object('email', 'u' || i || '@x.org', 'plan', 'pro')))
        FROM generate_series(1, {rows}) i""",
        "SELECT cdp.process()",
        *(f"""SELECT cdp.create_destination('{name}', key => 'email',
              columns => '{{"plan": "plan", "events": "event_count", "seen": "last_seen_at", "segments": "cdp.segment_names()"}}')"""
          for name in ("alive", "other")))

    with Receiver("count") as receiver, Receiver("silent") as silent:
        deliver(cluster, database, "alive", receiver.url)
        with Relay(cluster, database) as relay:
            seconds = receiver.wait_for(rows)
            bench.report.note(f"delivery, the first copy of {rows:,} rows: {rows / seconds:,.0f} rows/s")
            used = relay.seconds()
            rates = [change(cluster, database, "alive", receiver, rows) for _ in range(ROUNDS)]
            used = (relay.seconds() - used) / (ROUNDS * rows) * 1e6
        bench.report.add("cdp-relay to a webhook on loopback, batches of 100",
                         f"{rows:,} changed rows, {used:.0f} µs of a processor each", median(rates), 5_000, unit="rows/s")

        # Once with the other destination well and idle, once with it dead and everything of it waiting; in turns.
        idle, dead = [], []
        deliver(cluster, database, "other", receiver.url)
        with Relay(cluster, database):
            receiver.wait_for(receiver.count() + rows)
        for _ in range(ROUNDS):
            deliver(cluster, database, "other", receiver.url)
            with Relay(cluster, database):
                wait_until_settled(cluster, database, "other")
                idle.append(change(cluster, database, "alive", receiver, rows))
            deliver(cluster, database, "other", silent.url)
            with Relay(cluster, database):
                wait_until_settled(cluster, database, "alive")
                wait_until(cluster, database, "SELECT last_error IS NOT NULL FROM cdp.delivery_target WHERE destination = 'other'", "t")
                dead.append(change(cluster, database, "alive", receiver, rows))
        bench.report.add("its rate while another destination is dead",
                         f"{median(dead):,.0f} against {median(idle):,.0f} rows/s", median(dead) / median(idle), 0.95)
    cluster.psql(database, "SELECT cdp.drop_destination(name) FROM cdp.destination")
    cluster.psql("postgres", f"DROP DATABASE {database} WITH (FORCE)")


def deliver(cluster, database, destination, url):
    cluster.psql(database, f"""SELECT cdp.set_delivery('{destination}', 'webhook', '{url}', options => '{{"batch": 100, "timeout": 2}}')""")


def wait_until_settled(cluster, database, destination):
    wait_until(cluster, database, f"SELECT pending FROM cdp.delivery_report WHERE destination = '{destination}'", "0")


def wait_until(cluster, database, query, answer):
    deadline = time.monotonic() + SECONDS
    while cluster.psql(database, query) != answer:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not {answer}: {query}")
        time.sleep(0.5)


def change(cluster, database, destination, receiver, rows):
    """Changes every row, a thousand a transaction, as the pipeline would. Returns the rows a second that arrive."""
    before = receiver.count()
    began = time.monotonic()
    cluster.psql(database, f"""
        DO $$ DECLARE first int; BEGIN
            FOR first IN SELECT generate_series(1, {rows}, 1000) LOOP
                UPDATE cdp_out.{destination} SET events = events + 1
                WHERE email IN (SELECT 'u' || i || '@x.org' FROM generate_series(first, least(first + 999, {rows})) i);
                COMMIT;
            END LOOP; END $$""")
    receiver.wait_for(before + rows)
    return rows / (time.monotonic() - began)
