"""The container files, as far as they can be checked without a container engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    assert {"postgres", "set-up", "api-server", "scheduler", "dag-processor", "triggerer", "monitor"} <= set(found)
    return found


def test_the_compose_file_follows_the_compose_specification() -> None:
    # Compose resolves anchors and variables before it looks at the file.
    resolved = yaml.safe_dump(yaml.safe_load(COMPOSE.read_text()))
    resolved = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", resolved)
    resolved = re.sub(r"\$\{\w+:\?[^}]*\}", "given", resolved)
    parsed = compose_spec.PyCompose.from_yaml(resolved)
    parsed.validate()
    assert parsed.services


def test_a_misspelt_key_would_be_seen() -> None:
    with pytest.raises(Exception, match=r"(?i)helthcheck|unknown|invalid"):
        compose_spec.PyCompose.from_yaml("services: {a: {image: b, helthcheck: {}}}").to_spec()


def test_no_finding_of_the_security_linter_is_high() -> None:
    lint = subprocess.run(
        [Path(sys.executable).parent / "compose-lint", "check", "--fail-on", "high", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout


def test_no_secret_has_a_default(services: dict[str, Any]) -> None:
    text = COMPOSE.read_text()
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|KEY)\w*)(:[^}]*)?\}", text)
    assert secrets
    assert all(rule.startswith(":?") for _, rule in secrets), secrets


def test_every_lasting_service_has_a_health_check_and_no_capabilities(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        if service.get("restart") != "no":
            assert service["healthcheck"]["test"], name


def test_ports_are_published_on_the_loopback_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_file_that_the_image_copies_exists_and_is_let_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY --chown=\S+ (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert copied
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert name in allowed, name


def test_the_image_runs_as_a_user_without_root() -> None:
    users = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert users
    assert users[-1] != "root"


def test_the_image_pins_the_same_uv_as_the_makefile() -> None:
    pinned = re.search(r"uv==(\S+)", (ROOT / "Dockerfile").read_text())
    used = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.M)
    assert pinned
    assert used
    assert pinned[1] == used[1]


def test_only_set_up_and_the_server_know_the_administrators_password(services: dict[str, Any]) -> None:
    knowing = {name for name, service in services.items() if "PASSWORD" in str(service.get("environment"))}
    assert knowing == {"postgres", "set-up"}


def test_images_can_be_pinned_by_digest(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert re.fullmatch(r"\$\{C360_\w*IMAGE:-[a-z0-9/.-]+:[0-9.]+\}", service["image"]), name
