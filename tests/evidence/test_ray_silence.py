"""A cluster of our own reports to nobody."""

import os

import pytest

from deniability.inversion.ray_executor import RayExecutor


def test_a_cluster_of_our_own_is_begun_without_rays_usage_reports(monkeypatch):
    ray = pytest.importorskip("ray")
    begun = {}

    def begin(**options):
        begun.update(options, usage=os.environ["RAY_USAGE_STATS_ENABLED"])

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "unset below, and put back after the test")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", begin)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with RayExecutor("builtin") as executor:
        executor._begin()
    assert begun["usage"] == "0"
    assert begun["include_dashboard"] is False
