# SPDX-License-Identifier: Apache-2.0
"""python -I -m socker.cli: how the installed command starts."""

from __future__ import annotations

import sys

from socker.cli.app import run

sys.exit(run())
