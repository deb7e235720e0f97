# SPDX-License-Identifier: Apache-2.0
"""The numbers of the design, measured: `make bench`."""
