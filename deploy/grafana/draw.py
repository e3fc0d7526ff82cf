"""Draws dashboard panels as Grafana does, with their units, legends, thresholds and sizes.

    draw.py --prometheus http://localhost:9090 --out pictures --minutes 30 overview.json ...

Writes a picture of each panel (`<dashboard>/<id>.png`) and of each dashboard. Prints the number of series and samples that
each query returned, as JSON, so that a test can tell whether a picture shows anything. Needs matplotlib and a Prometheus,
but no Grafana.
"""

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates as dates  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402

plt.rcParams.update({"font.size": 8, "axes.grid": True, "grid.alpha": 0.25, "axes.spines.top": False,
                     "axes.spines.right": False, "text.parse_math": False})


def scaled(value, step, units):
    at = 0
    while abs(value) >= step and at < len(units) - 1:
        value, at = value / step, at + 1
    return f"{value:.3g}{units[at]}"


def words(value, unit):
    """Format a value as a panel with that unit does."""
    if not math.isfinite(value):
        return str(value)
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "s":
        size = abs(value)
        for least, divisor, name in ((86400, 86400, "d"), (3600, 3600, "h"), (60, 60, "min"), (1, 1, "s"), (1e-3, 1e-3, "ms")):
            if size >= least:
                return f"{value / divisor:.3g} {name}"
        return "0 s" if size == 0 else f"{value * 1e6:.3g} µs"
    if unit == "bytes":
        return scaled(value, 1024, [" B", " KiB", " MiB", " GiB"])
    if unit in ("ops", "cps"):
        return scaled(value, 1000, ["", "K", "M"]) + {"ops": " ops/s", "cps": " c/s"}[unit]
    return scaled(value, 1000, ["", " K", " Mil"]) if unit == "short" else f"{value:.3g}"


class Prometheus:
    def __init__(self, url, minutes, rate_interval):
        self.url, self.end, self.rate_interval = url, time.time(), rate_interval
        self.start = self.end - minutes * 60
        self.span = (self.start, self.end)
        # As many points as fit into a panel.
        self.step = max(1, math.ceil(minutes * 60 / 300))

    def ask(self, expression, instant):
        # `.*` is the value of "All".
        expression = expression.replace("$__rate_interval", self.rate_interval)
        expression = re.sub(r"\$(job|namespace|broker|queue|task|worker|instance)\b", ".*", expression)
        parameters = {"query": expression, "time": self.end} if instant else {
            "query": expression, "start": self.start, "end": self.end, "step": self.step}
        path = "query" if instant else "query_range"
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            series = json.load(answer)["data"]["result"]
        for one in series:
            points = [one["value"]] if instant else one["values"]
            one["points"] = [(float(at), float(value)) for at, value in points if value not in ("NaN", "+Inf", "-Inf")]
        return [one for one in series if one["points"]]


def legend(target, labels):
    name = re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), target["legendFormat"]).strip()
    return name or ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "value"


def threshold_of(panel, value):
    color = "green"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return color


def draw_graph(axes, panel, answers, span):
    defaults = panel["fieldConfig"]["defaults"]
    unit, custom = defaults["unit"], defaults["custom"]
    lines = [(legend(target, one["metric"]), one["points"])
             for target, series in zip(panel["targets"], answers, strict=True) for one in series]
    lines.sort(key=lambda line: -line[1][-1][1])
    stacked = {}
    for name, points in lines:
        at = [datetime.fromtimestamp(second, timezone.utc) for second, _ in points]
        values = [value for _, value in points]
        label = f"{name}   last {words(values[-1], unit)}   max {words(max(values), unit)}"
        if custom["stacking"]["mode"] == "normal":
            below = [stacked.get(second, 0) for second, _ in points]
            values = [value + under for value, under in zip(values, below, strict=True)]
            stacked.update({second: value for (second, _), value in zip(points, values, strict=True)})
            axes.fill_between(at, below, values, alpha=0.3)
        if custom["drawStyle"] == "bars":
            axes.fill_between(at, values, step="mid", alpha=0.4)
        axes.plot(at, values, linewidth=1, label=label)
    if custom["thresholdsStyle"]["mode"] == "dashed":
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and step["value"] <= axes.get_ylim()[1]:
                axes.axhline(step["value"], color=step["color"], linestyle="--", linewidth=0.8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words(value, unit)))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M" if span[1] - span[0] > 600 else "%H:%M:%S"))
    axes.set_ylim(bottom=defaults.get("min"), top=defaults.get("max"))
    axes.set_xlim(*(datetime.fromtimestamp(second, timezone.utc) for second in span))
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(0, -0.1), ncol=1, frameon=False)


def draw_stat(axes, panel, answers, _span):
    axes.axis("off")
    value = answers[0][0]["points"][-1][1] if answers[0] else math.nan
    text = words(value, panel["fieldConfig"]["defaults"]["unit"])
    for mapping in panel["fieldConfig"]["defaults"]["mappings"]:
        text = mapping["options"].get(f"{value:g}", {}).get("text", text)
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=18, color=threshold_of(panel, value))


def draw_table(axes, panel, answers, _span):
    axes.axis("off")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    organized = panel["transformations"][0]["options"]
    names, hidden = organized["renameByName"], organized["excludeByName"]
    rows = sorted(answers[0], key=lambda one: -one["points"][-1][1])[:12]
    if not rows:
        return
    order = list(names)
    labels = sorted(rows[0]["metric"], key=lambda label: order.index(label) if label in order else len(order))
    columns = [label for label in [*labels, "Value"] if label not in hidden]
    cells = [[one["metric"].get(label, "") if label != "Value" else words(one["points"][-1][1], unit) for label in columns]
             for one in rows]
    head = [names.get(label, label) for label in columns]
    made = axes.table(cellText=cells, colLabels=head, loc="upper center", cellLoc="left")
    made.auto_set_font_size(False)
    made.set_fontsize(7)


DRAW = {"timeseries": draw_graph, "stat": draw_stat, "table": draw_table}


def draw(axes, panel, answers, span):
    axes.set_title(panel["title"], fontsize=9, loc="left")
    if any(answers):
        DRAW[panel["type"]](axes, panel, answers, span)
    else:
        axes.text(0.5, 0.5, "No data", ha="center", transform=axes.transAxes)


def draw_dashboard(dashboard, prometheus, out):
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    folder = out / dashboard["uid"]
    folder.mkdir(parents=True, exist_ok=True)
    answers, report = {}, []
    for panel in panels:
        answers[panel["id"]] = [prometheus.ask(target["expr"], target["instant"]) for target in panel["targets"]]
        size = panel["gridPos"]
        figure, axes = plt.subplots(figsize=(size["w"] * 0.55, size["h"] * 0.42), dpi=100)
        draw(axes, panel, answers[panel["id"]], prometheus.span)
        picture = folder / f"{panel['id']}.png"
        figure.savefig(picture, bbox_inches="tight")
        plt.close(figure)
        report.append({"dashboard": dashboard["uid"], "panel": panel["title"], "picture": str(picture), "targets": [
            {"expr": target["expr"], "series": len(series), "samples": sum(len(one["points"]) for one in series)}
            for target, series in zip(panel["targets"], answers[panel["id"]], strict=True)]})
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(15, height * 0.42), dpi=80)
    for panel in panels:
        at = panel["gridPos"]
        # The legend takes the lower part of a graph's area.
        below = 0.42 if panel["type"] == "timeseries" else 0.05
        axes = figure.add_axes(((at["x"] + 1.3) / 24, 1 - (at["y"] + at["h"] * (1 - below)) / height,
                                (at["w"] - 1.6) / 24, at["h"] * (0.88 - below) / height))
        draw(axes, panel, answers[panel["id"]], prometheus.span)
    figure.savefig(out / f"{dashboard['uid']}.png")
    plt.close(figure)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://localhost:9090")
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate-interval", default="1m")
    parser.add_argument("dashboards", type=Path, nargs="+")
    arguments = parser.parse_args()
    prometheus = Prometheus(arguments.prometheus, arguments.minutes, arguments.rate_interval)
    report = []
    for file in arguments.dashboards:
        report += draw_dashboard(json.loads(file.read_text(encoding="utf-8")), prometheus, arguments.out)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
