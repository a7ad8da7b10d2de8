from base64 import b64encode
from pathlib import Path

import dns.name
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import ConfigurationError
from onionmx.publish.tsig import ALGORITHMS, parse_key, read_key

SECRET = "c2VjcmV0//o/dGhlL2hv"  # noqa: S105 -- no real one; with the // that starts a comment in BIND's files
BIND = f"""
# made by tsig-keygen
key "updates.example" {{ /* ours */
        algorithm hmac-sha256; // the usual
        secret "{SECRET}";
}};
"""
KNOT = f"""# hmac-sha512:updates.example:{SECRET}
key:
- id: updates.example.
  algorithm: hmac-sha512
  secret: {SECRET}
"""


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (BIND, dns.tsig.HMAC_SHA256),
        (f"key updates.example {{ secret {SECRET}; algorithm HMAC-SHA384; }};", dns.tsig.HMAC_SHA384),
        (KNOT, dns.tsig.HMAC_SHA512),
        (f"updates.example:hmac-sha256:{SECRET}\n", dns.tsig.HMAC_SHA256),
        (f"hmac-sha1:updates.example:{SECRET}", dns.tsig.HMAC_SHA1),
    ],
)
def test_keys(text: str, algorithm: dns.name.Name) -> None:
    key = parse_key("key", text.encode())
    assert (key.name, key.algorithm) == (dns.name.from_text("updates.example"), algorithm)
    assert b64encode(key.secret).decode() == SECRET


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "key holds no TSIG key: expected key"),
        ("key: 5", "no TSIG key"),
        ("key:\n- 7\n", "no TSIG key"),
        ("[" * 5000, "no TSIG key"),
        ("\xff", "no TSIG key"),
        (BIND + BIND, "holds 2 keys: put the one for the updates into a file of its own"),
        (f"a:hmac-sha256:{SECRET}\nb:hmac-sha256:{SECRET}", "holds 2 keys"),
        (f"a:hmac-md5:{SECRET}", "'hmac-md5' is not an algorithm for a key: expected one of hmac-sha1, "),
        ("a:hmac-sha256:n@tbase64", "the secret of key 'a' is not base64"),
        ("a..b:hmac-sha256:AAAA", "'a..b' is not the name of a key"),
        ('key "a" { algorithm hmac-sha256; secret ""; };', "the secret of key 'a' is empty"),
    ],
)
def test_files_without_a_usable_key(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_key("key", text.encode())
    assert why in str(caught.value)
    assert SECRET not in str(caught.value)


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,10}){0,3}", fullmatch=True)


@given(NAMES, st.sampled_from(sorted(ALGORITHMS)), st.binary(min_size=1, max_size=64))
def test_each_form_holds_the_same_key(name: str, algorithm: str, raw: bytes) -> None:
    secret = b64encode(raw).decode()
    for text in (
        f'key "{name}" {{\n\talgorithm {algorithm};\n\tsecret "{secret}";\n}};\n',
        f"{name}:{algorithm}:{secret}\n",
        f'key:\n- id: "{name}"\n  algorithm: {algorithm}\n  secret: "{secret}"\n',
    ):
        assert parse_key("key", text.encode()) == dns.tsig.Key(dns.name.from_text(name), raw, ALGORITHMS[algorithm])


@given(st.binary() | st.text(alphabet='key"{};: -\n/*#ahmc56').map(str.encode))
def test_any_content_is_a_key_or_refused(content: bytes) -> None:
    try:
        assert parse_key("key", content).secret
    except ConfigurationError as error:
        assert str(error).startswith("key")
        assert "\n" not in str(error)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(BIND)
    path.chmod(0o600)
    assert read_key(str(path)).name == dns.name.from_text("updates.example")
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match=f"has mode {mode:04o}: it is a secret"):
            read_key(str(path))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_key(str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_key(str(tmp_path))
    path = tmp_path / "large"
    path.touch(0o600)
    path.write_bytes(b" " * 70_000)
    with pytest.raises(ConfigurationError, match="is larger than"):
        read_key(str(path))
