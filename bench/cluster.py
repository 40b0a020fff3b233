"""A private PostgreSQL cluster: made, used and thrown away by one run."""

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

SETTINGS = {
    # A quarter of the memory, as PostgreSQL's manual advises.
    "shared_buffers": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 4 >> 20}MB",
    "max_wal_size": "8GB",
    "wal_level": "logical",
}  # everything else, fsync included, as initdb leaves it; the same for every side

PORT = "54329"  # names the socket file in a directory of our own: nothing listens on the network


class Cluster:
    """Context manager. `folder` must exist; everything of the cluster lives in it."""

    def __init__(self, folder):
        pg_config = os.environ.get("PG_CONFIG", "pg_config")
        self.bin = Path(_output([pg_config, "--bindir"]).strip())
        self.version = _output([pg_config, "--version"]).strip()
        self.folder = Path(folder)
        self.preloaded = ""
        self._started = False
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        self.environment |= {"PGHOST": str(self.folder), "PGPORT": PORT, "PGUSER": "postgres", "PGTZ": "UTC"}

    def __enter__(self):
        try:
            self._create()
        except BaseException:  # a signal too
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._started and (self.folder / "data" / "postmaster.pid").exists():
            self._control("stop", "--mode", "immediate")

    def _create(self):
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            shutil.chown(self.folder, "postgres")
        self._as_owner("initdb", "--pgdata", self.folder / "data", "--username", "postgres", "--auth", "trust",
                       "--encoding", "UTF8", "--locale", "C.UTF-8")
        with open(self.folder / "data" / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"port = {PORT}\nlisten_addresses = ''\nunix_socket_directories = '{self.folder}'\n")
            conf.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
            conf.write("include_if_exists = 'preload.conf'\n")
        self._started = True
        self._control("start")
        self._warm()

    def preload(self, libraries):
        """Restarts with these shared_preload_libraries, unless they are the ones already there."""
        if libraries == self.preloaded:
            return
        conf = self.folder / "data" / "preload.conf"
        conf.write_text(f"shared_preload_libraries = '{libraries}'\n", encoding="utf-8")
        conf.chmod(0o644)
        self._control("restart", "--mode", "fast")
        self.preloaded = libraries
        self._warm()

    def _warm(self):
        """Uses every shared buffer once, as a server that has run for a while has: the kernel clears memory at its first use."""
        buffers = "(SELECT setting::int FROM pg_settings WHERE name = 'shared_buffers')"
        self.psql("postgres", "CREATE UNLOGGED TABLE warm (filler text)", "ALTER TABLE warm ALTER filler SET STORAGE PLAIN",
                  f"INSERT INTO warm SELECT repeat('x', 8000) FROM generate_series(1, {buffers})", "DROP TABLE warm")

    def create_database(self, name):
        self.psql("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')

    def psql(self, database, *commands, **variables):
        """Runs commands and files (Path) in order, each its own transaction; returns what they print."""
        arguments = []
        for command in commands:
            arguments += ["--file", str(command)] if isinstance(command, Path) else ["--command", command]
        for name, value in variables.items():
            arguments += ["--set", f"{name}={value}"]
        return _output([*self._psql(database), *arguments], env=self.environment).strip()

    def session(self, database):
        return Session(self._psql(database), self.environment)

    def copy_in(self, database, target, files):
        """COPYs files into `target`, one transaction a file. Returns the seconds that took."""
        script = "".join(f"\\copy {target} from '{file}'\n" for file in files)
        began = time.monotonic()
        _output(self._psql(database), input=script, env=self.environment)
        return time.monotonic() - began

    def stream_in(self, database, target, lines, per_transaction, then):
        """COPYs what the process `lines` prints into `target`, and after each transaction runs `then`."""
        each = [*self._psql(database), "--command", f"\\copy {target} from pstdin", "--command", then]
        _output(["split", "--lines", str(per_transaction), "--filter", shlex.join(each) + " >/dev/null"],
                stdin=lines.stdout, env=self.environment)
        if lines.wait() != 0:
            raise RuntimeError(f"{lines.args} failed")

    def program(self, *command, **options):
        """Runs a client program against this cluster; returns what it prints."""
        return _output([str(part) for part in command], env=self.environment, **options)

    def _psql(self, database):
        return [str(self.bin / "psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only",
                "--set", "ON_ERROR_STOP=1", "--dbname", database]

    def _control(self, *what):
        self._as_owner("pg_ctl", *what, "--pgdata", self.folder / "data", "--log", self.folder / "server.log",
                       "--wait", "--timeout", "600")

    def _as_owner(self, program, *arguments):
        command = [str(self.bin / program), *map(str, arguments)]
        owner = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        # Not to a pipe: the server inherits it and would keep it open.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=self.folder,
                              env=self.environment, check=False, **owner)
        if done.returncode != 0:
            log = self.folder / "server.log"
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{' '.join(command)} failed\n{tail}")


class Session:
    """One connection that stays open, so that what a backend has cached stays cached."""

    MARK = "=== end of answer ==="

    def __init__(self, command, environment):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True, env=environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()

    def run(self, sql):
        """Returns what one statement prints."""
        self._process.stdin.write(f"{sql};\n\\echo {self.MARK}\n")
        self._process.stdin.flush()
        lines = []
        for line in self._process.stdout:
            if line.rstrip("\n") == self.MARK:
                return "".join(lines).strip()
            lines.append(line)
        raise RuntimeError(f"{sql}\n{''.join(lines)}")

    def seconds(self, sql):
        """Returns how long one statement took."""
        began = time.monotonic()
        self.run(sql)
        return time.monotonic() - began


def _output(command, **options):
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed\n{done.stderr}{done.stdout[-2000:]}")
    return done.stdout
