"""Who emits: the resource of every signal (https://opentelemetry.io/docs/specs/semconv/resource/)."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys
import uuid
import weakref
from pathlib import PurePath

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource

from obskit import semconv
from obskit._version import __version__
from obskit.config import Config

_FASTAPI_DEFAULT_TITLE = "FastAPI"


def resolve_service_name(config: Config, app: object) -> str:
    """The configured name, else the app's title, else the specification's ``unknown_service:<process>``."""
    if config.service_name:
        return config.service_name
    title = getattr(app, "title", None)
    if isinstance(title, str) and title and title != _FASTAPI_DEFAULT_TITLE:
        return title
    return f"unknown_service:{PurePath(sys.executable or 'python').name}"


def resolve_service_version(config: Config, service_name: str) -> str | None:
    """The configured version, else that of an installed distribution of the service's name."""
    if config.service_version:
        return config.service_version
    try:
        return importlib.metadata.version(service_name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def build_resource(config: Config) -> Resource:
    """The resource for `config`, whose ``service_name`` is resolved; each call is another instance of the service."""
    attributes: dict[str, str] = {
        **config.resource_attributes,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": importlib.metadata.version("opentelemetry-sdk"),
        semconv.TELEMETRY_DISTRO_NAME: "obskit",
        semconv.TELEMETRY_DISTRO_VERSION: __version__,
        semconv.SERVICE_NAME: config.service_name or "",
    }
    optional = {
        semconv.SERVICE_VERSION: config.service_version,
        semconv.SERVICE_NAMESPACE: config.service_namespace,
        semconv.DEPLOYMENT_ENVIRONMENT_NAME: config.environment,
    }
    attributes |= {name: value for name, value in optional.items() if value}
    if semconv.SERVICE_INSTANCE_ID in attributes:
        return Resource(attributes)
    resource = Resource({**attributes, semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4())})
    _renew_in_children()
    _instances.append(weakref.ref(resource, _instances.remove))
    return resource


#: The resources whose instance was named here. Not a WeakSet: hashing a resource serialises it.
_instances: list[weakref.ref[Resource]] = []


@functools.cache
def _renew_in_children() -> None:
    """A forked child is another instance. Once a process: what is registered at fork cannot be taken back."""

    def renew() -> None:
        for resource in filter(None, [reference() for reference in _instances]):
            renewed = {**resource.attributes, semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4())}
            # In place: the tracer provider, and each span that has ended, holds this very object.
            resource._attributes = BoundedAttributes(attributes=renewed, immutable=True)  # noqa: SLF001

    os.register_at_fork(after_in_child=renew)
