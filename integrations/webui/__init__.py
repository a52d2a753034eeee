"""The extension of A1111 and Forge: an accordion "Preview", and buttons that finish what was picked.

Nothing here imports the programs' own modules until they run it (`script.py` is theirs to load).
"""
