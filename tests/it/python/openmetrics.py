"""Reads a page of OpenMetrics on standard input with the strict parser of Prometheus' Python client.

Prints each family with its type and the number of its samples, and of those with an exemplar.
"""

import sys

from prometheus_client.openmetrics.parser import text_fd_to_metric_families

for family in text_fd_to_metric_families(sys.stdin):
    exemplars = sum(sample.exemplar is not None for sample in family.samples)
    print(family.name, family.type, len(family.samples), exemplars)
