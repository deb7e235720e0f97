# SPDX-License-Identifier: Apache-2.0
"""Talking to the cluster's munged."""

from lib.layout import Layout
from lib.tools import takes_connections


def answers(paths: Layout) -> bool:
    """Whether munged takes connections."""
    return takes_connections(paths.munge_socket)
