"""What was measured, as lines on the terminal and as a table for the README."""

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from cluster import SETTINGS


@dataclass
class Row:
    what: str
    measured: str  # both sides, with units
    value: float
    budget: float
    unit: str = "×"
    at_least: bool = True

    @property
    def met(self):
        return self.value >= self.budget if self.at_least else self.value <= self.budget

    def cells(self):
        sign = "≥" if self.at_least else "≤"
        value = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.3g}"
        return (self.what, self.measured, f"{value} {self.unit}", f"{sign} {self.budget:g} {self.unit}",
                "yes" if self.met else "**no**")


class Report:
    def __init__(self, version, scale):
        self._rows = []
        self._facts = [_machine(), version,
                       "settings: " + ", ".join(f"{k} = {v}" for k, v in SETTINGS.items()) + ", all else default",
                       f"scale {scale:g} (1 is the budget's sizes), {datetime.date.today():%Y-%m-%d}, "
                       f"load average before the start {os.getloadavg()[0]:.1f}"]
        for fact in self._facts:
            print(fact)

    def note(self, text):
        """A fact worth keeping that no budget speaks of."""
        print(f"  {text}", flush=True)
        self._facts.append(text)

    def add(self, *arguments, **options):
        row = Row(*arguments, **options)
        self._rows.append(row)
        print("  " + " | ".join(row.cells()), flush=True)

    def write(self, path):
        header = ("what", "measured", "result", "budget", "met")
        table = [header, ["---"] * len(header), *(row.cells() for row in self._rows)]
        lines = ["| " + " | ".join(cells) + " |" for cells in table]
        Path(path).write_text("\n".join([*lines, "", *(f"- {fact}" for fact in self._facts), ""]), encoding="utf-8")


def _machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                  if line.startswith("model name")), "unknown processor")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GB"
