# SPDX-License-Identifier: Apache-2.0
"""The one exception of devcluster."""


class DevclusterError(Exception):
    """Says in its text what went wrong; cli.py prints it and exits with 1."""
