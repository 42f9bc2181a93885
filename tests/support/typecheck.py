"""The checker that the tests run the floor's code under: shapes by jaxtyping, types by beartype."""

from __future__ import annotations

from typing import Any

from beartype import BeartypeConf, beartype

# An int is a fine float, as in every call that writes `distance_m=1`.
typecheck: Any = beartype(conf=BeartypeConf(is_pep484_tower=True))
