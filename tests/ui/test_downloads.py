"""What one takes along is what was drawn, with every digit."""

import base64
import csv
import io
import json
from xml.etree import ElementTree

import pytest

from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.trace import trace_text
from gpt2lab.ui.downloads import contents, packed

TEXT = 'He said "hi",\n<b>and</b> =1+1 😀'


@pytest.mark.parametrize("inspection", INSPECTIONS, ids=lambda one: one.name)
def test_the_csv_is_the_table(inspection, random_gpt2: Gpt2) -> None:
    result = inspection.compute(trace_text(random_gpt2, TEXT))
    file = io.StringIO(contents(inspection, result, "csv").decode(), newline="")
    headers, *rows = csv.reader(file)
    table = inspection.table(result)
    assert tuple(headers) == table.headers
    assert rows == [[str(cell) for cell in row] for row in table.rows]


@pytest.mark.parametrize("inspection", INSPECTIONS, ids=lambda one: one.name)
def test_the_pictures_are_pictures(inspection, random_gpt2: Gpt2) -> None:
    result = inspection.compute(trace_text(random_gpt2, TEXT))
    assert contents(inspection, result, "png").startswith(b"\x89PNG")
    root = ElementTree.fromstring(contents(inspection, result, "svg"))
    assert root.tag.endswith("svg")
    assert not root.findall(".//{http://www.w3.org/2000/svg}script")


def test_a_file_travels_as_text_and_nothing_drawn_is_nothing(random_gpt2: Gpt2) -> None:
    inspection = INSPECTIONS[0]
    result = inspection.compute(trace_text(random_gpt2, TEXT))
    file = json.loads(packed(inspection, result, "csv"))
    assert file["name"] == f"{inspection.name}.csv"
    assert base64.b64decode(file["content"]) == contents(inspection, result, "csv")
    assert packed(inspection, None, "csv") == ""
