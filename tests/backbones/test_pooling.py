"""Pooling of maps with channels first or last, of tokens, and of vectors."""

import pytest
import torch
from helpers.text_nets import Words, text_backbone
from helpers.tiny import tiny_backbone

from sktransfer.backbones.pooling import (
    MASKED_POOLS,
    check_pooling,
    pool,
    resolve_pooling,
)


@pytest.fixture
def maps():
    return torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax", "flatten"])
def test_the_layout_of_a_map_does_not_matter(maps, pooling):
    expected = pool(maps, pooling)
    tokens = torch.cat([torch.full((2, 1, 5), 99.0), maps.flatten(2).transpose(1, 2)], 1)
    assert torch.equal(pool(maps.permute(0, 2, 3, 1), pooling, "NHWC"), expected)
    torch.testing.assert_close(pool(tokens, pooling, "NLC", n_prefix_tokens=1), expected)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("avg", lambda m: torch.nn.functional.adaptive_avg_pool2d(m, 1).flatten(1)),
        ("max", lambda m: torch.nn.functional.adaptive_max_pool2d(m, 1).flatten(1)),
        ("flatten", lambda m: m.flatten(1)),
    ],
)
def test_pooling_agrees_with_torch(maps, pooling, expected):
    torch.testing.assert_close(pool(maps, pooling), expected(maps))


def test_avgmax_concatenates_avg_and_max(maps):
    both = torch.cat([pool(maps, "avg"), pool(maps, "max")], 1)
    assert torch.equal(pool(maps, "avgmax"), both)


def test_cls_is_the_first_token():
    tokens = torch.arange(12.0).reshape(1, 3, 4)
    assert pool(tokens, "cls", "NLC", 1).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("pooling", ["avg", "max", "flatten"])
def test_pooling_leaves_vectors_unchanged(pooling):
    vectors = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(pool(vectors, pooling, "NC"), vectors)


@pytest.fixture
def tokens():
    """Three texts of 4, 2 and 0 tokens, with garbage after their end."""
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    return torch.cat([x.masked_fill(mask[:, :, None] == 0, torch.nan), mask[:, :, None]], 2)


@pytest.mark.parametrize("pooling", MASKED_POOLS)
def test_masked_pooling_reads_the_tokens_of_a_text_only(tokens, pooling):
    found = pool(tokens, pooling, "NLM")
    for row, n in enumerate([4, 2]):
        alone = tokens[row, :n, :-1]
        expected = {
            "avg": [alone.mean(0)],
            "max": [alone.amax(0)],
            "avgmax": [alone.mean(0), alone.amax(0)],
            "cls": [alone[0]],
            "last": [alone[-1]],
            "concat": [alone[-1], alone.amax(0), alone.mean(0)],
        }[pooling]
        torch.testing.assert_close(found[row], torch.cat(expected))


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax"])
def test_a_text_without_tokens_has_finite_features(tokens, pooling):
    assert (pool(tokens, pooling, "NLM")[2] == 0).all()


@pytest.mark.parametrize("pooling", MASKED_POOLS)
def test_padding_does_not_change_pooled_features(tokens, pooling):
    short = pool(tokens[:2], pooling, "NLM")
    longer = torch.nn.functional.pad(tokens[:2], (0, 0, 0, 3))
    torch.testing.assert_close(pool(longer, pooling, "NLM"), short)


@pytest.mark.parametrize(
    ("make", "pooling", "message"),
    [
        (text_backbone, "flatten", "pooling must not be 'flatten' .*no fixed number of positions"),
        (tiny_backbone, "last", "pooling must not be 'last' .*only texts have a last token"),
        (tiny_backbone, "concat", "pooling must not be 'concat' .* Use 'avg'"),
        (tiny_backbone, "cls", "'net' has no class token"),
        (tiny_backbone, "mean", "pooling must be one of 'avg'"),
    ],
)
def test_a_pooling_that_is_not_possible_is_an_error(make, pooling, message):
    with pytest.raises(ValueError, match=message):
        check_pooling(pooling, make(), "net")


def test_the_first_token_is_a_class_token_if_the_preset_adds_it():
    check_pooling("cls", text_backbone(), "net")
    without = text_backbone(tokenizer=Words(prefix=()))
    with pytest.raises(ValueError, match="'net' has no class token"):
        check_pooling("cls", without, "net")


@pytest.mark.parametrize("asked", ["max", "cls"])
def test_auto_is_the_pooling_that_the_weights_ask_for(asked):
    assert resolve_pooling("auto", text_backbone(pooling=asked)) == asked
    assert resolve_pooling("last", text_backbone(pooling=asked)) == "last"


@pytest.mark.parametrize("make", [tiny_backbone, text_backbone])
def test_auto_is_the_mean_otherwise(make):
    assert resolve_pooling("auto", make()) == "avg"
