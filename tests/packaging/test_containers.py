"""The examples for containers: valid, and with no more rights than each part needs. None of them is run here."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from compose_spec import PyCompose

from onionmx.config import Configuration
from tests.test_links import PROJECT

DEPLOY = PROJECT / "deploy"
COMPOSE = DEPLOY / "compose/compose.yaml"
OVERRIDES = [
    DEPLOY / "docker-mailserver/compose.override.yaml",
    DEPLOY / "mailcow/docker-compose.override.yml",
    DEPLOY / "mailu/docker-compose.override.yml",
]
USER = "65534:65534"
pytestmark = pytest.mark.source


def compose(path: Path) -> dict[str, Any]:
    """The file, with variables filled in; what the specification does not know is refused."""
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: {"ONIONMX_VERSION": "1.2.3"}[match[1]], path.read_text())
    assert "$" not in text
    document: dict[str, Any] = yaml.safe_load(text)  # which knows the merge keys of YAML 1.1, as compose does
    PyCompose.from_json(json.dumps(document)).to_spec()
    return document


@pytest.mark.parametrize("path", [COMPOSE, *OVERRIDES], ids=lambda path: str(path.relative_to(DEPLOY)))
def test_compose_files_are_valid(path: Path) -> None:
    assert compose(path)["services"]


def test_an_option_that_does_not_exist_is_found(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(COMPOSE.read_text().replace("read_only: true", "read_onl: true"))
    with pytest.raises(ValueError, match="read_onl"):
        compose(path)


def test_no_container_has_more_than_it_needs() -> None:
    services = compose(COMPOSE)["services"]
    assert set(services) == {"tor", "relay", "serve", "sync"}
    for service in services.values():
        assert service["image"] == "localhost/onionmx:1.2.3"
        assert service["user"] == USER
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.keys() & {"privileged", "cap_add", "ports", "network_mode", "pid", "secrets", "entrypoint"}
        assert not any("docker.sock" in volume for volume in service["volumes"])
    assert writable(services["relay"]) == {"relay"}
    assert writable(services["serve"]) == {"serve"}
    assert writable(services["sync"]) == {"map"}
    assert writable(services["tor"]) == {"tor"}
    assert not any("tor:/var" in volume for name in ("relay", "serve", "sync") for volume in services[name]["volumes"])


def writable(service: dict[str, Any]) -> set[str]:
    return {volume.split(":")[0] for volume in service["volumes"] if not volume.endswith(":ro")}


def test_relay_and_lookups_reach_nothing_outside() -> None:
    document = compose(COMPOSE)
    networks = document["networks"]
    closed = {name for name, network in networks.items() if network.get("internal")}
    assert closed == {"inside", "mta"}
    for name in ("relay", "serve"):
        assert set(document["services"][name]["networks"]) <= closed
    for path in OVERRIDES:
        assert compose(path)["networks"]["onionmx"] == {"name": networks["mta"]["name"], "external": True}


def test_files_that_are_mounted_exist() -> None:
    mounted = re.findall(r"^ +- \./(\S+?):", COMPOSE.read_text(), re.MULTILINE)
    assert set(mounted) == {"onionmx.toml", "torrc", "pins", "domains"}
    assert all((COMPOSE.parent / name).is_file() for name in mounted)


def test_the_names_are_those_of_the_containers() -> None:
    settings = Configuration.load(DEPLOY / "compose/onionmx.toml")
    document = compose(COMPOSE)
    assert settings.tor.socks.split(":")[0] in document["services"]
    relay, serve = (document["services"][name]["networks"]["mta"]["aliases"] for name in ("relay", "serve"))
    assert settings.serve.result == f"onion:inet:{relay[0]}:10026"
    for name in ("docker-mailserver/user-patches.sh", "mailcow/extra.cf", "mailu/postfix.cf"):
        assert f"socketmap:inet:{serve[0]}:10027:transport" in (DEPLOY / name).read_text()


@pytest.mark.parametrize(
    "name", ["docker-mailserver/user-patches.sh", "mailcow/onionmx.sh", "chatmail/onionmx-postfix"]
)
def test_scripts_may_be_run(name: str) -> None:
    assert os.access(DEPLOY / name, os.X_OK)


def test_every_postfix_has_the_same_transport() -> None:
    """The settings of docs/postfix.md; those of containers find the relay by name."""
    master = re.search(r"^ {4}onion .*\n((?: {6}-o .*\n)+)", (PROJECT / "docs/postfix.md").read_text(), re.MULTILINE)
    assert master
    documented = set(re.findall(r"-o (\S+)", master[1]))
    own = {
        "docker-mailserver/user-patches.sh": {"lmtp_host_lookup=native"},
        "mailcow/onionmx.sh": {"lmtp_host_lookup=native"},
        "mailu/postfix.master": {"lmtp_host_lookup=native"},
        "chatmail/onionmx-postfix": {"lmtp_header_checks="},
    }
    for name, more in own.items():
        found = set(re.findall(r"(?:onion/unix/|-o )([a-z_]+=\S*)", (DEPLOY / name).read_text()))
        assert found == documented | more


def plain(value: Any) -> Any:  # noqa: ANN401 -- of any kind
    """What python-hcl2 has read, without its quotes."""
    if isinstance(value, dict):
        return {plain(name): plain(each) for name, each in value.items() if name != "__is_block__"}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value[1:-1] if isinstance(value, str) and value[:1] == value[-1:] == '"' else value


def nomad_tasks() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in sorted((DEPLOY / "nomad").glob("*.hcl")):
        with path.open() as file:
            [job] = plain(hcl2.load(file))["job"]
        for name, content in job.items():
            for group in content["group"]:
                for each in group.values():
                    for tasks in each["task"]:
                        for task, settings in tasks.items():
                            yield name, task, settings


def test_nomad_tasks_have_no_rights() -> None:
    tasks = list(nomad_tasks())
    assert [(job, task) for job, task, _ in tasks] == [
        ("onionmx-sync", "sync"),
        ("onionmx", "tor"),
        ("onionmx", "relay"),
        ("onionmx", "serve"),
    ]
    for _, _, task in tasks:
        [config] = task["config"]
        assert task["driver"] == "podman"
        assert task["user"] == USER
        assert config["image"] == "localhost/onionmx:${var.version}"
        assert config["readonly_rootfs"] is True
        assert config["cap_drop"] == ["ALL"]
        assert config["security_opt"] == ["no-new-privileges"]
        assert not config.keys() & {"privileged", "cap_add", "entrypoint", "volumes", "network_mode"}


def test_nomad_gives_a_secret_to_the_task_that_needs_it() -> None:
    found = {}
    for _, name, task in nomad_tasks():
        templates = task.get("template", [])
        found[name] = {each["destination"] for each in templates if each["destination"].startswith("secrets/")}
        for each in templates:
            assert ("nomadVar" in each["data"]) is (each["destination"] in found[name])
            if each["destination"] in found[name]:
                assert (each["perms"], each["uid"], each["gid"]) == ("0400", 65534, 65534)
    assert found == {"sync": {"secrets/store-password"}, "tor": set(), "relay": set(), "serve": set()}
    written = {
        name: {each["volume"] for each in task["volume_mount"] if not each.get("read_only")}
        for _, name, task in nomad_tasks()
    }
    assert written == {"sync": {"map"}, "tor": {"tor"}, "relay": {"relay"}, "serve": {"serve"}}


def test_configurations_in_nomad_jobs_are_valid() -> None:
    count = 0
    for _, _, task in nomad_tasks():
        for template in task["template"]:
            if template["destination"] == "local/onionmx.toml":
                _, _, body = template["data"].partition("\n")
                text = re.sub(r"\s*EOT\"?$", "", body).replace("${var.domains}", '["example.org"]')
                Configuration.parse(text.encode(), "onionmx.toml")
                count += 1
    assert count == 3
