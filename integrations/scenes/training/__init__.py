"""What trained `scenes`; a guide in docs/training-scenes.md. Part of a checkout, not of an installed wheel."""
