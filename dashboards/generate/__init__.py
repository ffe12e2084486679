"""Writes Grafana's dashboards: ``python -m dashboards.generate``."""
