"""Imports point one way: a notebook never pays for the page, and only the page knows gradio."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gpt2lab

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path.relative_to(ROOT)
    for path in [ROOT / "app.py", *(ROOT / "gpt2lab").rglob("*.py")]
    if "__pycache__" not in path.parts
)
OUTER = (Path("gpt2lab/ui"), Path("app.py"))


def imported_modules(source: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def is_outer(source: Path) -> bool:
    return any(source == outer or outer in source.parents for outer in OUTER)


def test_a_notebook_loads_neither_gradio_nor_pyplot():
    code = """
import pkgutil, sys
import gpt2lab, gpt2lab.inspections
for module in pkgutil.iter_modules(gpt2lab.inspections.__path__, "gpt2lab.inspections."):
    __import__(module.name)
for name in ("gradio", "matplotlib.pyplot"):
    print(name, name in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["gradio", "False", "matplotlib.pyplot", "False"]


def test_every_public_name_exists():
    assert sorted(gpt2lab.__all__) == list(gpt2lab.__all__)
    for name in gpt2lab.__all__:
        assert getattr(gpt2lab, name).__doc__, name


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_only_the_page_imports_gradio_and_nobody_pyplot(source):
    names = imported_modules(source)
    packages = {name.split(".")[0] for name in names}
    assert "matplotlib.pyplot" not in names
    if not is_outer(source):
        assert not packages & {"gradio", "gradio_client"}
        assert not any(name.startswith("gpt2lab.ui") for name in names)


INNERMOST = ("refusal", "models", "tokens", "decoding", "trace", "inspection", "figures")


@pytest.mark.parametrize("module", INNERMOST)
def test_the_core_does_not_know_the_inspections_or_generation(module):
    names = imported_modules(Path(f"gpt2lab/{module}.py"))
    for outer in ("gpt2lab.inspections", "gpt2lab.generation", "gpt2lab.beams"):
        assert not any(name.startswith(outer) for name in names)
