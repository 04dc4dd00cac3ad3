"""Random networks of the package transformers, with which the tests compare ours."""

import pytest
import torch
from helpers.bert_tokens import VOCABULARY, word_piece


def of_the_package(config, folder, kind="AutoModel"):
    """A random network of the package, which it has also written to a folder."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    values = {key: value for key, value in config.items() if key != "model_type"}
    values |= {"pad_token_id": values.get("pad_token_id", 0), "num_labels": 3}
    form = transformers.AutoConfig.for_model(config["model_type"], **values)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = getattr(transformers, kind).from_config(form).eval()
        for parameter in net.parameters():  # also those that begin with 0 or 1
            parameter.data += 0.2 * torch.randn(parameter.shape)
    net.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(word_piece().to_bytes())
    return net


def random_ids(n_rows, length):
    generator = torch.Generator().manual_seed(length)
    return torch.randint(5, len(VOCABULARY), (n_rows, length), generator=generator)
