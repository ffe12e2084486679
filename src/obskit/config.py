"""What obskit can be told, by arguments and by the environment.

Arguments beat the environment, the environment beats defaults. Wrong arguments raise one ``ConfigError`` that names
every problem; a wrong variable is one sentence in ``Config.warnings``, and its default is used.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from obskit._config_table import PATHS, SETTINGS, Table
from obskit._otlp import GRPC_PACKAGE, SIGNALS, Otlp, Signal, grpc_is_installed, otlp_of
from obskit._setting import Problem, read
from obskit.exceptions import ConfigError

_NO_CONTRIB = (
    "OBSKIT_SERVER_SPANS='contrib' is ignored: it needs the extra, pip install 'obskit[contrib]'; the default is used: "
    "obskit"
)
_KEEP = (
    "keep (OBSKIT_KEEP) is given without keep_rate (OBSKIT_KEEP_RATE), whose default, 1, keeps everything: set the "
    "share of other traces to keep, such as 0.1"
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
        for kind in ("span", "log"):
            if f"{kind}_batch_size" not in self.given:
                values[f"{kind}_batch_size"] = min(values[f"{kind}_batch_size"], values[f"{kind}_queue_size"])
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the configuration that `environ`, such as ``os.environ``, gives; it alone, and only now.

        Never raises: a wrong value is a sentence in :attr:`warnings`, and its default is used. An empty variable is as
        good as unset, but for the paths, which it switches off.
        """
        values, problems = read(SETTINGS, environ)
        if values.get("server_spans") == "contrib" and not contrib_is_installed():
            del values["server_spans"]
            problems.append(Problem(("server_spans",), _NO_CONTRIB))
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
        unable = [signal for signal in SIGNALS if self._lacks_grpc(signal)]
        return (*sentences, _no_grpc(unable)) if unable else sentences

    def _chosen(self, signal: Signal) -> tuple[str, ...]:
        """What is asked for, where OTLP is on by its endpoint alone too."""
        if signal == "metrics":
            return self.metrics_exporter
        if signal == "logs":
            return (self.logs_exporter,)
        return (self.traces_exporter or ("otlp" if self.otlp_endpoint or self.otlp_traces_endpoint else "none"),)

    def _lacks_grpc(self, signal: Signal) -> bool:
        return "otlp" in self._chosen(signal) and self.otlp(signal).protocol == "grpc" and not grpc_is_installed()

    def pushes(self, signal: Signal) -> tuple[Literal["otlp", "console"], ...]:
        """Where a signal is pushed to once everything is weighed: exporter, endpoints, protocol, ``enabled``."""
        if not self.enabled:
            return ()
        lacks_grpc = self._lacks_grpc(signal)
        ways: tuple[Literal["otlp", "console"], ...] = ("otlp", "console")
        return tuple(way for way in ways if way in self._chosen(signal) and not (way == "otlp" and lacks_grpc))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is right and yet does nothing: sentences for the same place."""
        return (_KEEP,) if "keep" in self.given and "keep_rate" not in self.given else ()

    @property
    def span_exporter(self) -> Literal["otlp", "console", "none"]:
        """Where spans go once everything is weighed."""
        return next(iter(self.pushes("traces")), "none")

    def otlp(self, signal: Signal) -> Otlp:
        """OTLP for ``traces``, ``metrics`` or ``logs``: its own options where they are given, else those of all."""
        return otlp_of(self, signal)

    @property
    def traces_url(self) -> str:
        """The URL that takes spans."""
        return self.otlp("traces").url

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
    for of_batch, of_queue in (("span_batch_size", "span_queue_size"), ("log_batch_size", "log_queue_size")):
        batch, queue = given.get(of_batch, 1), given.get(of_queue, SETTINGS[of_queue].default)
        if batch > queue:
            sentence = f"{of_batch}={batch} must be at most {of_queue}={queue}"
            found.append(Problem((of_batch, of_queue), sentence))
    routes = defaultdict(list)
    for name in PATHS:
        routes[given.get(name, SETTINGS[name].default)].append(name)
    for path, names in routes.items():
        if path and len(names) > 1:
            sentence = f"{' and '.join(names)} must differ, but are {SETTINGS[names[0]].shown(path)}"
            found.append(Problem(tuple(names), sentence))
    return found


def contrib_is_installed() -> bool:
    """Whether OpenTelemetry's instrumentation of ASGI apps can be imported."""
    try:
        return importlib.util.find_spec("opentelemetry.instrumentation.asgi") is not None
    except ImportError:  # of the package above it
        return False


def _no_grpc(signals: list[Signal]) -> str:
    return (
        f"grpc for {', '.join(signals)} needs {GRPC_PACKAGE}, which is not installed, so none of it is exported: "
        "install obskit[grpc], or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf and the collector's HTTP port, 4318"
    )
