"""See which sparse-autoencoder features a language model uses, and steer it with them.

The names below load on first use, so that `import sae_widgets` stays light: nothing here imports
torch or transformer_lens before it is needed. `__init__.pyi` says where each name lives.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
