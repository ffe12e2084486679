"""Where the services of the shop find each other."""

import os

import httpx

PORTS = {"gateway": 8000, "users": 8001, "orders": 8002, "inventory": 8003, "pricing": 8004, "payments": 8005}


def variable(service: str) -> str:
    """The environment variable that holds a service's address."""
    return f"SHOP_{service.upper()}_URL"


def address(service: str) -> str:
    """The base URL of a service: what its variable says, else its documented port on loopback."""
    return os.environ.get(variable(service), f"http://127.0.0.1:{PORTS[service]}")


def client(service: str) -> httpx.AsyncClient:
    """A client for one service of the shop. Nothing here is about telemetry: obskit observes every httpx client."""
    return httpx.AsyncClient(base_url=address(service), timeout=5)
