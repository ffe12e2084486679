"""Write the dashboards: ``python -m dashboards.generate [DIR]``."""

import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from dashboards.generate import collector, dependencies, endpoint, health, runtime, service, slo

HERE = Path(__file__).parent.parent / "json"
BUILDERS = (
    service.built,
    endpoint.built,
    dependencies.built,
    runtime.built,
    slo.built,
    health.built,
    collector.built,
)


def encoded(made: dashboard.Dashboard) -> str:
    """The JSON that Grafana reads, in an order that does not change."""
    plain = json.loads(json.dumps(made, cls=JSONEncoder), object_hook=placed)
    return json.dumps(plain, indent=2, sort_keys=True) + "\n"


def placed(each: dict[str, Any]) -> dict[str, Any]:
    """Without the placement that the SDK gives each link and annotation: a menu, where nobody would look for them."""
    return {name: value for name, value in each.items() if name != "placement"}


def write(folder: Path) -> list[Path]:
    """Write each dashboard into a file by its uid."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for made in (built() for built in BUILDERS):
        written.append(folder / f"{made.uid}.json")
        written[-1].write_text(encoded(made), encoding="utf-8")
    return written


if __name__ == "__main__":
    for path in write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE):
        print(path)  # noqa: T201  (a command says what it wrote)
