"""A session: a model, its SAEs and their labels bound together. Here models meet widgets."""

from sae_widgets.session.labels import Label, Labels
from sae_widgets.session.session import SAMPLE, Session

__all__ = ["SAMPLE", "Label", "Labels", "Session"]
