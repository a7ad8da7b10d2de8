"""A bill of materials in the form of CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/), without other packages."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

Component = dict[str, str]


def component(name: str, version: str, purl: str, kind: str = "library") -> Component:
    """One thing that something is made of.

    Args:
        name: its own.
        version: its own.
        purl: its package URL (https://github.com/package-url/purl-spec).
        kind: `library`, `application`, `operating-system` or another type of CycloneDX.
    """
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def document(
    subject: Mapping[str, object], components: Sequence[Component], seconds: int, dependencies: object = None
) -> str:
    """The bill as JSON; the same arguments give the same bytes.

    Args:
        subject: what it is the bill of: a component, perhaps with `licenses`.
        components: what that is made of.
        seconds: since the epoch, its date.
        dependencies: who needs whom, if that is known.
    """
    known = {} if dependencies is None else {"dependencies": dependencies}
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps([subject['bom-ref'], components]))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": subject,
        },
        "components": components,
        **known,
    }
    return json.dumps(bill, indent=2) + "\n"
