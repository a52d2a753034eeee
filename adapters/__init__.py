"""Adapters: one file per sampler ecosystem. Each imports its framework only when it is used."""
