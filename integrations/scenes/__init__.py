"""`scenes`: the small text-to-image flow model that ships with commutant."""
