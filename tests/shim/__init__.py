# SPDX-License-Identifier: Apache-2.0
import pytest

# its assertions tell what was compared
pytest.register_assert_rewrite(f"{__name__}.driver")
