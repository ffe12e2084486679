"""Liveness, readiness, startup and the checks behind them."""
