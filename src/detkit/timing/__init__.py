"""How long calls take, and whether that can be trusted: the room that reads the clock."""
