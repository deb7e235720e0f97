# SPDX-License-Identifier: Apache-2.0
"""Tests that run in the machine only: other settings of Docker and Slurm than their packages'."""
