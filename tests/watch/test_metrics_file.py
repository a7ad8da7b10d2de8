"""What the watch tells Prometheus."""

from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from onionmx.saved import SavedError
from onionmx.watch import metrics_file
from onionmx.watch.judge import Reach, Watched
from onionmx.watch.metrics_file import NOT_RENEWED, RENEWED, Counts, metrics_text, write_metrics
from tests.onions import V3_ONION


def test_all_of_it(tmp_path: Path) -> None:
    services = [
        Watched(V3_ONION, Reach.FAILED, 100.0, 200.0, renewed=150.0),
        Watched("b", Reach.FAILED, 90.0, 200.0),
        Watched("c", Reach.REACHABLE, 1.0, 200.0, renewed=20.0),
    ]
    counts = Counts(Counter({Reach.FAILED: 4}), Counter({RENEWED: 2, NOT_RENEWED: 1}), 1)
    path = tmp_path / "watch.prom"
    write_metrics(path, metrics_text(services, counts, 210.0))
    families = list(text_string_to_metric_families(path.read_text()))
    found = {
        sample.name.removeprefix("onionmx_watch_") + "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    assert found == {
        "servicesreachable": 1,
        "servicesfailed": 2,
        "servicescould_not_tell": 0,
        "probes_totalreachable": 0,
        "probes_totalfailed": 4,
        "probes_totalcould_not_tell": 0,
        "last_round_timestamp_seconds": 210,
        "failing_since_timestamp_seconds": 90,
        "last_renewal_timestamp_seconds": 150,
        "renewals_totaldone": 2,
        "renewals_totalfailed": 1,
        "guards_dropped_total": 1,
    }
    assert V3_ONION not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert all(
        f"onionmx_watch_{name.partition('_total')[0]}" in str(metrics_file.__doc__) for name in ("probes", "renewals")
    )


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SavedError, match=r"watch\.metrics_file"):
        write_metrics(tmp_path / "none" / "watch.prom", b"")
