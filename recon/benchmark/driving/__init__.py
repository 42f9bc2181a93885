"""How well faces become codes, and how few bits codes need."""
