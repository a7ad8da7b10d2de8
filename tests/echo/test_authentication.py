import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.echo.authentication import (
    MAX_RESULTS,
    AuthenticationResults,
    MethodResult,
    parse_authentication_results,
)

SAMPLES = {
    # RFC 8601 appendix B
    "example.org 1; none": AuthenticationResults("example.org", ()),
    "example.com; spf=pass smtp.mailfrom=example.net": AuthenticationResults(
        "example.com", (MethodResult("spf", "pass", {"smtp.mailfrom": "example.net"}),)
    ),
    "example.com; auth=pass (cram-md5) smtp.auth=sender@example.net; spf=pass smtp.mailfrom=example.net": (
        AuthenticationResults(
            "example.com",
            (
                MethodResult("auth", "pass", {"smtp.auth": "sender@example.net"}),
                MethodResult("spf", "pass", {"smtp.mailfrom": "example.net"}),
            ),
        )
    ),
    # OpenDKIM
    'mx.example; dkim=fail reason="signature verification failed" (2048-bit key) header.d=a.example header.i=@a.example'
    " header.b=iaWq+/=": AuthenticationResults(
        "mx.example",
        (MethodResult("dkim", "fail", {"header.d": "a.example", "header.i": "@a.example", "header.b": "iaWq+"}),),
    ),
    # Exim
    "MX.example;\n\tiprev=pass (localhost) smtp.remote-ip=127.0.0.1;\n\tdkim=temperror": AuthenticationResults(
        "mx.example",
        (MethodResult("iprev", "pass", {"smtp.remote-ip": "127.0.0.1"}), MethodResult("dkim", "temperror")),
    ),
    "": None,
    ";;": None,
    "mx.example; =pass; dkim=; dkim; dkim=pass": AuthenticationResults("mx.example", (MethodResult("dkim", "pass"),)),
}


@pytest.mark.parametrize("field", SAMPLES)
def test_samples(field: str) -> None:
    assert parse_authentication_results(field) == SAMPLES[field]


def test_comments_between_all_words() -> None:
    """The example of RFC 8601 appendix B.7, as far as anybody writes such a thing."""
    found = parse_authentication_results(
        "foo.example.net (foobar) 1 (baz); dkim (Because I like it) = (wait for it) fail (so) "
        "header.d (x) = (y) a.example"
    )
    assert found == AuthenticationResults("foo.example.net", (MethodResult("dkim", "fail", {"header.d": "a.example"}),))


def test_there_is_an_end() -> None:
    found = parse_authentication_results("mx.example" + "; dkim=pass" * 1000)
    assert found is not None
    assert len(found.results) == MAX_RESULTS


PIECES = st.sampled_from(
    ["mx.example", "; ", "=", "dkim", "pass", " header.d", "(", ")", '"', "\\", "/1", "\x1b", "ä", " "]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_whatever_comes_a_result_has_no_prose(field: str) -> None:
    found = parse_authentication_results(field)
    if found is None:
        return
    texts = [found.authserv_id]
    for result in found.results:
        texts += [result.method, result.result, *result.properties, *result.properties.values()]
    assert all(text.isascii() and text.isprintable() and " " not in text for text in texts)
