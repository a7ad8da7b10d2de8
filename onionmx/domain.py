"""Mail domains in their one normal form: A-labels, lower case, no trailing dot (RFC 5890, RFC 1035 section 2.3.4)."""

from onionmx.errors import DomainError

MAX_DOMAIN_LENGTH = 253  # characters as written: RFC 1035's 255 octets less the first length and the root
MAX_LABEL_LENGTH = 63  # octets
SRV_PREFIX = "_onion-mx._tcp."
MAX_SRV_DOMAIN_LENGTH = MAX_DOMAIN_LENGTH - len(SRV_PREFIX)
"""Longest domain for which a question for an onion-MX record can be asked at all."""

Domain = str
"""A domain, or the name of a host, in normal form: as `normalize` returns it."""

_LETTERS_DIGITS_HYPHEN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def normalize(text: str) -> Domain:
    """Bring a mail domain into the form in which the map holds it.

    U-labels are converted by IDNA 2008 with the mapping of UTS 46 (upper case, full-width letters, the
    ideographic full stop). A-labels are taken as they are, as a mail server does.

    Args:
        text: a domain; upper case, Unicode and one trailing dot are accepted.

    Raises:
        DomainError: empty, an e-mail address, too long, or not made of letters, digits and hyphens.
    """
    if "@" in text:
        raise DomainError(f"{shown(text)} is an e-mail address: expected only the domain after the @")
    name = text.lower() if text.isascii() else _to_a_labels(text)
    name = name.removesuffix(".")
    if not name:
        raise DomainError("the domain is empty")
    if len(name) > MAX_DOMAIN_LENGTH:
        raise DomainError(f"{shown(text)} has {len(name)} characters: a domain has at most {MAX_DOMAIN_LENGTH}")
    for label in name.split("."):
        _check_label(label, text)
    return name


def shown(text: str) -> str:
    """Quote a piece of untrusted text for a message: control characters escaped, at most 80 characters."""
    longest = 80
    return repr(text if len(text) <= longest else text[: longest - 3] + "...")


def _check_label(label: str, text: str) -> None:
    if not label:
        raise DomainError(f"{shown(text)} has an empty label: two dots in a row, or one at the start")
    if len(label) > MAX_LABEL_LENGTH:
        raise DomainError(
            f"{shown(text)} has a label of {len(label)} characters: at most {MAX_LABEL_LENGTH} are possible"
        )
    if not _LETTERS_DIGITS_HYPHEN.issuperset(label):
        wrong = next(character for character in label if character not in _LETTERS_DIGITS_HYPHEN)
        raise DomainError(f"{shown(text)} contains {wrong!r}: a domain has only letters, digits, hyphens and dots")
    if label[0] == "-" or label[-1] == "-":
        raise DomainError(f"{shown(text)} has a label that starts or ends with a hyphen")


def _to_a_labels(text: str) -> str:
    # Loaded on demand: the tables of idna would double the run time of the route helper.
    import idna  # noqa: PLC0415

    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError as error:
        raise DomainError(f"{shown(text)} is not a valid internationalized domain: {error}") from error
    except UnicodeError as error:
        raise DomainError(f"{shown(text)} is not a valid internationalized domain") from error
