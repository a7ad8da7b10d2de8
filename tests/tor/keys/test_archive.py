"""What is in a backup: whole and fitting together, or refused."""

import tarfile
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onionmx.errors import InputError
from onionmx.tor.keys.archive import CHECKSUMS, pack, service_files, unpack
from onionmx.tor.service.client_keys import format_auth, new_client_key
from onionmx.tor.service.identity import PUBLIC_KEY, SECRET_KEY
from tests.onions import V2_ONION, make_onion

from .service_key import files_of

FILES = files_of(b"a".ljust(32))
OTHER = files_of(b"b".ljust(32))
ALICE = {"authorized_clients/alice.auth": format_auth(new_client_key("").public).encode()}
FRONT = {"ob_config": f"MasterOnionAddress {make_onion('front')}\n".encode()}


def archive(files: dict[str, bytes]) -> bytes:
    result = BytesIO()
    with tarfile.open(fileobj=result, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return result.getvalue()


def test_service_is_read_back() -> None:
    service = service_files(FILES | ALICE | FRONT)
    assert service.onion == FILES["hostname"].decode().strip()
    assert service.clients == 1
    assert unpack(pack(service)) == service
    assert "secret" not in repr(service)


def test_tar_alone_brings_it_back() -> None:
    with tarfile.open(fileobj=BytesIO(pack(service_files(FILES | ALICE)))) as tar:
        assert {member.mode for member in tar} == {0o600}
        assert sorted(tar.getnames()) == sorted([*FILES, *ALICE, CHECKSUMS])


def test_what_tor_makes_of_the_key_may_be_missing() -> None:
    assert service_files({SECRET_KEY: FILES[SECRET_KEY]}).files == FILES


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({PUBLIC_KEY: FILES[PUBLIC_KEY]}, "there is no hs_ed25519_secret_key"),
        (FILES | {SECRET_KEY: b"x"}, "hs_ed25519_secret_key: it is not the key of an onion service"),
        (FILES | {SECRET_KEY: OTHER[SECRET_KEY]}, "do not belong together"),
        (FILES | {PUBLIC_KEY: OTHER[PUBLIC_KEY]}, "do not belong together"),
        (FILES | {"hostname": OTHER["hostname"]}, "hostname names .*, but the key is that of"),
        (FILES | {"hostname": V2_ONION.encode()}, "hostname: .*version 2"),
        (FILES | {"hostname": b"\xff\x1b[2J"}, "hostname: "),
        (FILES | {"authorized_clients/alice.auth": b"x"}, "alice.auth: it is not a public key"),
        (FILES | {"authorized_clients/../x.auth": b"x"}, "is not a file of an onion service"),
        (FILES | {"authorized_clients/x": b"x"}, "is not a file of an onion service"),
        (FILES | {"../../etc/shadow": b"x"}, "is not a file of an onion service"),
        (FILES | {"ob_config": b""}, "ob_config: expected a line MasterOnionAddress"),
    ],
)
def test_files_that_do_not_fit_together(files: dict[str, bytes], why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        service_files(files)
    assert str(caught.value).isprintable()


@settings(max_examples=60)
@given(st.integers(0, 8191), st.integers(1, 255))
def test_damaged_backup_is_never_another_service(position: int, change: int) -> None:
    service = service_files(FILES | ALICE)
    content = bytearray(pack(service))
    content[position % len(content)] ^= change
    try:
        assert unpack(bytes(content)) == service  # padding, or a field of tar that nothing depends on
    except InputError as error:
        assert str(error).isprintable()


@settings(max_examples=60)
@given(st.integers(0, 10240))
def test_backup_that_was_cut_off(length: int) -> None:
    service = service_files(FILES)
    with suppress(InputError):
        assert unpack(pack(service)[:length]) == service  # the end of a tar archive is zeros


@given(st.binary(max_size=2048))
def test_anything_else_is_no_backup(content: bytes) -> None:
    with pytest.raises(InputError):
        unpack(content)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.binary()))
def test_any_archive_is_a_backup_or_not(files: dict[str, bytes]) -> None:
    with pytest.raises(InputError):
        unpack(archive(files))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_archive_with_more_than_files(kind: bytes) -> None:
    result = BytesIO(pack(service_files(FILES)))
    with tarfile.open(fileobj=result, mode="a") as tar:
        member = tarfile.TarInfo("hostname2")
        member.type, member.linkname = kind, "/etc/shadow"
        tar.addfile(member)
    with pytest.raises(InputError):
        unpack(result.getvalue())


def test_file_that_is_there_twice_or_too_large() -> None:
    for extra in ({"hostname": FILES["hostname"]}, {"ob_config": bytes(70_000)}):
        result = BytesIO(pack(service_files(FILES)))
        with tarfile.open(fileobj=result, mode="a") as tar:
            for name, content in extra.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, BytesIO(content))
        with pytest.raises(InputError):
            unpack(result.getvalue())
