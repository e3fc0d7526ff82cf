"""Generates the dashboards: `python3 dashboards.py`. With --check it only reports the files that are out of date.

Six dashboards with some eighty panels share variables, units and matchers, each of which is defined once here.
"""

import json
import sys
from pathlib import Path

import panels_celery
import panels_daemon
import panels_questions
from panel import SOURCE

# The schema of Grafana 11; later versions migrate it when they load it.
SCHEMA = 41

LINKS = [{"type": "dashboards", "tags": ["celeriac"], "asDropdown": False, "includeVars": True, "keepTime": True,
          "title": "", "icon": "external link", "targetBlank": False, "url": "", "tooltip": ""}]


def variable(name, query, label, multi=True):
    # `.*` for "All" also matches series without the label: a broker without a name has none, and neither may namespaces.
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query,
            "query": {"query": query, "refId": f"variable-{name}"}, "refresh": 2, "sort": 1, "multi": multi,
            "includeAll": True, "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}, "hide": 0,
            "options": [], "regex": "", "skipUrlSync": False}


JOB = variable("job", "label_values(celeriac_build_info, job)", "Job")
NAMESPACE = variable("namespace", 'label_values(celeriac_build_info{job=~"$job"}, namespace)', "Namespace")
WHERE = 'job=~"$job", namespace=~"$namespace"'
BROKER = variable("broker", f"label_values(celery_events_total{{{WHERE}}}, broker)", "Broker")
OF_BROKER = f'{WHERE}, broker=~"$broker"'
QUEUE = variable("queue", f"label_values(celery_task_started_total{{{OF_BROKER}}}, queue)", "Queue")
# A queue whose first task has not started has a length but no task series.
ANY_QUEUE = variable("queue", f'label_values({{__name__=~"celery_queue_length|celery_task_started_total", {OF_BROKER}}}, queue)',
                     "Queue")
TASK = variable("task", f'label_values(celery_task_started_total{{{OF_BROKER}, queue=~"$queue"}}, name)', "Task")
WORKER = variable("worker", f"label_values(celery_worker_up{{{OF_BROKER}}}, worker)", "Worker")
INSTANCE = variable("instance", f"label_values(celeriac_build_info{{{WHERE}}}, instance)", "Instance")
# The daemon's own metrics always have the label; a broker without a name is `default`.
NAMED_BROKER = variable("broker", f"label_values(celeriac_broker_connected{{{WHERE}}}, broker)", "Broker")

# Marks when workers started, which is when something was deployed.
STARTS = {"name": "Worker starts", "datasource": SOURCE, "enable": True, "hide": False, "iconColor": "blue",
          "expr": f"max by (worker, sw_ver) (celery_worker_start_timestamp_seconds{{{OF_BROKER}}} * 1000"
                  f" * on (job, namespace, instance, broker, worker) group_left (sw_ver)"
                  f" topk by (job, namespace, instance, broker, worker) (1, celery_worker_info{{{OF_BROKER}}}))",
          "useValueForTime": True, "step": "60s", "titleFormat": "{{worker}} started", "textFormat": "Celery {{sw_ver}}",
          "tagKeys": "", "target": {"limit": 100, "matchAny": False, "tags": [], "type": "dashboard"}}

DASHBOARDS = [
    ("questions", "Celery: ten questions", "What is wrong, and where: the ten most asked questions, in order.",
     [JOB, NAMESPACE, BROKER, QUEUE, TASK], panels_questions.questions),
    ("overview", "Celery: overview", "Throughput, failures, latency, and worker capacity.",
     [JOB, NAMESPACE, BROKER, QUEUE, TASK], panels_celery.overview),
    ("task", "Celery: by task", "Outcomes, failures by exception, latency, and tasks in flight, by task name.",
     [JOB, NAMESPACE, BROKER, QUEUE, TASK], panels_celery.by_task),
    ("queue", "Celery: by queue", "Backlog, drain time, latency, and workers, by queue.",
     [JOB, NAMESPACE, BROKER, ANY_QUEUE], panels_celery.by_queue),
    ("worker", "Celery: by worker", "Which workers are online, what they run, and the machines they run on.",
     [JOB, NAMESPACE, BROKER, WORKER], panels_celery.by_worker),
    ("celeriac", "celeriac", "The daemon itself: whether it receives all events, and whether its samples arrive.",
     [JOB, NAMESPACE, INSTANCE, NAMED_BROKER], panels_daemon.celeriac),
]


def laid_out(rows):
    """Place panels from left to right, 24 columns wide, each row below its title."""
    placed, y, number = [], 0, 1
    for title, panels in rows:
        placed.append({"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        number, y, x, height = number + 1, y + 1, 0, 0
        for panel in panels:
            w, h = panel.pop("size")
            if x + w > 24:
                x, y, height = 0, y + height, 0
            placed.append({"id": number, **panel, "gridPos": {"x": x, "y": y, "w": w, "h": h}})
            number, x, height = number + 1, x + w, max(height, h)
        y += height
    return placed


def dashboard(name, title, description, variables, panels):
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
              "current": {}, "includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": "",
              "skipUrlSync": False}
    return {
        "uid": f"celeriac-{name}", "title": title, "description": description, "tags": ["celeriac", "celery"],
        "schemaVersion": SCHEMA, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"}, "timezone": "browser", "timepicker": {}, "fiscalYearStartMonth": 0,
        "links": LINKS, "annotations": {"list": [] if name == "celeriac" else [STARTS]}, "templating": {"list": [source, *variables]},
        "panels": laid_out(panels()),
    }


def main():
    folder = Path(__file__).parent
    differ = []
    for name, *rest in DASHBOARDS:
        text = json.dumps(dashboard(name, *rest), indent=2, ensure_ascii=False) + "\n"
        file = folder / f"{name}.json"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            differ.append(file.name)
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and differ:
        sys.exit(f"out of date: {', '.join(differ)}; run python3 deploy/grafana/dashboards.py")


if __name__ == "__main__":
    main()
