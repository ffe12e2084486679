"""The rules of a Prometheus as objects of its operator: each file as a PrometheusRule, on standard output.

    python3 collector-config/k8s/monitoring/rules.py collector-config/prometheus/rules/*.yaml | kubectl apply -f -

What stands in the file stands in the object, comments and all.
"""

import sys
import textwrap
from pathlib import Path

OBJECT = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: obskit-{name}
  namespace: observability
  labels: {{app.kubernetes.io/part-of: obskit}}
spec:
{rules}"""


def objects(files: list[Path]) -> str:
    """Give one document a file."""
    made = [OBJECT.format(name=file.stem, rules=textwrap.indent(file.read_text(), "  ")) for file in sorted(files)]
    return "---\n".join(made)


if __name__ == "__main__":
    sys.stdout.write(objects([Path(file) for file in sys.argv[1:]]))
