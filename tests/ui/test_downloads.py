"""What one takes along is what was drawn, with every digit."""

import base64
import csv
import io
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from gradio.utils import get_upload_folder

from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.trace import trace_text
from gpt2lab.ui.downloads import archive, contents, packed

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


WITH_ARRAYS = [one for one in INSPECTIONS if one.arrays]


@pytest.mark.parametrize("inspection", WITH_ARRAYS, ids=lambda one: one.name)
def test_the_archive_holds_every_array_to_the_last_bit(
    inspection, random_gpt2: Gpt2, tmp_path: Path
) -> None:
    result = inspection.compute(trace_text(random_gpt2, TEXT))
    expected = inspection.arrays(result)
    assert expected
    file = archive(inspection, result, str(tmp_path))
    assert file
    assert Path(file).name == f"{inspection.name}.npz"
    with np.load(file) as found:
        assert set(found.files) == set(expected)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)
    assert archive(inspection, None, str(tmp_path)) is None


def test_an_archive_is_served_to_those_who_know_its_name_alone(url: str, random_gpt2: Gpt2) -> None:
    inspection = WITH_ARRAYS[0]
    result = inspection.compute(trace_text(random_gpt2, TEXT))
    first, second = (archive(inspection, result, get_upload_folder()) for _ in range(2))
    assert first
    assert first != second  # not even the same content has the same name
    assert len(Path(first).parent.name) > 64

    def fetched(path: str) -> bytes:
        address = f"{url}/gradio_api/file={urllib.parse.quote(path)}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.headers["Content-Disposition"].startswith("attachment")
            return answer.read()

    assert fetched(first) == Path(first).read_bytes()
    folder = Path(first).parent
    for path in (folder, folder.parent, folder.with_name("download-0") / Path(first).name):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetched(str(path))
