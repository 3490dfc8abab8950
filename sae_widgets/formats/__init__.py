"""How SAEs are kept on disk: `load_sae` and `save_sae`."""

from sae_widgets.formats.own import load_sae, save_sae

__all__ = ["load_sae", "save_sae"]
