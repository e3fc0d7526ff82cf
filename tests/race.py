#!/usr/bin/env python3
"""Draw docs/images/performance.svg and write the tables in docs/performance.md, from target/race.json.

    target/venvs/drawing/bin/python tests/race.py [FILE]

`make race` writes that file. A table replaces the text between `<!-- race: NAME -->` and `<!-- race: end -->`. Needs
matplotlib.
"""

import json
import os
import re
import statistics
import sys
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/performance.md"
PICTURE = ROOT / "docs/images/performance.svg"
OWN, OTHER = "#2a7f62", "#b0b7bf"
# The same file for the same values, with text as text.
plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False,
                     "svg.hashsalt": "race", "svg.fonttype": "none", "font.family": ["DejaVu Sans", "sans-serif"]})


def number(value):
    """Format with three significant digits."""
    if abs(value) >= 100:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def median(row):
    return statistics.median(row["values"])


def ratio(row, base):
    """The median ratio within the rounds, as text; empty if there is none."""
    if not all(base["values"]):
        return ""
    value = statistics.median(own / other for own, other in zip(row["values"], base["values"], strict=True))
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def by_measure(rows):
    measures = {}
    for row in rows:
        measures.setdefault(row["measure"], []).append(row)
    return measures


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(row):
    least, most = number(min(row["values"])), number(max(row["values"]))
    return f"{least} to {most}" if least != most else ""


def peers_table(sections):
    lines = []
    for name in ("events", "memory", "push"):
        for measure, rows in by_measure(sections[name]["rows"]).items():
            for at, row in enumerate(rows):
                lost = f"{statistics.median(row['lost']):.0%}" if row["lost"] else ""
                lines.append([measure if at == 0 else "", row["program"], f"{number(median(row))} {row['unit']}",
                              spread(row), ratio(row, rows[0]), lost])
    return table(["measure", "program", "median", "range", "ratio", "events lost"], lines)


def latency_table(sections):
    lines = []
    for measure, rows in by_measure(sections["latency"]["rows"]).items():
        load = measure.removeprefix("latency, ")
        lines.append([load, *(f"{number(median(row))} ms" for row in rows)])
    return table(["load", "p50", "p50 from the snapshot on", "p99", "p99 from the snapshot on"], lines)


def scale_table(sections):
    lines = []
    for curve in sections["scale"]["curves"]:
        for at, point in enumerate(curve["points"]):
            lines.append([curve["by"] if at == 0 else "", number(point["at"]),
                          *(number(point["costs"][name]) for name in COSTS)])
    return table(["by", "amount", *COSTS], lines)


COSTS = ["CPU, % of a core", "memory, MiB", "snapshot, ms", "checkpoint, ms", "checkpoint, MB"]


def shards_table(sections):
    measures = list(by_measure(sections["shards"]["rows"]).values())
    lines = []
    for rows in zip(*measures, strict=True):
        lines.append([rows[0]["program"], *(f"{number(median(row))} {row['unit']} ({spread(row)})" for row in rows)])
    return table(["daemons", "throughput", "CPU per event, all daemons"], lines)


def machine_text(report):
    versions = ", ".join(f"{program} {version}" for program, version in report["versions"].items())
    dates = sorted(section["date"][:10] for section in report["sections"].values())
    days = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return f"Measured on {days}: {report['machine']}.\n\n{versions}."


def write_page(report):
    sections = report["sections"]
    texts = {"machine": machine_text(report)}
    for name, make, needed in (("peers", peers_table, ("events", "memory", "push")), ("latency", latency_table, ("latency",)),
                               ("scale", scale_table, ("scale",)), ("shards", shards_table, ("shards",))):
        if all(section in sections for section in needed):
            texts[name] = make(sections)
    page = PAGE.read_text(encoding="utf-8")
    for name, text in texts.items():
        begin = f"<!-- race: {name} -->"
        pattern = re.compile(re.escape(begin) + r".*?<!-- race: end -->", re.DOTALL)
        page, count = pattern.subn(lambda _, text=text, begin=begin: f"{begin}\n{text}\n<!-- race: end -->", page)
        if count != 1:
            sys.exit(f"{PAGE}: expected one {begin}, found {count}")
    PAGE.write_text(page, encoding="utf-8")


def title(text):
    return textwrap.fill(text[0].upper() + text[1:], 46)


def draw_bars(axes, measure, rows):
    """One bar for each program; on a logarithmic scale if they differ by more than a factor of ten."""
    values = [median(row) for row in rows]
    colors = [OWN if row["program"].startswith("celeriac") else OTHER for row in rows]
    axes.barh(range(len(rows)), values, color=colors)
    axes.set_yticks(range(len(rows)), [textwrap.fill(row["program"], 26) for row in rows])
    axes.invert_yaxis()
    if max(values) > 10 * min(values) > 0:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 3, max(values) * 8)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, max(max(values), 1) * 1.5)
    for at, (row, value) in enumerate(zip(rows, values, strict=True)):
        text = f" {number(value)} {row['unit']}"
        if at and ratio(row, rows[0]):
            text += f" ({ratio(row, rows[0])}x)"
        if row["lost"] and statistics.median(row["lost"]) >= 0.005:
            text += f"\n {statistics.median(row['lost']):.0%} lost"
        axes.text(value, at, text, va="center", fontsize=7)
    axes.set_xlabel(rows[0]["unit"])
    axes.set_title(title(measure), fontsize=9, loc="left")


def draw_latency(axes, measures):
    labels, at = [], 0
    for measure, rows in measures.items():
        _, broker, rate, _ = measure.split(", ")
        for whole, after in (rows[0:2], rows[2:4]):
            total, own = median(whole), median(after)
            axes.barh(at, own, color=OWN, label="snapshot to receiver" if at == 0 else None)
            axes.barh(at, total - own, left=own, color=OTHER, label="waiting for the snapshot" if at == 0 else None)
            labels.append(f"{broker}, {rate},\n{whole['program']}")
            at += 1
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.set_xlim(0, 1900)
    axes.legend(fontsize=7, loc="upper right", frameon=False)
    axes.set_title("Latency, interval 1 s", fontsize=9, loc="left")


def draw_curve(axes, curve):
    at = [point["at"] for point in curve["points"]]
    lines = []
    for axis, name, color in ((axes, "CPU, % of a core", OWN), (axes.twinx(), "memory, MiB", "#b5651d")):
        lines += axis.plot(at, [point["costs"][name] for point in curve["points"]], color=color, marker="o", markersize=3, label=name)
        # Room for the legend.
        axis.set_ylim(0, axis.get_ylim()[1] * 1.3)
        axis.tick_params(axis="y", colors=color)
        axis.grid(axis="y", alpha=0.2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.legend(handles=lines, fontsize=7, loc="upper left", frameon=False)
    axes.set_title(title(f"by {curve['by']}"), fontsize=9, loc="left")


def draw(report):
    sections = report["sections"]
    panels = []
    for name in ("events", "memory", "push"):
        for measure, rows in by_measure(sections.get(name, {}).get("rows", [])).items():
            panels.append((draw_bars, measure, rows))
    if "latency" in sections:
        panels.append((draw_latency, by_measure(sections["latency"]["rows"])))
    panels += [(draw_curve, curve) for curve in sections.get("scale", {}).get("curves", [])]
    columns = 3
    lines = -(-len(panels) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(14, 2.8 * lines), layout="constrained")
    for axes, (draw_panel, *data) in zip(grid.flat, panels, strict=False):
        draw_panel(axes, *data)
    for axes in grid.flat[len(panels):]:
        axes.axis("off")
    figure.savefig(PICTURE, metadata={"Date": None})


def main():
    default = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "race.json"
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    report = json.loads(file.read_text(encoding="utf-8"))
    write_page(report)
    draw(report)


if __name__ == "__main__":
    main()
