# SPDX-License-Identifier: Apache-2.0
"""Virtual machines of other Debian releases: socker installed and tested among their own packages and units."""
