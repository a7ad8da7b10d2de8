"""Plain files made of the map, and the templates of their lines."""

from pathlib import Path
from string import ascii_letters

import pytest
from cdblib import Writer
from hypothesis import given
from hypothesis import strategies as st

from onionmx.cli import main
from onionmx.config import Export
from onionmx.config.export import FIELDS, parse_template
from onionmx.domain import normalize
from onionmx.errors import MapError
from onionmx.mapfile.cdb import COULD_NOT_TELL, DEFERS
from onionmx.mapfile.export import format_export, stale_exports, write_exports
from onionmx.onion import Endpoint
from tests.mapfile.maps import A, B, entries, make_map

Content = dict[str, tuple[Endpoint, ...]]
VALUES = {"domain": "example.org", "onion": A, "port": "25", "targets": f"{A} {B}:2525"}
pieces = st.sampled_from(["{{", "}}", *(f"{{{field}}}" for field in FIELDS), "{", "}", ":", "[", "!r", ".x", "ü", " "])
labels_of_all_scripts = st.text(min_size=1, max_size=20)


def lines(content: Content, template: str = "{domain}", **settings: str) -> list[str]:
    return format_export(content, Export(path="", template=template, **settings)).split("\n")[:-1]  # type: ignore[arg-type]


@given(st.lists(pieces).map("".join) | st.text())
def test_any_template_is_refused_or_filled_in_as_written(text: str) -> None:
    """`str.format` is the reference; of its grammar no attribute, conversion or format is taken."""
    try:
        template = parse_template(text)
    except ValueError as error:
        assert "template" in str(error)
        assert str(error).isprintable()
        return
    assert template.fields
    assert template.fields <= set(FIELDS)
    assert template.fill(VALUES) == text.format(**VALUES)


@given(st.text(ascii_letters + "._[]!:0123456789 {}", max_size=30))
def test_nothing_but_the_fields_can_be_named(inside: str) -> None:
    if inside not in FIELDS:
        with pytest.raises(ValueError, match="template"):
            parse_template(f"{{domain}}{{{inside}}}x{{")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the template is empty"),
        ("example", "has no field"),
        ("{{domain}}", "has no field"),
        ("{domain", "a brace alone at character 1"),
        ("{domain}}", "a brace alone at character 9"),
        ("}{domain}", "a brace alone at character 1"),
        ("{}", "the field ''"),
        ("{0}", "the field '0'"),
        ("{domain.__class__}", "the field 'domain.__class__'"),
        ("{domain!r}", "the field 'domain!r'"),
        ("{domain:>9}", "the field 'domain:>9'"),
        ("{targets[0]}", r"the field 'targets\[0\]'"),
        ("{Domain}", "expected domain, onion, port, targets"),
        ("{domain}\n", "a line break or another character"),
        ("{domain}\r", "a line break or another character"),
        ("{domain}\0", "a line break or another character"),
        ("{domain}\x1b[0m", "a line break or another character"),
        ("{domain}\u2028", "a line break or another character"),
    ],
)
def test_template_that_cannot_be_used(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        Export(path="", template=text)
    assert str(caught.value).isprintable()


@given(entries, st.sampled_from(["{domain}", "{domain}:[127.0.0.1],10025", "{domain} {onion}:{port} {{{targets}}}"]))
def test_every_domain_has_one_line_whatever_its_entry_says(content: Content, template: str) -> None:
    made = lines(content, template)
    assert [line.partition(":")[0].partition(" ")[0] for line in made] == sorted(content)
    assert "\n".join(made).splitlines() == made


def test_fields() -> None:
    content: Content = {"example.org": ((A, 25), (B, 2525)), "waits.example": DEFERS}
    assert lines(content, "{domain} {onion} {port} {targets}") == [
        f"example.org {A} 25 {A} {B}:2525",
        f"waits.example {COULD_NOT_TELL} 25 {COULD_NOT_TELL}",
    ]


def test_domain_that_has_to_wait_is_in_the_list() -> None:
    """Left out, its mail would take the open internet."""
    assert lines({"waits.example": DEFERS}) == ["waits.example"]


@pytest.mark.parametrize(
    ("domain", "unicode"),
    [
        ("example.org", "example.org"),
        ("bücher.example", "bücher.example"),
        ("straße.example", "xn--strae-oqa.example"),  # an MTA may fold it to strasse.example, which is another domain
        ("βόλος.example", "xn--nxasmm1c.example"),  # its final sigma is another letter in lower case
        ("xn--zzzzzz.example", "xn--zzzzzz.example"),  # no A-label of IDNA 2008
    ],
)
def test_labels(domain: str, unicode: str) -> None:
    content: Content = {normalize(domain): ((A, 25),)}
    ascii_form = normalize(domain)
    assert lines(content) == [ascii_form]
    assert lines(content, labels="unicode") == [unicode]
    assert lines(content, labels="both") == list(dict.fromkeys([ascii_form, unicode]))


@given(st.lists(labels_of_all_scripts, min_size=1, max_size=3).map(".".join), st.sampled_from(["unicode", "both"]))
def test_no_label_breaks_a_line(text: str, labels: str) -> None:
    try:
        domain = normalize(text)
    except ValueError:
        return
    made = lines({domain: ((A, 25),)}, labels=labels)
    assert made
    for line in made:
        assert line.splitlines() == line.split() == [line]
        assert normalize(line) == domain


def test_all_that_is_under_onion_has_a_line_of_its_own() -> None:
    content: Content = {"example.org": ((A, 25),)}
    template = "{domain}:[127.0.0.1],10025"
    assert lines(content, template, under_onion=".onion") == [
        "example.org:[127.0.0.1],10025",
        ".onion:[127.0.0.1],10025",
    ]
    assert lines(content, under_onion="*.onion") == ["example.org", "*.onion"]


@pytest.mark.parametrize(
    ("template", "under_onion", "why"),
    [
        ("{domain} {onion}", ".onion", "needs a target"),
        ("{domain} {targets}", ".onion", "needs a target"),
        ("{domain}", ".example", "does not say how the MTA names all that is under .onion"),
        ("{domain}", "on ion", "does not say how"),
        ("{domain}", ".onion\nx", "does not say how"),
    ],
)
def test_line_for_all_under_onion_that_cannot_be(template: str, under_onion: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Export(path="", template=template, under_onion=under_onion)


@pytest.mark.parametrize("key", [b"a\nb.example", b"a b.example", b"EXAMPLE.org", b".", b"a\r.example", b""])
def test_key_of_another_writer_that_is_no_domain(
    tmp_path: Path, key: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "map.cdb").open("wb") as file, Writer(file) as writer:
        writer.put(key, A.encode())
    assert main(["map", "export", "--format", "domains", "--map", str(tmp_path / "map.cdb")]) == 75
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.endswith("which is not a domain: move it away and run `onionmx sync`\n")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--template", ""], "the template is empty"),
        (["--template", "{domain"], "a brace alone"),
        (["--template", "{domain}\n{onion}"], "a line break"),
        (["--template", "{onion}", "--under-onion", ".onion"], "needs a target"),
        (["--format", "domains", "--template", "{domain}"], "expected one of --format and --template"),
        (["--format", "seed", "--template", "{domain}"], "expected one of --format and --template"),
        (["--labels", "both"], "are for --format domains and --template"),
        (["--format", "json", "--under-onion", ".onion"], "are for --format domains and --template"),
        (["--format", "domains", "--under-onion", ""], "--under-onion is empty"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_map(tmp_path / "map.cdb")
    assert main(["map", "export", "--map", str(tmp_path / "map.cdb"), *words]) == 64
    output, errors = capsys.readouterr()
    assert (output, errors.count("\n")) == ("", 1)
    assert why in errors


def test_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_map(tmp_path / "map.cdb", {"example.org": ((A, 25),), "bücher.example".encode("idna").decode(): DEFERS})
    command = ["map", "export", "--map", str(tmp_path / "map.cdb")]
    assert main([*command, "--format", "domains"]) == 0
    assert capsys.readouterr().out == "example.org\nxn--bcher-kva.example\n"
    assert (
        main([*command, "--template", "{domain}:[127.0.0.1],10025", "--labels", "both", "--under-onion", ".onion"]) == 0
    )
    assert capsys.readouterr().out.splitlines() == [
        f"{name}:[127.0.0.1],10025" for name in ("example.org", "xn--bcher-kva.example", "bücher.example", ".onion")
    ]
    assert main(command) == 0
    assert capsys.readouterr().out == f"example.org {A}\nxn--bcher-kva.example {COULD_NOT_TELL}\n"


def test_file_is_replaced_only_where_it_differs(tmp_path: Path) -> None:
    export = Export(path=str(tmp_path / "domains.txt"))
    file, content = Path(export.path), {"example.org": ((A, 25),)}

    def write() -> bool:
        stale = stale_exports(content, [export])
        write_exports(stale)
        return bool(stale)

    assert write()
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("example.org\n", 0o644)
    assert not write()
    content["example.net"] = ((B, 25),)
    assert write()
    assert file.read_text() == "example.net\nexample.org\n"
    file.chmod(0o600)
    assert write()
    assert file.stat().st_mode & 0o777 == 0o644
    file.write_text("example.nat\nexample.org\n")
    assert write()
    assert list(tmp_path.iterdir()) == [tmp_path / "domains.txt"]


def test_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("example.org\n")
    file = tmp_path / "domains.txt"
    file.symlink_to("secret")
    content: Content = {"example.org": ((A, 25),)}
    for entry in (content, content | {"example.net": ((B, 25),)}):
        write_exports(stale_exports(entry, [Export(path=str(file))]))
        assert not file.is_symlink()
        assert (tmp_path / "secret").read_text() == "example.org\n"


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "domains.txt").mkdir()
    with pytest.raises(MapError, match=r"map\.exports: .*/domains\.txt cannot be written: Is a directory"):
        write_exports(stale_exports({}, [Export(path=str(tmp_path / "domains.txt"))]))
    assert list(tmp_path.iterdir()) == [tmp_path / "domains.txt"]
