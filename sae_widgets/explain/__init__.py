"""What a feature stands for."""

from sae_widgets.explain.logit_lens import Lens, logit_lens

__all__ = ["Lens", "logit_lens"]
