"""pocket: the built-in model, a small GPT-2 trained for this project on one CPU; not OpenAI's.

The folder is an ordinary Hugging Face model folder: ``GPT2LMHeadModel.from_pretrained(FOLDER)``
and ``AutoTokenizer.from_pretrained(FOLDER)`` load it without network. Beside the weights stand
the three files that made them, to be read as a lesson in this order:

- ``data.py``      from raw text to token ids: cleaning, the mix, what is held out;
- ``train.py``     from token ids to weights;
- ``evaluate.py``  from weights to the figures in ``README.md``, the model card.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
"""The model folder, for ``from_pretrained``."""
