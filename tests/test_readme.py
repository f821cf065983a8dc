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
