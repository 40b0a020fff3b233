"""The worker's own memory after a million messages and after ten."""

import re
import threading
from pathlib import Path

from sections.pipeline import feed, wait_for_worker


def run(bench):
    cluster = bench.cluster
    cluster.preload("cdp")
    database = bench.cdp_database("cdp_memory")
    pid = wait_for_worker(cluster, database)
    unit, people = bench.scaled(1_000_000), bench.scaled(200_000)

    megabytes = []
    for seed in range(1, 11):
        files = bench.workload.traffic(unit, people, seed=seed)
        feed(cluster, database, files)
        if wait_for_worker(cluster, database) != pid:
            raise RuntimeError("the worker was restarted meanwhile")
        _wait_until_idle(cluster, database)
        megabytes.append(own_megabytes(pid))
        bench.workload.forget(files)
    bench.report.note(f"worker's memory after each {unit:,} messages, MB: "
                      + ", ".join(f"{size:.1f}" for size in megabytes))
    # It goes up and down by some megabytes, as the allocator finds pages that it can give back: the most of each half tells whether it grows.
    early, late = max(megabytes[:5]), max(megabytes[5:])
    bench.report.add("worker's memory when idle, the most of the second half of ten times the messages against the first",
                     f"{late:.1f} MB against {early:.1f} MB", late / early, 1.1, at_least=False)
    cluster.psql("postgres", f"DROP DATABASE {database} WITH (FORCE)")


def _wait_until_idle(cluster, database):
    """It gives memory back when there is nothing more to do, which is after flush() has returned."""
    with cluster.session(database) as session:
        while session.run("SELECT worker_state FROM cdp.status") != "idle":
            session.run("SELECT pg_sleep(0.1)")
        session.run("SELECT pg_sleep(1.5)")


def own_megabytes(pid):
    """Anonymous memory. Not "private": that counts shared buffers which only this process has touched."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024


class PeakMemory:
    """Context manager: the most memory of its own that a process had meanwhile, looked at ten times a second."""

    def __init__(self, pid):
        self.megabytes = 0
        self._pid, self._done = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _watch(self):
        while not self._done.wait(0.1):
            self.megabytes = max(self.megabytes, own_megabytes(self._pid))
