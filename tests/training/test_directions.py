"""Every number worked out by hand on two or three directions."""

import pytest
import torch

from sae_widgets.sae import SAE
from sae_widgets.training import directions
from sae_widgets.training.directions import geometry, head_attribution, stability


def sae_of(rows, encoder=None, hook="h"):
    rows = torch.tensor(rows)
    sae = SAE(rows.shape[1], len(rows), hook).requires_grad_(False)
    sae.W_dec.copy_(rows)
    sae.W_enc.copy_((rows if encoder is None else torch.tensor(encoder)).T)
    return sae


@pytest.mark.parametrize("tile", [3, 2**24])
def test_geometry_by_hand(monkeypatch, tile):
    monkeypatch.setattr(directions, "TILE", tile)
    # Cosines of pairs: 0, -0.6 and 0.8, whatever the lengths. The third column is across its row.
    sae = sae_of(
        [[1.0, 0.0], [0.0, 2.0], [-0.3, 0.4]], encoder=[[3.0, 0.0], [1.0, 1.0], [0.4, 0.3]]
    )
    found = geometry(sae)
    assert found.nearest == pytest.approx((0.0 + 0.8 + 0.8) / 3)
    assert found.pairwise == pytest.approx((0.0 + 0.6 + 0.8) / 3)
    assert found.reading == pytest.approx((1 + 0.5**0.5 + 0.0) / 3)


def test_one_direction_has_no_neighbour():
    with pytest.raises(ValueError, match="no two directions"):
        geometry(sae_of([[1.0, 0.0]]))


@pytest.mark.parametrize("tile", [2, 2**24])
def test_stability_by_hand(monkeypatch, tile):
    monkeypatch.setattr(directions, "TILE", tile)
    # Cosines 0.8 and 0.6 for the first, 0.6 and -0.8 for the second: both like the same best.
    one, other = sae_of([[1.0, 0.0], [0.0, 3.0]]), sae_of([[0.8, 0.6], [1.2, -1.6]])
    found = stability(one, other)
    assert found.nearest == pytest.approx(0.7)
    assert found.matched == pytest.approx(0.6)
    alone = stability(one, other, match=False)
    assert alone.nearest == pytest.approx(0.7)
    assert alone.matched is None


def test_an_sae_agrees_with_itself_in_another_order():
    sae = SAE(6, 9, "h")
    mixed = sae_of(sae.W_dec[torch.randperm(9)].tolist())
    assert stability(sae, mixed).matched == pytest.approx(1.0)


def test_directions_of_other_lengths_cannot_be_compared():
    with pytest.raises(ValueError, match="vectors of 2 and 3 numbers"):
        stability(sae_of([[1.0, 0.0]]), sae_of([[1.0, 0.0, 0.0]]))


def test_heads_by_hand(model):
    # Two heads of four: the first row has parts of length 5 and 0, the second 1 and 3.
    rows = [[3.0, 4.0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1.0, 0, 3.0, 0, 0]]
    columns = [[1.0, 0, 0, 0, 0, 0, 1.0, 0], [0, 0, 0, 0, 2.0, 0, 0, 0]]
    found = head_attribution(model, sae_of(rows, columns, "blocks.1.attn.hook_z"))
    assert found.write.tolist() == [[1.0, 0.0], [0.25, 0.75]]
    assert found.read.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_only_features_at_the_heads_belong_to_heads(model):
    with pytest.raises(ValueError, match=r"is of 'blocks\.0.hook_resid_post'"):
        head_attribution(model, SAE(8, 4, "blocks.0.hook_resid_post"))
    with pytest.raises(ValueError, match=r"9 numbers .* do not make 2 equal heads"):
        head_attribution(model, SAE(9, 4, "blocks.0.attn.hook_z"))
