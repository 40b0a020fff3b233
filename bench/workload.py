"""Builds the load generator and makes traffic with it."""

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent

INBOX_COLUMNS = ("message_id, type, source, user_id, anonymous_id, event, properties, traits, context, "
                 "occurred_at, received_at")


def build(source, folder, *libraries):
    """Compiles one of this folder's programs; returns where it is."""
    program = Path(folder) / Path(source).stem
    subprocess.run(["g++", "-std=c++20", "-O2", "-pthread", "-o", program, HERE / source, *libraries], check=True)
    return program


class Workload:
    """Traffic in files, made once for each combination of sizes."""

    def __init__(self, folder):
        self._folder = Path(folder)
        self._generator = build("generate.cpp", folder)

    def generator(self, messages, people, **options):
        """A process that prints the messages."""
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return subprocess.Popen([self._generator, "--messages", str(messages), "--people", str(people), *words],
                                stdout=subprocess.PIPE)

    def traffic(self, messages, people, *, per_file=10_000, **options):
        """The messages in files, in order. One file is one transaction of a client."""
        name = "-".join(f"{k}{v}" for k, v in {"m": messages, "p": people, "f": per_file, **options}.items())
        folder = self._folder / name
        if not folder.exists():
            folder.mkdir()
            with self.generator(messages, people, **options) as generator:
                subprocess.run(["split", "--lines", str(per_file), "--suffix-length", "6", "-", folder / "part."],
                               stdin=generator.stdout, check=True)
            if generator.returncode != 0:
                raise RuntimeError("generate failed")
        return sorted(folder.iterdir())

    def forget(self, files):
        """Gives the disk back."""
        shutil.rmtree(files[0].parent)
