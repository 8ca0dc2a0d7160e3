"""Every figure of the pages on PEL is in the linked tables, at the arm that its line names."""

import csv
import re
from collections import defaultdict
from pathlib import Path

import pytest
from support import ROOT

from nucleipel.config import AblateConfig, load_config

DOCS = ROOT / "docs"
FIGURE = re.compile(r"(?<![\w.])[+-]?\d+\.\d{2,4}(?![\w.])")
PAGES = ("pel.md", "pel_tables.md")
MEASURES = ("dice", "aji", "pq", "ap@0.50", "ap@0.75")
Figures = dict[str, set[str]]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _figures(folder: Path) -> Figures:
    """By arm, all scores (of each run and means over seeds, 4 decimals) and signed differences."""
    found: Figures = defaultdict(set)
    scores = defaultdict(list)
    names = [*MEASURES, *(f"pooled {measure}" for measure in MEASURES)]
    for row in _rows(folder / "results.csv"):
        # a run has its val scores by which its rule was chosen in either split
        for name in (*names, "val pooled pq", "val pooled dice"):
            scores[row["arm"], row["split"], name].append(float(row[name]))
    for (arm, split, name), values in scores.items():
        mean = sum(values) / len(values)
        found[arm] |= {f"{value:.4f}" for value in (*values, mean)}
        of_base = scores.get(("none", split, name))
        if of_base and (arm, name) == ("control", "val pooled dice"):  # is the base saturated?
            for value, base in ((values[0], of_base[0]), (mean, sum(of_base) / len(of_base))):
                found[arm].add(f"{100 * (value - base):+.2f}")
    for row in _rows(folder / "differences.csv"):
        for name in ("points", "low", "high"):
            found[row["arm"]].add(f"{float(row[name]):+.2f}")
    return found


def _wrong(page: str) -> list[str]:
    """Lines with a figure that the tables do not hold."""
    wrong, of_page = [], _figures_of(page)
    for section in re.split(r"(?m)^(?=## )", page):
        known = _figures_of(section) or of_page
        for line in section.splitlines():
            arm = re.match(r"\| `([^`]+)`", line)
            # what patches give, the control's own difference, stands in each arm's line
            arms = (arm[1], "control") if arm else tuple(known)
            right = set().union(*(known.get(name, set()) for name in arms))
            wrong += [f"{line}: {figure}" for figure in FIGURE.findall(line) if figure not in right]
    return wrong


def _figures_of(text: str) -> Figures:
    """Figures of the tables that a text links."""
    found: Figures = defaultdict(set)
    for name in dict.fromkeys(re.findall(r"\(results/pel/([\w-]+)/results\.csv\)", text)):
        for arm, figures in _figures(DOCS / "results" / "pel" / name).items():
            found[arm] |= figures
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_is_that_of_a_table(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert len(FIGURE.findall(page)) > 50
    assert not _wrong(page)


@pytest.mark.parametrize("name", PAGES)
def test_another_figure_would_be_found(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `") and FIGURE.search(line)]
    assert lines
    for line in lines:
        figure = FIGURE.findall(line)[-1]
        other = f"{float(figure) + 7.77:+.2f}" if figure[0] in "+-" else f"{float(figure) / 3:.4f}"
        assert _wrong(page.replace(line, line.replace(figure, other)))


@pytest.mark.parametrize(
    "path", sorted(DOCS.glob("results/pel/*/config.yaml")), ids=lambda p: p.parent.name
)
def test_published_settings_can_be_run(path: Path) -> None:
    config = load_config(AblateConfig, file=path)
    known = {row["arm"] for row in _rows(path.with_name("results.csv"))} - {"none"}
    assert known <= config.all_arms().keys()
