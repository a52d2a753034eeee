"""Sheets on disk: the folder and its record, how they are shown, and the checks of what others may have put there."""
