"""Rows of tokens with their targets, for causal and masked language models."""

import numpy as np
import pytest
import torch
from helpers.language_nets import letters

from sktransfer.data import TextPreset
from sktransfer.tasks import LanguageModel
from sktransfer.training.token_rows import make_samples

CAUSAL, MASKED = LanguageModel("causal", 12), LanguageModel("masked", 12, 3)
TEXTS = ["a b c d e f g h", "a", "b a h", ""]


def samples(texts=TEXTS, task=CAUSAL, is_fixed=False, prefix=(1,), suffix=(2,), seed=0, **fields):
    preset = TextPreset(letters(prefix, suffix), **{"max_length": 8} | fields)
    items = preset.check(texts)
    return make_samples(preset, items, task, seed, is_fixed)


def of(found, rows, epoch=0):
    batch, _ = found.batch(np.array(rows), epoch)
    return batch["x"], batch["target"], batch["weight"]


def test_long_texts_become_pieces_and_no_token_is_left_out():
    found = samples()
    x, _, _ = of(found, range(len(found)))
    assert x.tolist() == [
        [1, 4, 5, 6, 7, 8, 9, 2],
        [1, 10, 11, 2, -1, -1, -1, -1],
        [1, 4, 2, -1, -1, -1, -1, -1],
        [1, 5, 4, 11, 2, -1, -1, -1],
    ]


def test_the_target_of_a_causal_model_is_the_next_token():
    _, target, _ = of(samples(), [1, 2])
    assert target.tolist() == [
        [10, 11, 2, -1],
        [4, 2, -1, -1],
    ]


def test_rows_count_by_the_number_of_their_targets():
    found = samples()
    _, target, weight = of(found, range(len(found)))
    counts = (target >= 0).sum(1)
    assert torch.allclose(weight, counts / counts.float().mean())
    assert weight.mean() == pytest.approx(1)


def test_a_text_of_one_token_has_no_target_without_special_tokens():
    assert len(samples(prefix=(), suffix=())) == 2
    assert len(samples(prefix=(), suffix=(), task=MASKED)) == 3
    with pytest.raises(ValueError, match="X must contain a text with tokens to predict; all its"):
        samples(["", "a"], prefix=(), suffix=())


def test_a_masked_model_predicts_some_tokens_and_never_special_ones():
    found = samples(["a b c d e f g h " * 8] * 200, MASKED, max_length=66)
    x, target, _ = of(found, range(200))
    chosen = target >= 0
    assert not chosen[:, [0, -1]].any()
    assert chosen.float().mean() == pytest.approx(0.15 * 64 / 66, abs=0.01)
    seen, wanted = x[chosen], target[chosen]
    assert (seen == 3).float().mean() == pytest.approx(0.8, abs=0.02)
    # a random token is the right one in one of twelve draws
    assert (seen == wanted).float().mean() == pytest.approx(0.1 + 0.1 / 12, abs=0.02)
    expected = torch.tensor([1, *(list(range(4, 12)) * 8), 2]).expand(200, -1)
    assert torch.equal(torch.where(chosen, target, x), expected)


def test_at_least_one_token_of_a_row_is_predicted():
    _, target, _ = of(samples(["a"] * 50, MASKED), range(50))
    assert (target >= 0).sum(1).tolist() == [1] * 50


def test_masked_tokens_are_drawn_again_in_each_epoch_from_the_seed():
    found = samples(["a b c d e f"] * 20, MASKED)
    rows = range(20)
    first, again, later = of(found, rows), of(found, rows), of(found, rows, 1)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], later[0])
    other = samples(["a b c d e f"] * 20, MASKED, seed=1)
    assert not torch.equal(first[1], of(other, rows)[1])


def test_fixed_rows_are_the_same_in_each_epoch():
    found = samples(["a b c d e f"] * 20, MASKED, is_fixed=True)
    assert torch.equal(of(found, range(20))[0], of(found, range(20), 1)[0])


def test_a_row_does_not_depend_on_its_batch():
    found = samples(task=MASKED)
    alone, among = of(found, [2]), of(found, [3, 2])
    for one, several in zip(alone[:2], among[:2], strict=True):
        assert torch.equal(one[0], several[1, :3])
        assert several[1, 3:].tolist() == [-1, -1]


def test_the_loss_is_the_mean_over_the_targets_of_a_row():
    target = torch.tensor([[1, -1, 2], [-1, -1, -1]])
    scores = torch.zeros(2, 3, 12)
    scores[0, 0, 1] = 50.0
    loss = CAUSAL.loss(scores, target)
    assert loss.tolist() == pytest.approx([np.log(12) / 2, 0], abs=1e-6)
    assert CAUSAL.correct(scores, target).tolist() == [0.5, 0]
