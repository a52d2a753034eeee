"""What a person installs or clicks: the command line, the contact sheet, the embedded model."""
