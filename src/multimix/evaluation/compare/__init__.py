"""Two runs, or two groups of runs, judged on the same images: is one better?

`groups` reads runs and pairs their seeds; `shared` lines up their images and says how a metric is computed and
tested; `verdict` the comparison and its words.
"""

from multimix.evaluation.compare.groups import Group as Group
from multimix.evaluation.compare.groups import read_group as read_group
from multimix.evaluation.compare.verdict import Comparison as Comparison
from multimix.evaluation.compare.verdict import compare as compare
from multimix.evaluation.compare.verdict import compare_cells as compare_cells
from multimix.evaluation.compare.verdict import with_holm as with_holm
