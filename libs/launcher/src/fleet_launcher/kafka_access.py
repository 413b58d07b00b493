"""Users and rights at the broker: one user per service, and what libs/contracts lets it do, no more.

With confluent-kafka's administrator, since aiokafka's knows neither.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Set
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from fleet_bus.address import KafkaAddress
from fleet_contracts.access import Permission, permissions

from fleet_launcher.failure import LaunchFailure

_TIMEOUT_S = 30
# The least that Kafka takes. The passwords are random and long, so guessing them fails whatever a guess costs.
_ITERATIONS = 4096


async def ensure_access(kafka_url: str, passwords: Mapping[str, str], *, prefix: str) -> None:
    """Every user's password set anew, missing rights given, others of these users taken away.

    A broker that asks nobody who he is gives everybody every right: then there is nothing to do."""
    address = KafkaAddress.parse(kafka_url)
    if address.user is not None:
        await asyncio.to_thread(_ensure, address, passwords, prefix)


async def remove_access(kafka_url: str, names: Iterable[str], *, prefix: str) -> None:
    """For `fleet reset` on a broker given by URL."""
    address = KafkaAddress.parse(kafka_url)
    if address.user is not None:
        await asyncio.to_thread(_remove, address, list(names), prefix)


def bindings(names: Iterable[str], prefix: str) -> set[AclBinding]:
    """The rights of these users, as Kafka's rules."""
    known = set(names)
    return {_binding(permission, prefix) for permission in permissions() if permission.service in known}


def _binding(permission: Permission, prefix: str) -> AclBinding:
    kind, pattern, name = (
        (ResourceType.GROUP, ResourcePatternType.PREFIXED, permission.group)
        if permission.topic is None
        else (ResourceType.TOPIC, ResourcePatternType.LITERAL, permission.topic)
    )
    return AclBinding(
        kind,
        f"{prefix}{name}",
        pattern,
        _principal(permission.service, prefix),
        "*",
        AclOperation[permission.operation.value],
        AclPermissionType.ALLOW,
    )


def _principal(name: str, prefix: str) -> str:
    return f"User:{prefix}{name}"


def _ensure(address: KafkaAddress, passwords: Mapping[str, str], prefix: str) -> None:
    admin = admin_of(address)
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    users = [
        UserScramCredentialUpsertion(prefix + name, info, password.encode()) for name, password in passwords.items()
    ]
    wanted, there = bindings(passwords, prefix), _rights(admin, passwords, prefix)
    if missing := wanted - there:
        _done(address, admin.create_acls(list(missing)))
    if stale := there - wanted:
        _done(address, admin.delete_acls([_only(binding) for binding in stale]))
    _done(address, admin.alter_user_scram_credentials(users))
    # The broker answers before it obeys. It learns things in order, so whoever knows the users knows the rights too.
    wait_known(admin, {user.user for user in users})


def wait_known(admin: AdminClient, users: Set[str], *, timeout_s: float = _TIMEOUT_S) -> None:
    """Returns when the broker knows them all."""
    deadline = time.monotonic() + timeout_s
    while missing := users - _users(admin):
        if time.monotonic() > deadline:
            raise LaunchFailure(
                f"Kafka took the users of the services and does not know {', '.join(sorted(missing))} after {timeout_s:g} s",
                "See its log for what it waits for, then run `fleet up` again",
            )
        time.sleep(0.05)


def _remove(address: KafkaAddress, names: list[str], prefix: str) -> None:
    admin = admin_of(address)
    if there := _rights(admin, names, prefix):
        _done(address, admin.delete_acls([_only(binding) for binding in there]))
    gone = _users(admin) & {prefix + name for name in names}
    if gone:
        mechanism = ScramMechanism.SCRAM_SHA_512
        users = [UserScramCredentialDeletion(user, mechanism) for user in gone]
        _done(address, admin.alter_user_scram_credentials(users))


def _users(admin: AdminClient) -> set[str]:
    return set(admin.describe_user_scram_credentials(request_timeout=_TIMEOUT_S).result(_TIMEOUT_S))


def _rights(admin: AdminClient, names: Iterable[str], prefix: str) -> set[AclBinding]:
    """What these users are allowed now."""
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    ours = {_principal(name, prefix) for name in names}
    found: list[AclBinding] = admin.describe_acls(everything, request_timeout=_TIMEOUT_S).result(_TIMEOUT_S)
    return {binding for binding in found if binding.principal in ours}


def _only(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _done(address: KafkaAddress, asked: Mapping[Any, Future[Any]]) -> None:
    try:
        for answer in asked.values():
            answer.result(_TIMEOUT_S)
    except KafkaException as error:
        raise LaunchFailure(
            f"Kafka did not take the users and rights of the services: {error.args[0].str()}",
            f"{address.user}, the user of FLEET_KAFKA_URL, must be allowed to alter the cluster",
        ) from error


def admin_of(address: KafkaAddress) -> AdminClient:
    """confluent-kafka's administrator as the user of that address."""
    settings = {
        "bootstrap.servers": address.servers,
        "security.protocol": address.protocol,
        "sasl.mechanism": address.mechanism,
        "sasl.username": address.user,
        "sasl.password": address.password,
        "log_level": 3,
    }
    return AdminClient(settings | ({"ssl.ca.location": address.ca} if address.ca else {}))
