"""What the README says there is, there is; and what there is, it names."""

import re
from pathlib import Path

import pytest

from gpt2lab.inspections import INSPECTIONS

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize("inspection", INSPECTIONS, ids=lambda one: one.name)
def test_every_tab_and_every_endpoint_is_named(inspection):
    assert re.search(rf"{inspection.group} → [^|;]*{re.escape(inspection.title)}", README)
    assert f"| `/{inspection.name}` |" in README


def test_every_tab_that_is_named_exists():
    titles = {f"{one.group} → {one.title}" for one in INSPECTIONS}
    section = README.partition("## What there is to see")[2].partition("\n## ")[0]
    rows = re.findall(r"(\w+) → ([^|;]+)", section)
    named = {f"{group} → {title.strip()}" for group, rest in rows for title in rest.split(", ")}
    assert named == titles


def test_every_section_of_the_notebook_has_a_row_that_leads_somewhere():
    """0 is the installation, which is a section of its own here; the others are tabs."""
    section = README.partition("## What there is to see")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([0-5]) [^|]+\| ([^|]+) \|", section, re.MULTILINE))
    assert list(rows) == list("012345")
    assert re.search(r"\[Start\]\(#start\)", rows["0"])
    assert "\n## Start\n" in README
    assert all("→" in row for number, row in rows.items() if number != "0")
