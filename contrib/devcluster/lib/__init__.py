# SPDX-License-Identifier: Apache-2.0
"""The parts of devcluster; cli.py is the way in."""
