"""How SAEs are kept on disk: `load_sae` and `save_sae`.

Each format is one module with `NAME`, `SCALED`, `detects` and `read`, and one line in `load.py`.
All of them bring an SAE into one form (`canonical.py`).
"""

from sae_widgets.formats.load import AnySAE, as_sae, load_sae
from sae_widgets.formats.own import save_sae

__all__ = ["AnySAE", "as_sae", "load_sae", "save_sae"]
