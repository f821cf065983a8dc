"""Names, folders and refusals: what `load_model` loads, once, and what it will not."""

import json
import logging
import shutil
import socket
import threading
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2lab import folders, models
from gpt2lab.architectures import ARCHITECTURES, count_parameters
from gpt2lab.models import NAMES, catalogue, load_model
from gpt2lab.refusal import Refusal


@pytest.fixture
def copy(random_folder, tmp_path) -> Path:
    """A copy of the random model to break."""
    return Path(shutil.copytree(random_folder, tmp_path / "broken"))


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A process that has loaded nothing, with an empty Hub cache."""
    monkeypatch.setattr(models, "_loaded", {})
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)


def change(file: Path, **settings) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def refusal(*arguments: str) -> str:
    with pytest.raises(Refusal) as caught:
        load_model(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    assert len(message) < 700
    return message


# --- what loads --------------------------------------------------------------------------------


def test_a_local_folder(random_gpt2, random_folder):
    gpt2 = random_gpt2
    assert (gpt2.name, gpt2.source, gpt2.path) == ("random", "local", str(random_folder))
    assert (gpt2.n_layer, gpt2.n_head, gpt2.n_embd) == (3, 4, 32)
    assert (gpt2.n_positions, gpt2.vocab_size) == (128, 50257)
    assert (gpt2.dtype, gpt2.device, gpt2.parameters) == ("float32", "cpu", 1_650_496)
    assert gpt2.description == "random · 2 M parameters · local folder · float32 · cpu"
    assert gpt2.tokenizer("Today we can go to").input_ids == [8888, 356, 460, 467, 284]
    assert not gpt2.model.training
    assert not any(tensor.requires_grad for tensor in gpt2.model.parameters())
    assert gpt2.model.config._attn_implementation == "eager"
    assert len(gpt2.revision) == 12


def test_pocket_is_built_in(pocket):
    assert (pocket.name, pocket.source) == ("pocket", "built-in")
    assert pocket.description.startswith("pocket · ")
    assert "built in, trained for this project; not OpenAI's GPT-2" in pocket.description
    assert pocket.vocab_size == 50257
    info = catalogue()[0]
    assert (info.name, info.ready, info.parameters) == ("pocket", True, pocket.parameters)


def test_the_weights_are_the_files(random_gpt2, random_folder):
    ids = torch.tensor([[8888, 356, 460, 467, 284]])
    original = GPT2LMHeadModel.from_pretrained(random_folder, attn_implementation="eager")
    with torch.no_grad():
        assert torch.equal(random_gpt2.model(ids).logits, original(ids).logits)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_number_formats(random_folder, dtype):
    gpt2 = load_model(str(random_folder), "cpu", dtype)
    assert gpt2.dtype == dtype
    assert gpt2.model.transformer.wte.weight.dtype == getattr(torch, dtype)
    assert gpt2 is not load_model(str(random_folder), "cpu")


def test_untied_weights_count_twice(copy):
    original = GPT2LMHeadModel.from_pretrained(copy, tie_word_embeddings=False)
    original.lm_head.weight = torch.nn.Parameter(original.transformer.wte.weight.clone() + 1)
    original.save_pretrained(copy)
    gpt2 = load_model(str(copy), "cpu")
    assert gpt2.parameters == 1_650_496 + 50257 * 32
    assert count_parameters(gpt2.model.config.to_dict()) == gpt2.parameters
    assert torch.equal(gpt2.model.lm_head.weight, gpt2.model.transformer.wte.weight + 1)


def test_twenty_threads_load_once(random_folder, fresh, monkeypatch):
    calls = []
    real = GPT2LMHeadModel.from_pretrained

    def counted(*arguments, **settings):
        calls.append(arguments)
        return real(*arguments, **settings)

    monkeypatch.setattr(folders.GPT2LMHeadModel, "from_pretrained", counted)
    barrier, got = threading.Barrier(20), []

    def ask():
        barrier.wait()
        got.append(load_model(str(random_folder), "cpu"))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 20
    assert all(gpt2 is got[0] for gpt2 in got)
    assert len(calls) == 1
    load_model(f"{random_folder}/../{random_folder.name}", "cpu")
    assert len(calls) == 1, "the same folder by another path"


def test_a_failure_is_not_remembered(copy, random_folder):
    weights = copy / "model.safetensors"
    weights.unlink()
    refusal(str(copy))
    shutil.copy(random_folder / "model.safetensors", weights)
    assert load_model(str(copy)).source == "local"


def test_the_folders_own_sampling_defaults_do_not_leak(copy):
    change(copy / "generation_config.json", temperature=0.3, top_k=5, do_sample=True, num_beams=3)
    config = load_model(str(copy)).model.generation_config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (50256,) * 3
    for name in ("temperature", "top_k", "do_sample", "num_beams", "top_p", "max_new_tokens"):
        assert getattr(config, name) is None, name


def test_auto_without_network_touches_no_socket(random_folder, fresh, monkeypatch):
    def forbidden(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(models, "POCKET", random_folder)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    assert load_model().name == "pocket"
    assert [info.name for info in catalogue()] == list(NAMES)


def test_loading_is_silent(random_folder, fresh, capfd):
    load_model(str(random_folder), "cpu")
    assert capfd.readouterr() == ("", "")


def test_two_versions_of_the_weights_have_two_revisions(copy, random_gpt2, fresh):
    assert load_model(str(copy)).revision == random_gpt2.revision
    assert load_model(str(copy)).name == "broken"
    model = GPT2LMHeadModel.from_pretrained(copy)
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight += 0.01
    other = copy.parent / "other" / "broken"
    model.save_pretrained(other)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(copy / file, other)
    trained = load_model(str(other))
    assert trained.revision != random_gpt2.revision
    assert trained.name == "other/broken", "the name is taken"


# --- the catalogue -----------------------------------------------------------------------------


def test_the_catalogue_knows_the_published_sizes(fresh):
    assert NAMES == ("pocket", "gpt2", "distilgpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
    infos = {info.name: info for info in catalogue()}
    for name, (n_layer, n_head, n_embd) in ARCHITECTURES.items():
        with torch.device("meta"):
            reference = GPT2LMHeadModel(GPT2Config(n_layer=n_layer, n_head=n_head, n_embd=n_embd))
        info = infos[name]
        assert info.parameters == reference.num_parameters()
        assert (info.n_positions, info.vocab_size, info.ready) == (1024, 50257, False)
    assert infos["gpt2"].parameters == 124_439_808
    assert infos["gpt2-xl"].parameters == 1_557_611_200


def test_local_folders_join_the_catalogue(random_folder, fresh):
    load_model(str(random_folder), "cpu")
    load_model(str(random_folder), "cpu", "bfloat16")
    (info,) = [info for info in catalogue() if info.source == "local"]
    assert (info.name, info.ready, info.parameters) == ("random", True, 1_650_496)


def test_strangers_name_models_but_no_paths(random_folder, fresh):
    with pytest.raises(Refusal, match="There is no model called"):
        models.named_model(str(random_folder))
    gpt2 = load_model(str(random_folder), "cpu")
    assert models.named_model("random", "cpu") is gpt2
    with pytest.raises(Refusal, match="There is no model called"):
        models.named_model(str(random_folder))
    with pytest.raises(Refusal, match=r"python app.py --model gpt2-xl"):
        models.named_model("gpt2-xl")


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["gpt3", "GPT2", "", "  ", "no/such/folder", "\0", "a\ud800b", "x" * 1_000_000, "<script>"],
)
def test_unknown_names(name):
    message = refusal(name)
    assert "choose pocket, gpt2, distilgpt2" in message
    message.encode()


def test_unknown_devices_and_dtypes():
    assert "use auto, cpu, cuda or mps" in refusal("pocket", "gpu")
    assert "use auto, cpu, cuda or mps" in refusal("pocket", "\ud800")
    assert "not available on this computer" in refusal("pocket", "cuda:99")
    assert "use float32, float16 or bfloat16" in refusal("pocket", "cpu", "int8")


def test_a_file_is_not_a_folder(random_folder):
    assert "give the folder" in refusal(str(random_folder / "config.json"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_type": "llama"}, "is a llama model, not a GPT-2"),
        ({"model_type": None}, "of no stated kind"),
        ({"add_cross_attention": True}, "has cross-attention"),
        ({"quantization_config": {"quant_method": "gptq"}}, "has quantised weights"),
        ({"n_head": 5}, "make no GPT-2 (`embed_dim` must be divisible"),
        ({"n_layer": "three"}, "make no GPT-2"),
        ({"n_embd": 64}, "40 tensors are missing or of another shape"),
        ({"n_layer": 4}, "12 tensors are missing or of another shape"),
    ],
)
def test_configs_that_do_not_fit(copy, settings, words, monkeypatch):
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    monkeypatch.setattr(logging.getLogger("transformers"), "handlers", [handler])
    change(copy / "config.json", **settings)
    assert words in refusal(str(copy))
    assert said == [], "transformers prints its report on what does not fit"


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"model_type": "gpt2"', "\x00\x01"])
def test_a_config_that_is_no_config(copy, content):
    (copy / "config.json").write_text(content)
    assert "config.json" in refusal(str(copy))


def test_a_config_in_no_encoding(copy):
    (copy / "config.json").write_bytes(b"\xff\xfe{")
    assert "cannot be read" in refusal(str(copy))


def test_missing_files(copy, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "config.json is missing" in refusal(str(tmp_path / "empty"))
    (copy / "tokenizer.json").unlink()
    assert "has no tokenizer" in refusal(str(copy))
    (copy / "model.safetensors").unlink()
    assert "has no model.safetensors" in refusal(str(copy))


def test_a_pickle_is_not_opened(copy):
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.")
    assert "only as a pickle (.bin)" in refusal(str(copy))


def test_a_truncated_file(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "cut off or damaged" in refusal(str(copy))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_never_run(copy, file):
    proof = copy.parent / "executed"
    (copy / "code.py").write_text(f"open({str(proof)!r}, 'w').close()\nclass Model: ...\n")
    change(copy / file, auto_map={"AutoModelForCausalLM": "code.Model", "AutoTokenizer": "code.M"})
    assert "auto_map" in refusal(str(copy))
    assert not proof.exists()


def test_a_tokenizer_of_another_model(copy):
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    word = {"id": 50257, "content": "<extra>", "single_word": False, "lstrip": False}
    word |= {"rstrip": False, "normalized": False, "special": True}
    tokenizer["added_tokens"].append(word)
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "has 50,258 tokens but the model 50,257" in refusal(str(copy))


@pytest.mark.parametrize("content", ["", "{}", "null", '{"model": 3}'])
def test_a_broken_tokenizer(copy, content):
    (copy / "tokenizer.json").write_text(content)
    assert "make no tokenizer" in refusal(str(copy))


@pytest.mark.hub
@pytest.mark.skipif(not models.is_cached("gpt2"), reason="OpenAI's gpt2 is not in the Hub cache")
def test_the_real_gpt2():
    gpt2 = load_model("gpt2", "cpu")
    assert gpt2.parameters == 124_439_808
    assert gpt2.description.startswith("gpt2 · 124 M parameters · OpenAI's GPT-2")
