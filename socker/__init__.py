# SPDX-License-Identifier: Apache-2.0
"""Slurm steps in Docker containers: the part that decides, in Python."""

__version__ = "0.1.0"
