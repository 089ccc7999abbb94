"""One file or folder a verb: its flags, and what it prints."""
