"""GPEN: the generator's network and the spec read from its weights."""

from .network import GpenGenerator
from .spec import GpenSpec, is_gpen

__all__ = ["GpenGenerator", "GpenSpec", "is_gpen"]
