# SPDX-License-Identifier: Apache-2.0
"""Tests that run in the machine only: what is installed works with the words it has by default."""
