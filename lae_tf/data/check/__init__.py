"""Is a data set sound? What gives labels away, what leaks between splits, what is mislabelled or misplaced."""

from lae_tf.data.check.checking import Checked, check_data
from lae_tf.data.check.findings import Finding

__all__ = ["Checked", "Finding", "check_data"]
