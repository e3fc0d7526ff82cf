"""Panel types and the queries they share."""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}

RATE = "$__rate_interval"
GREEN, AMBER, RED = "green", "orange", "red"


def rate(selector):
    return f"rate({selector}[{RATE}])"


def age(selector):
    """Age of a timestamp metric at the time of its sample; time() would add up to one interval."""
    return f"timestamp({selector}) - {selector}"


def quantile(q, family, by, where):
    """Quantile of a classic histogram, which every receiver supports."""
    labels = ", ".join(["le", *by])
    return f"histogram_quantile({q}, sum by ({labels}) ({rate(f'{family}_bucket{{{where}}}')}))"


def steps(*limits):
    """Thresholds with the color that starts at each: steps((0.9, AMBER), (1, RED)). Green below the first."""
    return {"mode": "absolute",
            "steps": [{"color": GREEN, "value": None}, *({"color": color, "value": at} for at, color in limits)]}


def base(kind, title, description, targets, size, unit, thresholds, exemplars=False, instant=False, **defaults):
    queries = []
    for letter, (expression, legend) in zip("ABCDEFGH", targets, strict=False):
        queries.append({"refId": letter, "datasource": SOURCE, "editorMode": "code", "expr": expression,
                        "legendFormat": legend, "instant": instant, "range": not instant,
                        "exemplar": exemplars, **({"format": "table"} if kind == "table" else {})})
    assert len(queries) == len(targets), title
    return {"type": kind, "title": title, "description": description, "datasource": SOURCE, "targets": queries,
            "size": size,
            "fieldConfig": {"defaults": {"unit": unit, "thresholds": thresholds or steps(), **defaults}, "overrides": []}}


def graph(title, description, unit, *targets, size=(12, 8), stack=False, thresholds=None, exemplars=False, top=None,
          lines=True, bottom=0):
    """Lines over time. `bottom` and `top` fix the ends of the axis."""
    custom = {"drawStyle": "line" if lines else "bars", "lineWidth": 1, "fillOpacity": 20 if stack else 5,
              "showPoints": "never", "spanNulls": False, "stacking": {"mode": "normal" if stack else "none", "group": "A"},
              "axisSoftMin": 0, "thresholdsStyle": {"mode": "dashed" if thresholds else "off"}}
    panel = base("timeseries", title, description, targets, size, unit, thresholds, exemplars, custom=custom,
                 color={"mode": "palette-classic"}, **({"min": bottom} if bottom is not None else {}),
                 **({"max": top} if top is not None else {}))
    panel["options"] = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"],
                   "sortBy": "Last *", "sortDesc": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel


def stat(title, description, unit, expression, size=(4, 4), thresholds=None, text=None):
    """One number. `text` maps values to words."""
    mappings = [{"type": "value", "options": {value: {"text": words, "index": at}}}
                for at, (value, words) in enumerate((text or {}).items())]
    panel = base("stat", title, description, [(expression, "")], size, unit, thresholds, mappings=mappings,
                 color={"mode": "thresholds"})
    panel["options"] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                        "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "value"}
    return panel


def table(title, description, unit, expression, size=(12, 8), thresholds=None, rename=None, hide=()):
    """Current values, one row per series. Columns appear in the order of `rename`."""
    panel = base("table", title, description, [(expression, "")], size, unit, thresholds, instant=True)
    panel["options"] = {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": "Value", "desc": True}]}
    panel["transformations"] = [{"id": "organize", "options": {
        "excludeByName": dict.fromkeys(("Time", "__name__", *hide), True), "renameByName": rename or {},
        "indexByName": {name: at for at, name in enumerate(rename or {})}}}]
    return panel
