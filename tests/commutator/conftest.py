"""Hypothesis without deadlines: a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("commutator", deadline=None, max_examples=60)
settings.load_profile("commutator")
