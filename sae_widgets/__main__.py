"""`python -m sae_widgets` is the `sae-widgets` command, as torchrun starts it."""

from sae_widgets.cli import app

app(prog_name="sae-widgets")
