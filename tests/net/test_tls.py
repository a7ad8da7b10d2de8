"""The verdict on a certificate, over real handshakes: the same on every Python."""

import ast
import ssl
from itertools import product
from pathlib import Path

import pytest

from onionmx.errors import ConfigurationError
from onionmx.net.tls import peer_chain, unverified_context, verifying_context
from tests.net.certificates import NOW, Issued, issue

PACKAGE = Path(__file__).parents[2] / "onionmx"
HOST = "mx.example.org"
CA = issue(is_ca=True)  # with no key identifiers and no key usage, as many a private CA
BETWEEN = issue(ca=CA, is_ca=True, common_name="Between")
LEAF = issue(HOST, ca=CA)
BELOW = issue(HOST, ca=BETWEEN)


def shake_hands(folder: Path, client: ssl.SSLContext, *shown: Issued) -> ssl.SSLObject:
    """A handshake in memory with a server that shows these certificates; raises the client's verdict."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=HOST)
    own, *chain = shown
    theirs = own.context(folder, *chain).wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:  # each side speaks in turn, until both are done or one raises
        for side in (ours, theirs):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    return ours


def trusting(folder: Path, *certificates: Issued) -> ssl.SSLContext:
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(b"".join(each.pem for each in certificates))
    return verifying_context(str(ca_file))


def test_private_ca_without_key_identifiers(tmp_path: Path) -> None:
    assert not [each for each in CA.certificate.extensions if each.oid.dotted_string in ("2.5.29.14", "2.5.29.35")]
    shake_hands(tmp_path, trusting(tmp_path, CA), LEAF)
    shake_hands(tmp_path, trusting(tmp_path, CA), BELOW, BETWEEN)


@pytest.mark.parametrize(("anchor", "shown"), [(LEAF, [LEAF]), (BETWEEN, [BELOW]), (BETWEEN, [BELOW, BETWEEN])])
def test_only_a_root_in_the_file_is_an_authority(tmp_path: Path, anchor: Issued, shown: list[Issued]) -> None:
    """Neither the server's own certificate nor an intermediate one is an anchor without its root."""
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get"):
        shake_hands(tmp_path, trusting(tmp_path, anchor), *shown)
    shake_hands(tmp_path, trusting(tmp_path, anchor, CA), *shown)


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (issue("other.example", ca=CA), "Hostname mismatch"),
        (issue(HOST, ca=CA, end=NOW), "certificate has expired"),
        (issue(HOST), "self-signed certificate"),
        (issue(HOST, ca=issue(is_ca=True, common_name="Strange")), "unable to get local issuer"),
    ],
)
def test_what_no_authority_in_the_file_vouches_for(tmp_path: Path, shown: Issued, words: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=words):
        shake_hands(tmp_path, trusting(tmp_path, CA), shown)


def test_a_file_takes_the_place_of_the_authorities_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = issue(is_ca=True, common_name="Other CA")
    theirs, ours = tmp_path / "system.pem", tmp_path / "ca.pem"
    theirs.write_bytes(CA.pem)
    ours.write_bytes(other.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(theirs))
    shake_hands(tmp_path, verifying_context(), LEAF)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, verifying_context(str(ours)), LEAF)


def test_unverified(tmp_path: Path) -> None:
    for shown in (issue("other.example"), LEAF):
        shake_hands(tmp_path, unverified_context(), shown)


def test_flags() -> None:
    for context, name in product((verifying_context(), unverified_context()), ("STRICT", "PARTIAL_CHAIN")):
        assert not context.verify_flags & ssl.VerifyFlags[f"VERIFY_X509_{name}"]
        assert context.minimum_version is not ssl.TLSVersion.TLSv1


def test_the_chain_that_the_peer_sent(tmp_path: Path) -> None:
    assert peer_chain(None, 10) == []
    tls = shake_hands(tmp_path, unverified_context(), BELOW, BETWEEN)
    assert peer_chain(tls, 10) == [BELOW.der, BETWEEN.der]
    assert peer_chain(tls, 1) == [BELOW.der]


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), ("no PEM", "no certificates in PEM")])
def test_files_that_cannot_be_used(tmp_path: Path, content: str | None, why: str) -> None:
    ca_file = tmp_path / "ca.pem"
    if content:
        ca_file.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"^x\.ca_file {ca_file} cannot be used: {why}"):
        verifying_context(str(ca_file), "x.ca_file")


@pytest.mark.source
@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_contexts_are_made_in_one_place(path: Path) -> None:
    makers = {"create_default_context", "_create_unverified_context", "SSLContext", "wrap_socket"}
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    where = {"net/tls.py": {"create_default_context"}, "sync/state/valkey/server.py": {"wrap_socket"}}
    assert called & makers == where.get(str(path.relative_to(PACKAGE)), set())
