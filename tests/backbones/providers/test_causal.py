"""The network of the embedded language model: stages, dropout and head."""

import pytest
import torch
from torch import nn

from sktransfer import Backbone
from sktransfer.backbones.providers._text import (
    CausalConvolution,
    DroppedTable,
    lm_head,
    lm_stages,
)
from sktransfer.data import TextPreset, WordPiece
from sktransfer.testing import check_backbone

TOKENIZER = WordPiece(("[UNK]", "[EOS]", *"abcdefgh"), prefix=(1,))


@pytest.fixture
def backbone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages, head = lm_stages(10, 8, 12, 3, 2), lm_head(10, 8)
    preset = TextPreset(TOKENIZER, max_length=16)
    return Backbone(stages, preset, layout="NLM", language_head=head)


def test_the_network_is_a_valid_chain(backbone):
    assert backbone.names == ["embed", "block1", "block2", "block3"]
    check_backbone(backbone)


def test_the_last_stage_is_as_wide_as_the_table(backbone):
    x = backbone(torch.tensor([[1, 2, 3, -1]]))
    assert x.shape == (1, 4, 8 + 1)
    assert backbone.token_scores(x).shape == (1, 4, 10)


@torch.no_grad()
def test_a_token_does_not_depend_on_later_ones(backbone):
    backbone.eval()
    one, other = backbone(torch.tensor([[1, 2, 3, 4], [1, 2, 5, 6]]))
    assert torch.equal(one[:2], other[:2])
    assert not torch.equal(one[2:], other[2:])


def test_training_drops_whole_tokens_of_the_table():
    table = DroppedTable(100, 6, 0.5, 0.0).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = table(torch.arange(100).repeat(2, 1))[..., :-1]
    is_dropped = (x == 0).all(2)
    assert torch.equal(is_dropped[0], is_dropped[1])
    assert 30 < is_dropped[0].sum() < 70
    torch.testing.assert_close(x[~is_dropped], 2 * table.words.weight.repeat(2, 1, 1)[~is_dropped])


@torch.no_grad()
def test_training_drops_channels_of_a_whole_text():
    block = CausalConvolution(40, 8, 2, 0.5).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.cat([torch.randn(2, 5, 40), torch.ones(2, 5, 1)], 2)
        is_dropped = (block(x) == x)[..., :-1]
    assert torch.equal(is_dropped.all(1), is_dropped.any(1))
    assert 10 < is_dropped[0, 0].sum() < 30
    assert not torch.equal(is_dropped[0], is_dropped[1])


@torch.no_grad()
def test_a_sum_reaches_a_number_of_earlier_tokens():
    block = CausalConvolution(4, 8, 2, 0.0).eval()
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    x[1, 1:] = x[0, 1:]  # only the first token differs
    one, other = block(torch.cat([x, torch.ones(2, 6, 1)], 2))
    assert [torch.equal(a, b) for a, b in zip(one, other, strict=True)] == [False] * 3 + [True] * 3


def test_a_network_without_dropout_is_the_same_in_both_modes():
    stages = lm_stages(10, 8, 12, dropout=0.0)
    net = nn.Sequential(*stages.values())
    ids = torch.tensor([[1, 2, 3], [4, 5, -1]])
    assert torch.equal(net.train()(ids), net.eval()(ids))
