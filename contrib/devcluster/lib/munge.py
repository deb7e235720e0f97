# SPDX-License-Identifier: Apache-2.0
"""Talking to the cluster's munged."""

import socket

from lib.layout import Layout


def answers(paths: Layout) -> bool:
    """Whether munged takes connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(paths.munge_socket))
        except OSError:
            return False
    return True
