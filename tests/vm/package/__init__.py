# SPDX-License-Identifier: Apache-2.0
"""Tests that run in the machine only, with socker installed from its package."""
