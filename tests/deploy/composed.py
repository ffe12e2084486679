"""compose.yaml, alone and with compose.ha.yaml over it, as docker compose itself understands them."""

import functools
import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
STACKS = {"compose.yaml": ("compose.yaml",), "compose.ha.yaml": ("compose.yaml", "compose.ha.yaml")}


def docker_compose(*arguments, **environ):
    """docker compose with nothing in its environment but what is given: no variable of the machine fills a gap."""
    command = ["docker-compose", "--project-directory", str(ROOT), *arguments]
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environ}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)


def config(files, *arguments, **environ):
    return docker_compose(*(f"--file={file}" for file in files), "config", *arguments, **environ)


@functools.cache
def services(stack):
    """The services of a stack by name, with everything merged and every variable expanded."""
    return made(STACKS[stack])


def made(files, **environ):
    """The services of some files, with variables of the environment. (As JSON, the keys that begin with x- are left out.)"""
    run = config(files, **environ)
    assert run.returncode == 0, run.stderr
    return yaml.safe_load(run.stdout)["services"]


def each_service():
    """(stack, name) of every service, for parametrize."""
    return [(stack, name) for stack in STACKS for name in services(stack)]


class Loader(yaml.SafeLoader):
    """YAML as it is written, with compose's own tags, which say how to merge, passed over."""


def _untagged(loader, _suffix, node):
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_sequence(node, deep=True)


Loader.add_multi_constructor("!", _untagged)


def written(file):
    """The file itself, before docker compose has seen it."""
    return yaml.load((ROOT / file).read_text(), Loader)  # noqa: S506  (a SafeLoader)


def as_user(user, command):
    """The command as another user ("uid:gid"), where the test may become one; who keeps, of root's rights, only to read.

    To read, because programs and interpreters of a test may be in folders that are root's alone. It can write to what is
    its own, and to nothing else.
    """
    uid, _, gid = user.partition(":")
    drop = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
    drop += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*drop, *command] if os.geteuid() == 0 else command
