"""Is a data set sound? What gives labels away, what leaks between splits, what is mislabelled or misplaced."""

from lae_tf.audit.checking import Checked, check_data
from lae_tf.audit.findings import Finding

__all__ = ["Checked", "Finding", "check_data"]
