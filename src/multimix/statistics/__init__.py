"""Intervals and tests: how far a score, or a difference of scores, could move had other patients come.

`bootstrap` one score and its interval; `paired` the difference of two groups of runs, and how much more data
would tell; `significance` DeLong, Wilcoxon, McNemar, Holm.
"""

from multimix.statistics.bootstrap import Statistic as Statistic
from multimix.statistics.bootstrap import bca_by_patient as bca_by_patient
from multimix.statistics.bootstrap import bootstrap_by_patient as bootstrap_by_patient
from multimix.statistics.bootstrap import estimate as estimate
