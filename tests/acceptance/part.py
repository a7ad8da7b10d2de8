"""One part of the acceptance, run in namespaces of its own: `python -m tests.acceptance.part JSON`."""

import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from . import attacker, by_documents, by_setup, units, upgrade
from .mta import MTAS, Mta
from .other_mta import prove as other_mta
from .other_mta.known import OTHERS
from .package import build, fresh
from .pipeline import prove as pipeline
from .pod import proof as pod
from .roots import RELEASES
from .sandbox import stack
from .site import CLONE, Site, install, site
from .tor_machine import prove as prove_tor_machine

_PROOFS: Mapping[str, Callable[[Site], None]] = {
    "documents": by_documents.prove,
    "setup": by_setup.prove,
    "units": units.prove,
    "attacker": attacker.prove,
    "other-mta": other_mta.prove,
}
_MTAS: Mapping[str, Mta] = {**MTAS, **OTHERS}


@dataclass(frozen=True)
class Part:
    """What to do, and where.

    Args:
        kind: `package`, `machine`, `documents`, `setup`, `units`, `attacker`, `upgrade`, `pipeline`, `pod`,
            `tor-machine`, `other-mta` or `fresh`.
        release: code name.
        mta: which MTA, where there is one.
        base: the root of the release.
        folder: where the parts of this run keep their files.
        suite: for `fresh`.
    """

    kind: str
    release: str
    mta: str
    base: str
    folder: str
    suite: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return " ".join(filter(None, (self.kind, self.release, self.mta)))

    @property
    def is_online(self) -> bool:
        """Whether it may use the network of this machine."""
        if self.kind == "machine":
            return _MTAS[self.mta].fetch is not None
        return self.kind in ("package", "upgrade", "pipeline", "pod", "fresh", "tor-machine")

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))


def run(part: Part) -> None:
    """Do it; what fails raises an exception."""
    base, folder = Path(part.base), Path(part.folder)
    deb = folder / f"onionmx-{part.release}.deb"
    layer = folder / f"{part.release}-{part.mta}"
    own = folder / part.name.replace(" ", "-")
    own.mkdir()
    if part.kind == "package":
        build(stack([base], own / "root"), deb)
    elif part.kind == "fresh":
        fresh(stack([base], own / "root"), part.suite)
    elif part.kind == "pipeline":
        pipeline.prove(stack([base], own / "root"))
    elif part.kind == "machine":
        root, mta = stack([base], layer), _MTAS[part.mta]
        if mta.fetch:
            mta.fetch(root)
        install(root, mta)
    elif part.kind == "upgrade":
        upgrade.prove(stack([layer, base], own / "root"), deb)
    elif part.kind == "tor-machine":
        prove_tor_machine([layer, base], own, deb, RELEASES[part.release])
    elif part.kind == "pod":
        pod.prove(stack([base], own / "root"), deb)
    else:
        with site([layer, base], own, _MTAS[part.mta]) as running:
            dist = running.machine.path(f"{CLONE}/dist")
            dist.mkdir(parents=True)
            shutil.copy(deb, dist / "onionmx_built.deb")
            shutil.copy(Path(__file__).with_name("package_life.py"), running.machine.path(CLONE))
            _PROOFS[part.kind](running)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("tests").setLevel(logging.INFO)
    began = time.monotonic()
    run(Part(**json.loads(sys.argv[1])))
    print(f"done in {time.monotonic() - began:.1f} s")
