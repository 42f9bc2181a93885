"""How fast pictures are drawn and fitted, and how near that is to what the machine can do."""
