"""See which sparse-autoencoder features a language model uses, and steer it with them.

The names below load on first use, so that `import sae_widgets` stays light: nothing here imports
torch or transformer_lens before it is needed. `__init__.pyi` says where each name lives.
"""

import lazy_loader

# Importing the package of this name must not hide the function, which live.py defines. lazy_loader
# sees to that by itself where a function lies in the package of its own name, as `steering` does.
__lazy_shadowed__ = {"training"}
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
