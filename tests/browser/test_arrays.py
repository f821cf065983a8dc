"""The states of a text, taken along from the page, are those of transformers to the last bit."""

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, expect
from transformers import GPT2LMHeadModel
from visits import WAIT

from gpt2lab.models import Gpt2

pytestmark = pytest.mark.browser

TEXT = "Seventeen grey whales swam past the lighthouse"


def test_the_hidden_states_can_be_taken_along(browser: Browser, url: str, pocket: Gpt2) -> None:
    ids = torch.tensor([pocket.tokenizer.encode(TEXT)])
    plain = GPT2LMHeadModel.from_pretrained(
        pocket.path, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        expected = plain(ids, output_hidden_states=True).hidden_states
    page = browser.new_page()
    page.goto(f"{url}/?tab=hidden_states&text={TEXT}")
    tab = page.locator("[role=tabpanel]:visible").last
    expect(tab.locator(".picture img")).to_be_visible(timeout=WAIT)
    files = []
    for _ in range(2):
        with page.expect_download(timeout=WAIT) as download:
            tab.get_by_role("button", name="NPZ").click()
        assert download.value.suggested_filename == "hidden_states.npz"
        files.append(download.value)
    assert files[0].url != files[1].url
    for file in files:
        with np.load(file.path()) as arrays:
            assert np.array_equal(arrays["hidden_states"], torch.stack(expected).numpy())
    page.close()
