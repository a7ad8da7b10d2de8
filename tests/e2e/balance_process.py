"""Onionbalance as a process, for a test network with other intervals than the 20 s that it expects of one.

Arguments: the interval of the consensus in seconds, then those of Onionbalance.
"""

import sys

from onionbalance.hs_v3 import consensus, params
from onionbalance.manager import main
from stem.util import datetime_to_unix

INTERVAL = int(sys.argv.pop(1))
ROUNDS = 24  # of a run of the shared random value; a time period is as long (rend-spec-v3 section 2.2.1)


def start_of_run(seen: consensus.Consensus) -> int:
    """When the current run began: tor counts rounds from the epoch."""
    valid_after = int(datetime_to_unix(seen.consensus.valid_after))
    return valid_after - valid_after // INTERVAL % ROUNDS * INTERVAL


consensus.Consensus._get_srv_phase_duration = lambda _: ROUNDS // 2 * INTERVAL // 60  # noqa: SLF001
consensus.Consensus.get_time_period_length = lambda _: ROUNDS * INTERVAL // 60
consensus.Consensus.get_start_time_of_current_srv_run = start_of_run
consensus.Consensus.get_start_time_of_previous_srv_run = lambda seen: start_of_run(seen) - ROUNDS * INTERVAL
params.INITIAL_CALLBACK_DELAY = 2
params.FETCH_DESCRIPTOR_FREQUENCY_TESTNET = 5
params.PUBLISH_DESCRIPTOR_CHECK_FREQUENCY_TESTNET = 1
params.INSTANCE_DESCRIPTOR_TOO_OLD_TESTNET = 3600
main()
