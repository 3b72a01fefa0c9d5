"""Identity resolution: which records belong to one person, under keys that last.

``resolve`` is the step of the build; the rest explains, decides and measures. The rules are in docs/identity.md.
"""

from customer360.identity.resolution import IdentityDelta, has_work, resolve

__all__ = ["IdentityDelta", "has_work", "resolve"]
