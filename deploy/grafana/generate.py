"""Writes the dashboards and the rules of objectives into the chart, where compose finds them, too.

    python deploy/grafana/generate.py [FOLDER]

FOLDER is `helm/cogmill/files` where none is said. Grafana's own SDK for Python is not used: the release on PyPI is for
Grafana 10 and names its version by an epoch of ten digits, and a panel's JSON is a few lines.
"""

import json
import sys
from pathlib import Path

import yaml
from boards import api, campaigns, fleet, overview, queue, storage, workers
from slos import rules

CHART = Path(__file__).parents[2] / "helm" / "cogmill" / "files"
BOARDS = (overview, fleet, queue, campaigns, api, workers, storage)
HEAD = """\
# Written by deploy/grafana/generate.py from deploy/grafana/slos.py: change it there. Burn rates of the objectives (1 is
# a budget of 30 days spent in 30 days) and the alerts on them.
"""


def main() -> None:
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else CHART
    folder = into / "dashboards"
    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        name = board.DASHBOARD["uid"]
        (folder / f"{name}.json").write_text(json.dumps(board.DASHBOARD, indent=1) + "\n")
    told = yaml.safe_dump(rules(), sort_keys=False, width=10_000)
    (into / "slos.yaml").write_text(HEAD + told)


main()
