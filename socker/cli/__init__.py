# SPDX-License-Identifier: Apache-2.0
"""The command `socker`: what administrators write, ask and read. Nothing that a job waits for imports it."""
