"""Runs rules on scripted series with promtool, which `apt-get install prometheus` brings."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "compose" / "prometheus" / "rules").glob("*.yaml"))

Series = Mapping[str, str]
"""The values of each series, in promtool's notation: ``0+60x100``."""


@dataclass(frozen=True)
class Scenario:
    """Series, and the alerts that they must raise.

    Attributes:
        name: For the report.
        series: Series; they replace and extend the healthy ones.
        firing: Names of the alerts that fire, by time (``30m``).
        interval: Time between two values.
        without: Series of the healthy ones that are missing.
        rendered: Alerts with their labels and annotations, as promtool's ``alert_rule_test``.
    """

    name: str
    series: Series
    firing: Mapping[str, Sequence[str]]
    interval: str = "1m"
    without: Sequence[str] = field(default=())
    rendered: Sequence[Mapping[str, object]] = ()


def run(
    scenarios: Sequence[Scenario], healthy: Series, folder: Path, rules: Sequence[Path] = RULES
) -> subprocess.CompletedProcess[str]:
    """Run scenarios; the exit code is 0 if exactly the named alerts fire.

    Args:
        scenarios: They are evaluated one by one.
        healthy: The series of a healthy system, which each scenario changes.
        folder: For the file of the test.
        rules: The files of the rules.
    """
    program = shutil.which("promtool")
    assert program, "promtool is missing: apt-get install prometheus"
    document = {
        "rule_files": [str(path) for path in rules],
        "evaluation_interval": "1m",
        "tests": [_test(scenario, healthy) for scenario in scenarios],
    }
    path = folder / "scenarios.yaml"
    with path.open("w") as file:
        YAML().dump(document, file)
    return subprocess.run(  # noqa: S603 a program of the machine
        [program, "test", "rules", str(path)], capture_output=True, text=True, check=False
    )


def _test(scenario: Scenario, healthy: Series) -> dict[str, object]:
    series = {name: values for name, values in healthy.items() if name not in scenario.without}
    return {
        "name": scenario.name,
        "interval": scenario.interval,
        "input_series": [
            {"series": name, "values": values}
            for name, values in {**series, **scenario.series}.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": when,
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in names
                ],
            }
            for when, names in scenario.firing.items()
        ],
        "alert_rule_test": list(scenario.rendered),
    }
