"""What obskit can be told, by arguments and by the environment.

Arguments beat the environment, the environment beats defaults. Wrong arguments raise one ``ConfigError`` that names
every problem; a wrong variable is one sentence in ``Config.warnings``, and its default is used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from obskit._config_table import PATHS, SETTINGS, Table
from obskit._setting import Problem, read
from obskit.exceptions import ConfigError

_COLLECTOR = "http://localhost:4318"
_GRPC = (
    "otlp_protocol (OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, OTEL_EXPORTER_OTLP_PROTOCOL) is grpc, but this release exports "
    "over HTTP only, so no spans leave the process: set http/protobuf, and the collector's HTTP port, 4318"
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Config(Table):
    """The configuration of one process; immutable. docs/reference/configuration.md says what each field means.

    Two are equal when every field is. Lists are taken for tuples, and kept as such.

    Attributes:
        given: the fields that an argument or a variable gave, also where it is the default.

    Raises:
        ConfigError: names every wrong argument, what it is and what is allowed. Secrets are not shown.
        TypeError: an argument that is no field.

    """

    given: frozenset[str] = field(init=False, compare=False)
    _problems: tuple[Problem, ...] = field(init=False, compare=False)

    def __new__(cls, **arguments: object) -> Self:
        """Note which fields are given, which their values cannot tell."""
        self = object.__new__(cls)
        object.__setattr__(self, "given", frozenset(arguments))
        object.__setattr__(self, "_problems", ())
        return self

    def __post_init__(self) -> None:
        """Check each field and keep it as its kind does."""
        values: dict[str, Any] = {}
        problems = []
        for name, entry in SETTINGS.items():
            value = getattr(self, name)
            try:
                values[name] = entry.check(value)
            except ValueError as error:
                problems.append(f"{name}={entry.shown(value)}: it {error}")
        problems += [problem.sentence for problem in _conflicts({n: values[n] for n in values.keys() & self.given})]
        if problems:
            raise ConfigError(problems)
        if "span_batch_size" not in self.given:
            values["span_batch_size"] = min(values["span_batch_size"], values["span_queue_size"])
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the configuration that `environ`, such as ``os.environ``, gives; it alone, and only now.

        Never raises: a wrong value is a sentence in :attr:`warnings`, and its default is used. An empty variable is as
        good as unset, but for the paths, which it switches off.
        """
        values, problems = read(SETTINGS, environ)
        return cls._settled(values, {}, problems)

    def overlaid(self, other: Config) -> Self:
        """Return this configuration with what `other` was given on top.

        What was given here and cannot stand beside it falls back to its default, with a warning.
        """
        under = {name: getattr(self, name) for name in self.given - other.given}
        over = {name: getattr(other, name) for name in other.given}
        kept = [problem for problem in self._problems if not other.given.issuperset(problem.fields)]
        return self._settled(under, over, [*kept, *other._problems])

    @classmethod
    def _settled(cls, under: dict[str, Any], over: dict[str, Any], problems: list[Problem]) -> Self:
        for _ in range(len(under)):  # a default that steps in can meet another of them: each round takes one away
            for names, sentence in _conflicts({**under, **over}):
                dropped = [name for name in names if under.pop(name, None) is not None]
                ignored = ", ".join(f"{name} ({SETTINGS[name].variables[0]})" for name in dropped)
                defaults = ", ".join(SETTINGS[name].default_text() for name in dropped)
                problems.append(Problem(tuple(dropped), f"{ignored} is ignored: {sentence}; used: {defaults}"))
        config = cls(**under, **over)
        object.__setattr__(config, "_problems", tuple(problems))
        return config

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the environment: sentences that name the variable, the fault and the default used."""
        sentences = tuple(problem.sentence for problem in self._problems)
        return (*sentences, _GRPC) if self.otlp_protocol == "grpc" else sentences

    @property
    def span_exporter(self) -> Literal["otlp", "console", "none"]:
        """Where spans go once everything is weighed: the exporter, the endpoints, the protocol, ``enabled``."""
        endpoint = self.otlp_endpoint or self.otlp_traces_endpoint
        chosen = self.traces_exporter or ("otlp" if endpoint else "none")
        unable = chosen == "otlp" and self.otlp_protocol == "grpc"
        return "none" if unable or not self.enabled else chosen

    @property
    def traces_url(self) -> str:
        """The URL that takes spans (https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp)."""
        if self.otlp_traces_endpoint:
            return self.otlp_traces_endpoint
        base = urlsplit(self.otlp_endpoint or _COLLECTOR)
        return base._replace(path=base.path.rstrip("/") + "/v1/traces").geturl()

    def differences(self, other: Config) -> list[str]:
        """Return one sentence for each field in which `other` differs; secrets are not shown."""
        sentences = []
        for name, entry in SETTINGS.items():
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                shown = entry.shown(mine), entry.shown(theirs)
                what = "the parts that are not shown differ" if shown[0] == shown[1] else " != ".join(shown)
                sentences.append(f"{name}: {what}")
        return sentences

    def __repr__(self) -> str:
        changed = ((n, getattr(self, n)) for n, entry in SETTINGS.items() if getattr(self, n) != entry.default)
        return f"Config({', '.join(f'{name}={SETTINGS[name].shown(value)}' for name, value in changed)})"


def _conflicts(given: Mapping[str, Any]) -> list[Problem]:
    """Find values, right each by itself, that cannot stand together or beside a default."""
    found = []
    batch, queue = given.get("span_batch_size", 1), given.get("span_queue_size", SETTINGS["span_queue_size"].default)
    if batch > queue:
        sentence = f"span_batch_size={batch} must be at most span_queue_size={queue}"
        found.append(Problem(("span_batch_size", "span_queue_size"), sentence))
    routes = defaultdict(list)
    for name in PATHS:
        routes[given.get(name, SETTINGS[name].default)].append(name)
    for path, names in routes.items():
        if path and len(names) > 1:
            sentence = f"{' and '.join(names)} must differ, but are {SETTINGS[names[0]].shown(path)}"
            found.append(Problem(tuple(names), sentence))
    return found
