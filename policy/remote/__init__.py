"""Policies over a network, in openpi's protocol: used from elsewhere, and served to others."""

from dexhil.policy.remote.client import RemotePolicy
from dexhil.policy.remote.config import RemoteConfig, load_remote

__all__ = ["RemoteConfig", "RemotePolicy", "load_remote"]
