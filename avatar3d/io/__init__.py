"""Avatars to the files of other programs, and back: one module a format.

Values inside keep the project's frame (glTF's: metres, +Y up, +Z out of the face); a format's own
axes, orders and encodings live in its module alone.
"""
