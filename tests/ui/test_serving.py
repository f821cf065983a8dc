"""What the app's log says, and does not say."""

import logging

import pytest
import torch

from gpt2lab.ui.serving import launch_arguments


@pytest.fixture
def heard():
    """Messages of transformers' generation; its logger does not pass them on to the root's."""
    logger, messages = logging.getLogger("transformers.generation.utils"), []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    before = logger.filters[:]
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
    logger.filters[:] = before


def write(gpt2, mask: list[list[int]]) -> None:
    ids = torch.tensor([[464, 262, 50256], [464, 262, 3290]])
    arguments = {"max_new_tokens": 1, "do_sample": False, "pad_token_id": 50256}
    gpt2.model.generate(ids, attention_mask=torch.tensor(mask), **arguments)


def test_right_padding_is_no_news_but_other_warnings_are(random_gpt2, heard) -> None:
    logging.getLogger("transformers.generation.utils").filters.clear()
    write(random_gpt2, [[1, 1, 0], [1, 1, 1]])
    assert ["right-padding" in message for message in heard] == [True]
    launch_arguments()
    write(random_gpt2, [[1, 1, 0], [1, 1, 1]])
    logging.getLogger("transformers.generation.utils").warning("something else")
    assert heard[1:] == ["something else"]
