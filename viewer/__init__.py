"""See and drive an avatar: a small server and a web client (not written yet)."""
