"""Postcards: a small world whose every word is labelled, and the models trained on it."""
